//! Whole runs: head, pack table and entries, checked against each other.

use super::entries::{
    ENTRIES_PER_BLOCK, ENTRY_LEN, Entry, block_id, check_entry, encode_block, parse_entries_block,
};
use crate::fields::Fields;
use crate::pack::{FOOTER_LEN, HEADER_LEN, PackClass, TRAILER_LEN_MIN};
use crate::record::RecordType;
use crate::{Error, Id, PackId, Result, SnapshotId, limits};

const WHAT: &str = "index run";
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
        let len = plain_len(entries, self.packs.len() as u64 + 1);
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

    /// The run's records in the order in which they are sealed into the pack. A record that was
    /// added twice for one pack is written once.
    pub fn encode(mut self, built: u64) -> Result<Vec<PlainIndexRecord>> {
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
        let mut out = Vec::new();
        for block in self.entries.chunks(ENTRIES_PER_BLOCK) {
            let [Some(first), Some(last)] = [block.first(), block.last()] else { continue };
            let (id, content) = (block_id(&first.id, &last.id), encode_block(block));
            out.push(PlainIndexRecord { record_type: RecordType::Entries, id, content });
        }
        for (number, part) in self.packs.chunks(PACK_TABLE_PART_ROWS).enumerate() {
            let (id, content) = (part_id(number as u32), encode_part(part));
            out.push(PlainIndexRecord { record_type: RecordType::PackTable, id, content });
        }
        out.push(PlainIndexRecord { record_type: RecordType::RunHead, id: Id::ZERO, content: head });
        Ok(out)
    }
}

/// The id of a part of the pack table: its number, then zeros.
fn part_id(number: u32) -> Id {
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

fn check_pack_row(row: &PackRow) -> Result<()> {
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

fn check_unique(packs: &[PackRow]) -> Result<()> {
    let mut ids: Vec<PackId> = packs.iter().map(|row| row.pack_id).collect();
    ids.sort_unstable();
    if ids.windows(2).any(|pair| matches!(pair, [a, b] if a == b)) {
        return Err(Error::Rule { what: WHAT, rule: "names a pack twice" });
    }
    Ok(())
}

/// A whole run, checked.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Run {
    /// The head.
    pub head: RunHead,
    /// The pack table; entries name rows by number.
    pub packs: Vec<PackRow>,
    /// All entries, sorted by id, then pack.
    pub entries: Vec<Entry>,
}

impl Run {
    /// The locations of an id: more than one if several packs hold it.
    pub fn find(&self, id: &Id) -> &[Entry] {
        let short = id.short();
        let start = self.entries.partition_point(|entry| entry.id < short);
        let rest = self.entries.get(start..).unwrap_or_default();
        rest.get(..rest.partition_point(|entry| entry.id == short)).unwrap_or_default()
    }
}

/// Reads a run from its opened records, given as (type, id, plain content) in the order in which
/// they lie in the pack. Filter parts are skipped: whole runs need no filter.
pub fn parse_run<B: AsRef<[u8]>>(records: &[(RecordType, Id, B)]) -> Result<Run> {
    let Some(((RecordType::RunHead, id, head), body)) = records.split_last() else {
        return Err(Error::Rule { what: WHAT, rule: "does not end with its head" });
    };
    if !id.is_zero() {
        return Err(Error::Rule { what: WHAT, rule: "the head's id is not zero" });
    }
    let head = RunHead::parse(head.as_ref())?;
    check_order(body)?;
    let of = |wanted| body.iter().filter(move |(record_type, _, _)| *record_type == wanted);
    let packs = parse_pack_table(of(RecordType::PackTable).map(|(_, id, part)| (id, part.as_ref())), &head)?;
    let blocks = of(RecordType::Entries).map(|(_, id, block)| (id, block.as_ref()));
    // exactly what is there, if the head is right: growing would take up to three times as much for a moment
    let most = of(RecordType::Entries).count().saturating_mul(ENTRIES_PER_BLOCK);
    let expected = usize::try_from(head.entry_count).unwrap_or(usize::MAX);
    let entries = parse_entries(blocks, &head, most.min(expected))?;
    Ok(Run { head, packs, entries })
}

fn check_order<B>(body: &[(RecordType, Id, B)]) -> Result<()> {
    let mut last = 0;
    for (record_type, _, _) in body {
        let place = match record_type {
            RecordType::Entries => 0,
            RecordType::Filter => 1,
            RecordType::PackTable => 2,
            _ => return Err(Error::Rule { what: WHAT, rule: "holds a record of another type" }),
        };
        if place < last {
            return Err(Error::Rule { what: WHAT, rule: "order is not entries, filter, pack table, head" });
        }
        last = place;
    }
    Ok(())
}

fn parse_pack_table<'a>(
    parts: impl Iterator<Item = (&'a Id, &'a [u8])>,
    head: &RunHead,
) -> Result<Vec<PackRow>> {
    let mut rows = Vec::new();
    for (number, (id, part)) in parts.enumerate() {
        let rest = (head.pack_count as usize).saturating_sub(rows.len());
        if part.len() != rest.min(PACK_TABLE_PART_ROWS) * PACK_ROW_LEN || part.is_empty() {
            return Err(Error::Rule { what: "pack table", rule: "a part does not have the rows it should" });
        }
        if u32::try_from(number).map(part_id) != Ok(*id) {
            return Err(Error::Rule { what: "pack table", rule: "parts are not numbered in order" });
        }
        for row in part.chunks_exact(PACK_ROW_LEN) {
            rows.push(parse_pack_row(row)?);
        }
    }
    check_count("pack count of an index run", rows.len(), head.pack_count.into())?;
    check_unique(&rows)?;
    Ok(rows)
}

