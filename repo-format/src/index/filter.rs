//! Filters: which runs cannot have an id, for 9.6 bits an entry.
//!
//! A part maps up to 16,384 neighbouring ids to numbers below 256 times their count, in order, and keeps the
//! differences as Rice codes. Ids of a domain are outputs of a keyed hash, so they spread evenly.

use super::entries::{Entry, block_id};
use crate::fields::Fields;
use crate::{Error, Id, Result, limits};

const WHAT: &str = "filter part";
/// Bytes before the codes: count, lowest, range.
const HEAD_LEN: usize = 4 + 8 + 8;
/// Places of the filter for each id: one in so many ids that are not there passes.
const PLACES_PER_ID: u64 = 256;
/// Low bits of a difference, kept as they are.
const LOW_BITS: u32 = PLACES_PER_ID.trailing_zeros();
/// Ids between two places where decoding can begin.
const SKIP: usize = 64;

/// A part of a filter, checked.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct FilterPart {
    place: Places,
    bits: Vec<u8>,
    /// Before each 64th id: the value so far, and the bit where its code begins.
    skips: Vec<(u32, u32)>,
}

/// How ids map to numbers.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Places {
    count: u32,
    lowest: u64,
    range_less_1: u64,
}

impl Places {
    /// Nothing for what lies outside.
    fn of(&self, high: u64) -> Option<u32> {
        let offset = high.checked_sub(self.lowest).filter(|offset| *offset <= self.range_less_1)?;
        let places = u128::from(self.count) * u128::from(PLACES_PER_ID);
        // below `places`, which is at most 2^22
        u32::try_from(u128::from(offset) * places / (u128::from(self.range_less_1) + 1)).ok()
    }
}

fn high(id: &[u8; 16]) -> u64 {
    id.first_chunk().map_or(0, |high| u64::from_be_bytes(*high))
}

/// The filter part of `ids`, which rise strictly and are at most [`limits::FILTER_PART_ID_COUNT_MAX`]; its id and
/// content. Nothing for no ids.
fn encode_filter_part(ids: &[[u8; 16]]) -> Option<(Id, Vec<u8>)> {
    let (first, last) = (ids.first()?, ids.last()?);
    let count = u32::try_from(ids.len()).ok()?;
    let range_less_1 = high(last).checked_sub(high(first))?;
    let places = Places { count, lowest: high(first), range_less_1 };
    let mut out = Vec::with_capacity(HEAD_LEN + ids.len() * 10 / 8 + 1);
    out.extend_from_slice(&count.to_le_bytes());
    out.extend_from_slice(&places.lowest.to_le_bytes());
    out.extend_from_slice(&range_less_1.to_le_bytes());
    let mut bits = BitWriter { out, held: 0, count: 0 };
    let mut before = 0;
    for id in ids {
        let value = places.of(high(id))?;
        let step = value.checked_sub(before)?;
        (0..step >> LOW_BITS).for_each(|_| bits.push(1, 1));
        bits.push(u64::from(step) & (PLACES_PER_ID - 1), 1 + LOW_BITS);
        before = value;
    }
    Some((block_id(first, last), bits.finish()))
}

struct BitWriter {
    out: Vec<u8>,
    held: u64,
    count: u32,
}

impl BitWriter {
    /// The low `len` bits of `value`, the highest first.
    fn push(&mut self, value: u64, len: u32) {
        self.held = self.held << len | value;
        self.count += len;
        while self.count >= 8 {
            self.count -= 8;
            self.out.push((self.held >> self.count) as u8);
        }
    }

    fn finish(mut self) -> Vec<u8> {
        if self.count > 0 {
            self.push(0, 8 - self.count);
        }
        self.out
    }
}

struct BitReader<'a> {
    bits: &'a [u8],
    at: usize,
}

