//! Reading runs: head, pack table and entries, checked against each other, block by block.

use super::entries::{ENTRIES_PER_BLOCK, Entry, parse_entries_block};
use super::run::{
    PACK_ROW_LEN, PACK_TABLE_PART_ROWS, PackRow, RunHead, WHAT, check_pack_row, check_unique, part_id,
};
use crate::fields::Fields;
use crate::pack::PackClass;
use crate::record::RecordType;
use crate::{Error, Id, PackId, Result, SnapshotId};

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

/// A run whose blocks are read one after the other: nobody has to hold all entries of it.
///
/// What was read counts only once [`finish`](Self::finish) has said that the run is whole.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct RunBlocks {
    head: RunHead,
    packs: Vec<PackRow>,
    read: u64,
    last: Option<Entry>,
}

impl RunBlocks {
    /// Starts with what stands behind the blocks. `types` are those of all records of the run, in the order in which
    /// they lie in the pack; `head` is the last record, `parts` are the records of the pack table.
    ///
    /// Fails if records are missing, in another order, or do not say the same.
    pub fn new<'a>(
        types: impl DoubleEndedIterator<Item = RecordType>,
        (head_id, head): (&Id, &[u8]),
        parts: impl Iterator<Item = (&'a Id, &'a [u8])>,
    ) -> Result<Self> {
        let mut types = types;
        if types.next_back() != Some(RecordType::RunHead) {
            return Err(Error::Rule { what: WHAT, rule: "does not end with its head" });
        }
        if !head_id.is_zero() {
            return Err(Error::Rule { what: WHAT, rule: "the head's id is not zero" });
        }
        let head = RunHead::parse(head)?;
        check_order(types)?;
        let packs = parse_pack_table(parts, &head)?;
        Ok(RunBlocks { head, packs, read: 0, last: None })
    }

    /// The head.
    pub fn head(&self) -> &RunHead {
        &self.head
    }

    /// The pack table; entries name rows by number.
    pub fn packs(&self) -> &[PackRow] {
        &self.packs
    }

    /// Appends the entries of the next block to `out`. Nothing is appended if it is refused.
    pub fn read(&mut self, id: &Id, block: &[u8], out: &mut Vec<Entry>) -> Result<()> {
        if !self.read.is_multiple_of(ENTRIES_PER_BLOCK as u64) {
            return Err(Error::Rule { what: WHAT, rule: "a block before the last is not full" });
        }
        Error::check_limit("entry count of an index run", self.read + 1, self.head.entry_count)?;
        let start = out.len();
        parse_entries_block(id, block, self.head.pack_count, out)?;
        let follows = match (self.last, out.get(start)) {
            (Some(before), Some(first)) if (before.id, before.pack) >= (first.id, first.pack) => {
                Err(Error::Rule { what: WHAT, rule: "blocks are not sorted" })
            }
            (None, Some(first)) if first.id != self.head.lowest => {
                Err(Error::Mismatch { what: "lowest and highest id of an index run" })
            }
            _ => Ok(()),
        };
        if follows.is_err() {
            out.truncate(start);
            return follows;
        }
        self.read += (out.len() - start) as u64;
        self.last = out.last().copied();
        Ok(())
    }

    /// Says whether all that the head promises was read.
    pub fn finish(&self) -> Result<()> {
        check_count("entry count of an index run", self.read, self.head.entry_count)?;
        if self.last.map(|entry| entry.id) != Some(self.head.highest) {
            return Err(Error::Mismatch { what: "lowest and highest id of an index run" });
        }
        Ok(())
    }
}

/// Reads a run from its opened records, given as (type, id, plain content) in the order in which
/// they lie in the pack. Filter parts are skipped: whole runs need no filter.
pub fn parse_run<B: AsRef<[u8]>>(records: &[(RecordType, Id, B)]) -> Result<Run> {
    let of = |wanted| records.iter().filter(move |(record_type, _, _)| *record_type == wanted);
    let none = (RecordType::RunHead, Id::ZERO, &[][..]);
    let (_, head_id, head) =
        records.last().map_or(none, |(record_type, id, head)| (*record_type, *id, head.as_ref()));
    let parts = of(RecordType::PackTable).map(|(_, id, part)| (id, part.as_ref()));
    let mut blocks = RunBlocks::new(records.iter().map(|(t, _, _)| *t), (&head_id, head), parts)?;
    // exactly what is there, if the head is right: growing would take up to three times as much for a moment
    let most = of(RecordType::Entries).count().saturating_mul(ENTRIES_PER_BLOCK);
    let expected = usize::try_from(blocks.head.entry_count).unwrap_or(usize::MAX);
    let mut entries = Vec::with_capacity(most.min(expected));
    for (_, id, block) in of(RecordType::Entries) {
        blocks.read(id, block.as_ref(), &mut entries)?;
    }
    blocks.finish()?;
    Ok(Run { head: blocks.head, packs: blocks.packs, entries })
}

fn check_order(types: impl Iterator<Item = RecordType>) -> Result<()> {
    let mut last = 0;
    for record_type in types {
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
    check_count("pack count of an index run", rows.len() as u64, head.pack_count.into())?;
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

fn check_count(what: &'static str, found: u64, expected: u64) -> Result<()> {
    if found == expected {
        return Ok(());
    }
    Err(Error::Unexpected { what, found: found.to_string(), expected: expected.to_string() })
}
