//! What runs are made of, and writing them.

use super::entries::{ENTRIES_PER_BLOCK, ENTRY_LEN, Entry, block_id, check_entry, encode_block};
use super::filter::next_filter_part;
use crate::fields::Fields;
use crate::pack::{FOOTER_LEN, HEADER_LEN, PackClass, TRAILER_LEN_MIN};
use crate::record::RecordType;
use crate::{Error, Id, PackId, Result, SnapshotId, limits};
use std::sync::Arc;

pub(super) const WHAT: &str = "index run";
/// Bytes of a pack table row: pack_id[16], size u32, trailer_len u24, class u8, sid[16].
pub const PACK_ROW_LEN: usize = PackId::LEN + 4 + 3 + 1 + SnapshotId::LEN;
/// Rows of a part of the pack table; only the last part has fewer.
pub const PACK_TABLE_PART_ROWS: usize = 1024;
const HEAD_LEN: usize = 8 + 8 + 4 + 16 + 16;

/// A pack that a run names: enough to fetch its trailer with one ranged read.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct PackRow {
    /// The pack's name.
    pub pack_id: PackId,
    /// Bytes of the whole pack.
    pub size: u32,
    /// Bytes of its trailer, without the footer.
    pub trailer_len: u32,
    /// [`PackClass::Data`] or [`PackClass::Map`]; runs are in no index.
    pub class: PackClass,
    /// The snapshot whose session wrote it.
    pub sid: SnapshotId,
}

/// The head of a run.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct RunHead {
    /// Sweeps that the writer had read: runs older than a sweep's floor are ignored.
    pub built: u64,
    /// Entries of the run, 1 to [`limits::RUN_ENTRY_COUNT_MAX`].
    pub entry_count: u64,
    /// Rows of the pack table.
    pub pack_count: u32,
    /// Id of the first entry.
    pub lowest: [u8; 16],
    /// Id of the last entry.
    pub highest: [u8; 16],
}

impl RunHead {
    fn encode(&self) -> Vec<u8> {
        let (built, entries) = (self.built.to_le_bytes(), self.entry_count.to_le_bytes());
        [&built[..], &entries, &self.pack_count.to_le_bytes(), &self.lowest, &self.highest].concat()
    }

    /// Reads the head record.
    pub fn parse(bytes: &[u8]) -> Result<Self> {
        let mut fields = Fields::new("index run head", bytes);
        let (built, entry_count, pack_count) = (fields.u64()?, fields.u64()?, fields.u32()?);
        let head =
            RunHead { built, entry_count, pack_count, lowest: fields.array()?, highest: fields.array()? };
        fields.finish()?;
        Error::check_limit("entry count of an index run", entry_count, limits::RUN_ENTRY_COUNT_MAX)?;
        let payload_len = plain_len(entry_count, pack_count.into());
        Error::check_limit("length of an index run", payload_len, limits::RUN_LEN_MAX)?;
        if entry_count == 0 || pack_count == 0 || head.lowest > head.highest {
            return Err(Error::Rule { what: WHAT, rule: "is empty, or its lowest id above its highest" });
        }
        Ok(head)
    }
}

/// Bytes of a run's records before sealing.
fn plain_len(entry_count: u64, pack_count: u64) -> u64 {
    let rows = pack_count.saturating_mul(PACK_ROW_LEN as u64);
    entry_count.saturating_mul(ENTRY_LEN as u64).saturating_add(rows).saturating_add(HEAD_LEN as u64)
}

/// Bytes of a run's filter at most.
fn filter_len(entry_count: u64) -> u64 {
    let parts = entry_count / limits::FILTER_PART_ID_COUNT_MAX as u64 + 1;
    entry_count.saturating_mul(10) / 8 + parts * 32
}

/// A record of a run before it is sealed.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct PlainIndexRecord {
    /// Entries, filter, pack table or head.
    pub record_type: RecordType,
    /// The record's id: a position, not a hash.
    pub id: Id,
    /// The plain content.
    pub content: Vec<u8>,
}

/// Collects locations and encodes them as one run.
#[derive(Debug, Clone, Default)]
pub struct RunBuilder {
    packs: Vec<PackRow>,
    entries: Vec<Entry>,
}

impl RunBuilder {
    /// An empty run.
    pub fn new() -> Self {
        Self::default()
    }

    /// Entries so far.
    pub fn entry_count(&self) -> usize {
        self.entries.len()
    }

    /// Whether a pack with this many records still fits: a pack's entries may be spread over two
    /// runs, but a writer that asks first need not do that.
    pub fn fits(&self, record_count: usize) -> bool {
        let entries = (self.entries.len() + record_count) as u64;
        // Sealing adds an overhead and a trailer row to each block and part: 2 % at most.
        let len = plain_len(entries, self.packs.len() as u64 + 1).saturating_add(filter_len(entries));
        entries <= limits::RUN_ENTRY_COUNT_MAX && len + len / 40 <= limits::RUN_LEN_MAX
    }