impl BitReader<'_> {
    fn bit(&mut self) -> Option<u32> {
        let byte = self.bits.get(self.at / 8)?;
        let bit = u32::from(*byte) >> (7 - self.at % 8) & 1;
        self.at += 1;
        Some(bit)
    }

    /// The next 32 bits at least, high ones first; zeros after the end.
    fn window(&self) -> u64 {
        let mut bytes = [0; 8];
        let rest = self.bits.get(self.at / 8..).unwrap_or_default();
        bytes.iter_mut().zip(rest).for_each(|(to, from)| *to = *from);
        u64::from_be_bytes(bytes) << (self.at % 8)
    }

    /// The next difference; nothing at the end.
    fn step(&mut self) -> Option<u32> {
        let window = self.window();
        let ones = window.leading_ones();
        // the usual: all of the code lies within the window
        if ones + 1 + LOW_BITS <= 56 {
            let end = self.at + (ones + 1 + LOW_BITS) as usize;
            if end > self.bits.len() * 8 {
                return None;
            }
            self.at = end;
            let low = window << (ones + 1) >> (64 - LOW_BITS);
            return Some(ones << LOW_BITS | low as u32);
        }
        let mut ones = 0u32;
        while self.bit()? == 1 {
            ones = ones.checked_add(1)?;
        }
        let mut low = 0;
        for _ in 0..LOW_BITS {
            low = low << 1 | self.bit()?;
        }
        ones.checked_mul(PLACES_PER_ID as u32)?.checked_add(low)
    }
}

impl FilterPart {
    /// Reads the content of a filter record; `id` is the record's id.
    pub fn parse(id: &Id, content: &[u8]) -> Result<Self> {
        let mut fields = Fields::new(WHAT, content);
        let (count, lowest, range_less_1) = (fields.u32()?, fields.u64()?, fields.u64()?);
        let limit = limits::FILTER_PART_ID_COUNT_MAX as u64;
        Error::check_limit("ids of a filter part", count.into(), limit)?;
        if count == 0 {
            return Err(Error::Rule { what: WHAT, rule: "has no ids" });
        }
        let (first, last) = id_range(id);
        if (lowest, lowest.checked_add(range_less_1)) != (high(&first), Some(high(&last))) {
            return Err(Error::Mismatch { what: "id of a filter part and its range" });
        }
        let bits = fields.rest();
        // ones add up to no more than the count
        Error::check_limit("length of a filter part", bits.len() as u64, u64::from(count) * 10 / 8 + 1)?;
        let place = Places { count, lowest, range_less_1 };
        let skips = skips(&place, bits)?;
        Ok(FilterPart { place, bits: bits.to_vec(), skips })
    }

    /// Ids it was made of.
    pub fn id_count(&self) -> u32 {
        self.place.count
    }

    /// False: the id is none of those that this part was made of. True for each of those, and for one in 256
    /// others.
    pub fn may_have(&self, id: &[u8; 16]) -> bool {
        let Some(wanted) = self.place.of(high(id)) else { return false };
        // the last place from which the value can still come
        let from = self.skips.partition_point(|(before, _)| *before < wanted).saturating_sub(1);
        let Some((before, at)) = self.skips.get(from) else { return false };
        let count = (self.place.count as usize).saturating_sub(from * SKIP);
        is_reached(wanted, *before, count, BitReader { bits: &self.bits, at: *at as usize })
    }

    /// Bytes of memory it takes.
    pub fn memory_len(&self) -> usize {
        size_of::<Self>() + self.bits.len() + self.skips.len() * 8
    }

    /// The codes, and what has to be held for finding an id in them where they lie elsewhere.
    pub fn split(&self) -> (FilterFrame, &[u8]) {
        let skips = self.skips.iter().step_by(FRAME_SKIPS).copied().collect();
        (FilterFrame { place: self.place, codes_len: self.bits.len(), skips }, &self.bits)
    }
}

/// Groups of [`SKIP`] ids whose codes are read together by a [`FilterFrame`].
const FRAME_SKIPS: usize = 4;

/// A part of a filter without its codes: a thirtieth of it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct FilterFrame {
    place: Places,
    codes_len: usize,
    /// As [`FilterPart::skips`], but before each 256th id.
    skips: Box<[(u32, u32)]>,
}

/// Which codes of a part decide about an id.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct FilterCodes {
    /// Bytes within the codes.
    pub range: std::ops::Range<usize>,
    wanted: u32,
    /// The value before the first code, which begins at this bit of the range.
    before: u32,
    bit: u32,
    count: usize,
}

