//! The index in memory: which packs hold a record. Where in a pack says the pack's trailer.

mod candidates;
mod fenced;
mod known;
mod load;
mod merge;
mod near;
mod open;
mod outside;
mod pieces;
mod resolve;
mod run_set;
mod write;

pub use known::Known;
pub(crate) use known::load;
pub(crate) use load::{Found, RunFile, RunStream, list_runs, read_run};
pub(crate) use merge::{MergeLimits, MergePlan, RunInfo, merge, run_infos};
pub(crate) use open::{OpenRun, open_run};
pub(crate) use write::{RunWriter, pack_row};

use repo_format::index::PackRow;
use repo_format::pack::PackClass;
use repo_format::{PackId, SnapshotId};

/// A pack as the index knows it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct PackInfo {
    /// Its name.
    pub pack_id: PackId,
    /// Data or map.
    pub class: PackClass,
    /// Length of the object.
    pub len: u64,
    /// Length of its trailer.
    pub trailer_len: u32,
    /// The session that wrote it.
    pub sid: SnapshotId,
}

/// As a row of a pack table names it.
impl From<&PackRow> for PackInfo {
    fn from(row: &PackRow) -> Self {
        PackInfo {
            pack_id: row.pack_id,
            class: row.class,
            len: row.size.into(),
            trailer_len: row.trailer_len,
            sid: row.sid,
        }
    }
}

/// One location of an id.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub struct Entry {
    /// The first 16 bytes of the id.
    pub id: [u8; 16],
    /// Number of the pack in [`Index::packs`].
    pub pack: u32,
    /// Sealed length.
    pub clen: u32,
}

/// Locations of every id of a domain, sorted; 24 bytes an entry.
#[derive(Debug, Default)]
pub struct Index {
    packs: Vec<PackInfo>,
    entries: Vec<Entry>,
    /// Where the entries of each id prefix of `prefix_bits` bits begin; one more for the end.
    directory: Vec<u32>,
    prefix_bits: u32,
    lowest_built: u64,
}

impl Index {
    /// Sorts locations into an index. Entries that name no pack are left out.
    pub fn new(packs: Vec<PackInfo>, mut entries: Vec<Entry>) -> Self {
        entries.retain(|entry| (entry.pack as usize) < packs.len());
        entries.truncate(u32::MAX as usize);
        entries.sort_unstable();
        entries.dedup();
        // some 16 entries to a prefix
        let prefix_bits = (entries.len() >> 4).checked_ilog2().unwrap_or(0).min(16);
        let mut directory = vec![0u32; (1 << prefix_bits) + 1];
        for entry in &entries {
            if let Some(count) = directory.get_mut(prefix(&entry.id, prefix_bits) + 1) {
                *count += 1;
            }
        }
        let mut sum = 0;
        for count in &mut directory {
            sum += *count;
            *count = sum;
        }
        Index { packs, entries, directory, prefix_bits, lowest_built: u64::MAX }
    }

    /// Says which runs it was made of.
    pub(crate) fn with_lowest_built(mut self, lowest_built: u64) -> Self {
        self.lowest_built = lowest_built;
        self
    }

    /// The lowest `built` of the runs that it was made of; `u64::MAX` for none.
    pub(crate) fn lowest_built(&self) -> u64 {
        self.lowest_built
    }

    /// Packs, in no order that means anything.
    pub fn packs(&self) -> &[PackInfo] {
        &self.packs
    }

    /// All locations, sorted by id.
    pub fn entries(&self) -> &[Entry] {
        &self.entries
    }

    /// Number of the first pack that holds an id.
    pub fn find(&self, id: &[u8; 16]) -> Option<u32> {
        self.find_all(id).first().map(|entry| entry.pack)
    }

    /// Every location of an id.
    pub fn find_all(&self, id: &[u8; 16]) -> &[Entry] {
        self.entries.get(self.range_of(id)).unwrap_or_default()
    }

    /// Number of an id's first entry: a set of ids of the index is a set of such numbers.
    pub(crate) fn number_of(&self, id: &[u8; 16]) -> Option<usize> {
        Some(self.range_of(id)).filter(|range| !range.is_empty()).map(|range| range.start)
    }

    fn range_of(&self, id: &[u8; 16]) -> std::ops::Range<usize> {
        let bucket = prefix(id, self.prefix_bits);
        let (Some(start), Some(end)) = (self.directory.get(bucket), self.directory.get(bucket + 1)) else {
            return 0..0;
        };
        let (start, end) = (*start as usize, *end as usize);
        let bucket = self.entries.get(start..end).unwrap_or_default();
        let first = bucket.partition_point(|entry| entry.id < *id);
        let rest = bucket.get(first..).unwrap_or_default();
        let start = start + first;
        start..start + rest.partition_point(|entry| entry.id == *id)
    }
}

fn prefix(id: &[u8; 16], bits: u32) -> usize {
    usize::from(u16::from_be_bytes([id[0], id[1]])) >> (16 - bits)
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn pack(n: u8) -> PackInfo {
        PackInfo {
            pack_id: PackId([n; 16]),
            class: PackClass::Data,
            len: 100,
            trailer_len: 50,
            sid: SnapshotId([0; 16]),
        }
    }

    proptest! {
        #[test]
        fn finds_what_a_plain_search_finds(seeds in prop::collection::vec((0u8..6, 0u8..3, 0u32..4), 0..60)) {
            let id = |a: u8, b: u8| { let mut id = [a; 16]; id[15] = b; id };
            let entries: Vec<_> = seeds.iter().map(|(a, b, pack)| Entry { id: id(*a, *b), pack: *pack, clen: 29 }).collect();
            let index = Index::new((0..3).map(pack).collect(), entries.clone());
            for (a, b) in (0..7).flat_map(|a| (0..4).map(move |b| (a, b))) {
                let mut plain: Vec<_> = entries.iter().copied().filter(|e| e.id == id(a, b) && e.pack < 3).collect();
                plain.sort_unstable();
                plain.dedup();
                prop_assert_eq!(index.find_all(&id(a, b)), &plain[..]);
            }
        }
    }
}