    /// Adds a pack and gives its number; each pack only once.
    pub fn add_pack(&mut self, row: PackRow) -> Result<u32> {
        check_pack_row(&row)?;
        let number = u32::try_from(self.packs.len())
            .map_err(|_| Error::Invalid { what: WHAT, rule: "has too many packs" })?;
        self.packs.push(row);
        Ok(number)
    }

    /// Adds a record of pack number `pack`, `clen` sealed bytes long. Order does not matter.
    pub fn add_entry(&mut self, id: &Id, pack: u32, clen: u32) -> Result<()> {
        let entry = Entry { id: id.short(), pack, clen };
        check_entry(&entry, u32::try_from(self.packs.len()).unwrap_or(u32::MAX))?;
        self.entries.push(entry);
        Ok(())
    }

    /// The run's records in the order in which they are sealed into the pack, each encoded when it is asked for. A
    /// record that was added twice for one pack is written once.
    pub fn into_records(mut self, built: u64) -> Result<impl Iterator<Item = PlainIndexRecord> + use<>> {
        self.entries.sort_unstable();
        self.entries.dedup_by_key(|entry| (entry.id, entry.pack));
        check_unique(&self.packs)?;
        let (Some(first), Some(last)) = (self.entries.first(), self.entries.last()) else {
            return Err(Error::Invalid { what: WHAT, rule: "has no entries" });
        };
        let head = RunHead {
            built,
            entry_count: self.entries.len() as u64,
            pack_count: u32::try_from(self.packs.len()).unwrap_or(u32::MAX),
            lowest: first.id,
            highest: last.id,
        };
        let head = head.encode();
        RunHead::parse(&head)?;
        let head = PlainIndexRecord { record_type: RecordType::RunHead, id: Id::ZERO, content: head };
        let RunBuilder { packs, entries } = self;
        let (entries, mut filtered) = (Arc::new(entries), 0);
        let of_filter = entries.clone();
        let filter = std::iter::from_fn(move || {
            let ((id, content), used) = next_filter_part(of_filter.get(filtered..)?, true)?;
            filtered += used;
            Some(PlainIndexRecord { record_type: RecordType::Filter, id, content })
        });
        let block_count = entries.len().div_ceil(ENTRIES_PER_BLOCK);
        let blocks = (0..block_count).filter_map(move |n| {
            let block = entries.chunks(ENTRIES_PER_BLOCK).nth(n)?;
            let id = block_id(&block.first()?.id, &block.last()?.id);
            Some(PlainIndexRecord { record_type: RecordType::Entries, id, content: encode_block(block) })
        });
        let part_count = packs.len().div_ceil(PACK_TABLE_PART_ROWS);
        let parts = (0..part_count).filter_map(move |n| {
            let content = encode_part(packs.chunks(PACK_TABLE_PART_ROWS).nth(n)?);
            Some(PlainIndexRecord { record_type: RecordType::PackTable, id: part_id(n as u32), content })
        });
        Ok(blocks.chain(filter).chain(parts).chain(std::iter::once(head)))
    }

    /// All of [`into_records`](Self::into_records) at once.
    pub fn encode(self, built: u64) -> Result<Vec<PlainIndexRecord>> {
        self.into_records(built).map(Iterator::collect)
    }
}

/// The id of a part of the pack table: its number, then zeros.
pub(super) fn part_id(number: u32) -> Id {
    let mut id = Id::ZERO;
    if let Some(low) = id.0.first_chunk_mut::<4>() {
        *low = number.to_le_bytes();
    }
    id
}

fn encode_part(rows: &[PackRow]) -> Vec<u8> {
    let mut out = Vec::with_capacity(rows.len() * PACK_ROW_LEN);
    for row in rows {
        let [a, b, c, _] = row.trailer_len.to_le_bytes();
        out.extend_from_slice(&row.pack_id.0);
        out.extend_from_slice(&row.size.to_le_bytes());
        out.extend_from_slice(&[a, b, c, row.class as u8]);
        out.extend_from_slice(&row.sid.0);
    }
    out
}

pub(super) fn check_pack_row(row: &PackRow) -> Result<()> {
    Error::check_limit("pack size in a pack table", row.size.into(), limits::PACK_LEN_MAX)?;
    Error::check_limit(
        "trailer length in a pack table",
        row.trailer_len.into(),
        limits::TRAILER_LEN_MAX.into(),
    )?;
    let frame = (HEADER_LEN + FOOTER_LEN) as u64;
    if row.trailer_len < TRAILER_LEN_MIN || u64::from(row.trailer_len) + frame > row.size.into() {
        return Err(Error::Rule { what: WHAT, rule: "a pack cannot hold the trailer it is said to have" });
    }
    if row.class == PackClass::Index {
        return Err(Error::Rule { what: WHAT, rule: "names a run as a pack" });
    }
    Ok(())
}

pub(super) fn check_unique(packs: &[PackRow]) -> Result<()> {
    let mut ids: Vec<PackId> = packs.iter().map(|row| row.pack_id).collect();
    ids.sort_unstable();
    if ids.windows(2).any(|pair| matches!(pair, [a, b] if a == b)) {
        return Err(Error::Rule { what: WHAT, rule: "names a pack twice" });
    }
    Ok(())
}