impl FilterFrame {
    /// What has to be read to know about an id; nothing if it is none of those that the part was made of.
    pub fn codes_of(&self, id: &[u8; 16]) -> Option<FilterCodes> {
        let wanted = self.place.of(high(id))?;
        let from = self.skips.partition_point(|(before, _)| *before < wanted).saturating_sub(1);
        let (before, at) = *self.skips.get(from)?;
        // at the next place the value has come up to what is wanted
        let end = self.skips.get(from + 1).map_or(self.codes_len, |(_, at)| (*at as usize).div_ceil(8));
        let step = FRAME_SKIPS * SKIP;
        let count = (self.place.count as usize).saturating_sub(from * step).min(step);
        let start = at as usize / 8;
        Some(FilterCodes { range: start..end.max(start), wanted, before, bit: at % 8, count })
    }

    /// Bytes of memory it takes.
    pub fn memory_len(&self) -> usize {
        size_of::<Self>() + self.skips.len() * 8
    }
}

impl FilterCodes {
    /// Whether the id may be one of those that the part was made of, by the bytes of [`range`](Self::range).
    pub fn may_have(&self, codes: &[u8]) -> bool {
        is_reached(self.wanted, self.before, self.count, BitReader { bits: codes, at: self.bit as usize })
    }
}

/// Whether one of the next `count` values is the wanted one.
fn is_reached(wanted: u32, before: u32, count: usize, mut reader: BitReader<'_>) -> bool {
    let mut value = before;
    for _ in 0..count {
        // what lay elsewhere may be anything
        value = value.saturating_add(reader.step().unwrap_or(u32::MAX));
        if value >= wanted {
            return value == wanted;
        }
    }
    false
}

/// Decodes all codes once: they must be as a writer writes them.
fn skips(place: &Places, bits: &[u8]) -> Result<Vec<(u32, u32)>> {
    let short = Error::Rule { what: WHAT, rule: "ends before its last id" };
    let mut reader = BitReader { bits, at: 0 };
    let mut skips = Vec::with_capacity((place.count as usize).div_ceil(SKIP));
    let mut value = 0u32;
    for n in 0..place.count as usize {
        if n.is_multiple_of(SKIP) {
            skips.push((value, u32::try_from(reader.at).unwrap_or(u32::MAX)));
        }
        let step = reader.step().ok_or_else(|| short.clone())?;
        value = value.checked_add(step).ok_or_else(|| short.clone())?;
        if n == 0 && value != 0 {
            return Err(Error::Rule { what: WHAT, rule: "does not begin with its lowest id" });
        }
    }
    if Some(value) != place.of(place.lowest.saturating_add(place.range_less_1)) {
        return Err(Error::Rule { what: WHAT, rule: "does not end with its highest id" });
    }
    let rest = bits.len() * 8 - reader.at;
    if rest >= 8 || (0..rest).any(|_| reader.bit() != Some(0)) {
        return Err(Error::Trailing { what: WHAT });
    }
    Ok(skips)
}

/// The id and content of the filter part of the first of the sorted `entries`, and how many of them it covers: all
/// places of its ids. Nothing as long as more entries may belong to the part, unless these are the last ones.
pub fn next_filter_part(entries: &[Entry], are_last: bool) -> Option<((Id, Vec<u8>), usize)> {
    let mut ids: Vec<[u8; 16]> = Vec::with_capacity(entries.len().min(limits::FILTER_PART_ID_COUNT_MAX));
    for (n, entry) in entries.iter().enumerate() {
        if ids.last() == Some(&entry.id) {
            continue;
        }
        if ids.len() == limits::FILTER_PART_ID_COUNT_MAX {
            return Some((encode_filter_part(&ids)?, n));
        }
        ids.push(entry.id);
    }
    if are_last { Some((encode_filter_part(&ids)?, entries.len())) } else { None }
}

/// First and last short id of what a block of entries or a filter part covers, by the id of its record.
pub fn id_range(id: &Id) -> ([u8; 16], [u8; 16]) {
    let (mut first, mut last) = ([0; 16], [0; 16]);
    let (low, high) = id.0.split_at(16);
    first.copy_from_slice(low);
    last.copy_from_slice(high);
    (first, last)
}
