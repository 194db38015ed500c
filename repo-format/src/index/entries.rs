//! Blocks of entries: short id, pack, sealed length.

use crate::fields::Fields;
use crate::{Error, Id, Result, limits};

const WHAT: &str = "index entries";
/// Bytes of an entry: id[16], pack u32, clen u24.
pub const ENTRY_LEN: usize = 16 + 4 + 3;
const BLOCK_LEN: usize = 4096;
/// Entries of a block at most; all but the last block of a run are full.
pub const ENTRIES_PER_BLOCK: usize = BLOCK_LEN / ENTRY_LEN;

/// A location of a record: runs are sorted by these three fields in this order.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub struct Entry {
    /// The first 16 bytes of the record's id.
    pub id: [u8; 16],
    /// Number of the pack in the run's pack table.
    pub pack: u32,
    /// Sealed length of the record, so that a reader can budget before it knows the offset.
    pub clen: u32,
}

/// The id of a block or filter part: its first and last entry's ids, so that a run's trailer is
/// the fence table of the run.
pub(super) fn block_id(first: &[u8; 16], last: &[u8; 16]) -> Id {
    let mut id = [0; 32];
    let (low, high) = id.split_at_mut(16);
    low.copy_from_slice(first);
    high.copy_from_slice(last);
    Id(id)
}

/// The plain content of a block.
pub(super) fn encode_block(entries: &[Entry]) -> Vec<u8> {
    let mut out = Vec::with_capacity(entries.len() * ENTRY_LEN);
    for entry in entries {
        let [a, b, c, _] = entry.clen.to_le_bytes();
        out.extend_from_slice(&entry.id);
        out.extend_from_slice(&entry.pack.to_le_bytes());
        out.extend_from_slice(&[a, b, c]);
    }
    out
}

/// Appends the entries of one block to `out`: `id` is its record's id, `pack_count` the number of
/// rows in the run's pack table. Nothing is appended if the block is refused.
pub fn parse_entries_block(id: &Id, block: &[u8], pack_count: u32, out: &mut Vec<Entry>) -> Result<()> {
    Error::check_limit(WHAT, block.len() as u64, (ENTRIES_PER_BLOCK * ENTRY_LEN) as u64)?;
    if block.is_empty() || !block.len().is_multiple_of(ENTRY_LEN) {
        return Err(Error::Rule { what: WHAT, rule: "block is not a whole number of entries" });
    }
    let start = out.len();
    let parsed = parse_into(block, pack_count, out).and_then(|()| match out.get(start..) {
        Some([first, .., last]) if block_id(&first.id, &last.id) == *id => Ok(()),
        Some([only]) if block_id(&only.id, &only.id) == *id => Ok(()),
        _ => Err(Error::Mismatch { what: "id of an entries block and its first and last entry" }),
    });
    if parsed.is_err() {
        out.truncate(start);
    }
    parsed
}

fn parse_into(block: &[u8], pack_count: u32, out: &mut Vec<Entry>) -> Result<()> {
    let mut last: Option<([u8; 16], u32)> = None;
    for row in block.chunks_exact(ENTRY_LEN) {
        let mut fields = Fields::new(WHAT, row);
        let entry = Entry { id: fields.array()?, pack: fields.u32()?, clen: fields.u24()? };
        check_entry(&entry, pack_count)?;
        if last.is_some_and(|last| last >= (entry.id, entry.pack)) {
            return Err(Error::Rule { what: WHAT, rule: "not sorted by id and pack, or named twice" });
        }
        last = Some((entry.id, entry.pack));
        out.push(entry);
    }
    Ok(())
}

/// Refuses locations that cannot be.
pub(super) fn check_entry(entry: &Entry, pack_count: u32) -> Result<()> {
    if entry.pack >= pack_count {
        let (found, limit) = (entry.pack.into(), u64::from(pack_count.saturating_sub(1)));
        return Err(Error::TooLarge { what: "pack number of an index entry", found, limit });
    }
    let most = limits::RECORD_PLAIN_LEN_MAX + limits::RECORD_OVERHEAD_LEN;
    Error::check_limit("sealed length in an index entry", entry.clen.into(), most.into())?;
    if entry.clen <= limits::RECORD_OVERHEAD_LEN {
        return Err(Error::Rule { what: WHAT, rule: "a record is shorter than its overhead" });
    }
    Ok(())
}
