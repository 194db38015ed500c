//! Which pages were walked: one bit for each page of the index, not an id.

use crate::Result;
use crate::index::Index;
use crate::spill::{BUCKET_COUNT, Spill};
use std::collections::BTreeSet;
use std::sync::Arc;

/// A set of pages by their short ids.
#[derive(Debug, Default)]
pub(crate) struct Walked {
    index: Arc<Index>,
    /// By the number of the page's first entry in the index.
    bits: Vec<u64>,
    /// Pages that the index does not name: there are some only where something is lost.
    others: BTreeSet<[u8; 16]>,
}

impl Walked {
    /// None yet, of pages that `index` locates.
    pub(crate) fn new(index: &Arc<Index>) -> Self {
        let bits = vec![0; index.entries().len().div_ceil(64)];
        Walked { index: index.clone(), bits, others: BTreeSet::new() }
    }

    pub(crate) fn contains(&self, id: &[u8; 16]) -> bool {
        match self.index.number_of(id) {
            Some(n) => self.has(n),
            None => self.others.contains(id),
        }
    }

    /// Adds a page; false if it was there.
    pub(crate) fn insert(&mut self, id: [u8; 16]) -> bool {
        let Some(n) = self.index.number_of(&id) else { return self.others.insert(id) };
        let is_new = !self.has(n);
        if let Some(word) = self.bits.get_mut(n / 64) {
            *word |= 1 << (n % 64);
        }
        is_new
    }

    fn has(&self, n: usize) -> bool {
        self.bits.get(n / 64).is_some_and(|word| word >> (n % 64) & 1 == 1)
    }

    /// Writes the ids down, for a time in which another index is in memory.
    pub(crate) async fn store(&self, ids: &mut Spill<16>) -> Result<()> {
        for (n, entry) in self.index.entries().iter().enumerate() {
            if self.has(n) {
                ids.push(entry.id);
            }
            if n % SETTLE_IDS == 0 {
                ids.settle().await?;
            }
        }
        self.others.iter().for_each(|id| ids.push(*id));
        ids.close().await
    }

    /// The set that was written down, by the pages of another index.
    pub(crate) async fn load(index: &Arc<Index>, ids: &Spill<16>) -> Result<Self> {
        let mut walked = Walked::new(index);
        for n in 0..BUCKET_COUNT {
            for id in ids.bucket(n).await? {
                walked.insert(id);
            }
        }
        Ok(walked)
    }
}

/// Ids added before the budget is looked at.
const SETTLE_IDS: usize = 1 << 14;

#[cfg(test)]
mod tests {
    use super::*;
    use crate::index::{Entry, PackInfo};
    use crate::spill::SpillFolder;
    use repo_format::pack::PackClass;
    use repo_format::{PackId, SnapshotId};

    fn index(ids: &[u8]) -> Arc<Index> {
        let pack = |n: u8| PackInfo {
            pack_id: PackId([n; 16]),
            class: PackClass::Map,
            len: 100,
            trailer_len: 50,
            sid: SnapshotId([0; 16]),
        };
        // each in two packs
        let entries = ids.iter().flat_map(|id| (0..2).map(|pack| Entry { id: [*id; 16], pack, clen: 29 }));
        Arc::new(Index::new(vec![pack(0), pack(1)], entries.collect()))
    }

    #[test]
    fn pages_are_walked_once_whether_the_index_has_them_or_not() {
        let mut walked = Walked::new(&index(&[3, 5, 200]));
        for id in [5, 7] {
            assert!(!walked.contains(&[id; 16]));
            assert!(walked.insert([id; 16]));
            assert!(!walked.insert([id; 16]));
            assert!(walked.contains(&[id; 16]));
        }
        let found: Vec<u8> = (0..=255).filter(|id| walked.contains(&[*id; 16])).collect();
        assert_eq!(found, [5, 7]);
    }

    #[test]
    fn what_was_walked_is_known_by_another_index() {
        let folder = tempfile::tempdir().unwrap();
        let folder = SpillFolder::of(folder.path(), crate::Exec::inline());
        let block_on = |work| tokio::runtime::Builder::new_current_thread().build().unwrap().block_on(work);
        let mut walked = Walked::new(&index(&(0..=254).collect::<Vec<u8>>()));
        let ids: Vec<u8> = (0..=255).step_by(3).collect();
        ids.iter().for_each(|id| assert!(walked.insert([*id; 16])));
        let again = block_on(Box::pin(async {
            let mut stored = Spill::new(&folder, 10 * 16);
            walked.store(&mut stored).await.unwrap();
            // it has lost some of the pages, and has others
            Walked::load(&index(&(100..=255).collect::<Vec<u8>>()), &stored).await.unwrap()
        }));
        let found: Vec<u8> = (0..=255).filter(|id| again.contains(&[*id; 16])).collect();
        assert_eq!(found, ids);
    }
}