fn parse_pack_row(bytes: &[u8]) -> Result<PackRow> {
    let mut fields = Fields::new("pack table", bytes);
    let (pack_id, size, trailer_len) = (PackId(fields.array()?), fields.u32()?, fields.u24()?);
    let class = PackClass::parse(fields.u8()?)?;
    let row = PackRow { pack_id, size, trailer_len, class, sid: SnapshotId(fields.array()?) };
    check_pack_row(&row)?;
    Ok(row)
}

fn parse_entries<'a>(
    blocks: impl Iterator<Item = (&'a Id, &'a [u8])>,
    head: &RunHead,
    capacity: usize,
) -> Result<Vec<Entry>> {
    let mut entries: Vec<Entry> = Vec::with_capacity(capacity);
    for (id, block) in blocks {
        let start = entries.len();
        if !start.is_multiple_of(ENTRIES_PER_BLOCK) {
            return Err(Error::Rule { what: WHAT, rule: "a block before the last is not full" });
        }
        Error::check_limit("entry count of an index run", (start as u64) + 1, head.entry_count)?;
        parse_entries_block(id, block, head.pack_count, &mut entries)?;
        if let (Some(before), Some(first)) =
            (start.checked_sub(1).and_then(|at| entries.get(at)), entries.get(start))
            && (before.id, before.pack) >= (first.id, first.pack)
        {
            return Err(Error::Rule { what: WHAT, rule: "blocks are not sorted" });
        }
    }
    check_count("entry count of an index run", entries.len(), head.entry_count)?;
    let ends = (entries.first().map(|entry| entry.id), entries.last().map(|entry| entry.id));
    if ends != (Some(head.lowest), Some(head.highest)) {
        return Err(Error::Mismatch { what: "lowest and highest id of an index run" });
    }
    Ok(entries)
}

fn check_count(what: &'static str, found: usize, expected: u64) -> Result<()> {
    if found as u64 == expected {
        return Ok(());
    }
    Err(Error::Unexpected { what, found: found.to_string(), expected: expected.to_string() })
}
