//! What packs are said to keep so that others may go: each of these records must stand in the trailer of its keeper.

use super::confirm::trailer;
use super::inventory::Inventory;
use crate::spill::{BUCKET_COUNT, Spill, SpillFolder};
use crate::{Error, Repository, Result};
use futures::stream::{Stream, StreamExt, iter};
use repo_format::pack::Trailer;

/// A record for which the pack number `keeper` was chosen, and which the pack `leaving` holds, too: a number of the
/// caller's.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Duty {
    pub(super) keeper: u32,
    pub(super) id: [u8; 16],
    pub(super) leaving: u32,
}

/// Keeper, little-endian so that keepers spread over the buckets; id; leaving pack.
type DutyItem = [u8; 24];

/// Duties, on disk if there are many.
pub(super) struct Duties(Spill<24>);

impl Duties {
    /// Holds up to about `budget_len` bytes in memory.
    pub(super) fn new(folder: &SpillFolder, budget_len: usize) -> Self {
        Duties(Spill::new(folder, budget_len))
    }

    /// Adds a duty; [`settle`](Self::settle) has to be called now and then.
    pub(super) fn push(&mut self, duty: Duty) {
        let mut item: DutyItem = [0; 24];
        let (keeper, rest) = item.split_at_mut(4);
        let (id, leaving) = rest.split_at_mut(16);
        keeper.copy_from_slice(&duty.keeper.to_le_bytes());
        id.copy_from_slice(&duty.id);
        leaving.copy_from_slice(&duty.leaving.to_be_bytes());
        self.0.push(item);
    }

    /// Keeps to the budget.
    pub(super) async fn settle(&mut self) -> Result<()> {
        self.0.settle().await
    }

    /// The duties of one keeper after the other, with its trailer; up to `in_flight` trailers are read at a time.
    pub(super) fn read<'a>(
        &'a self,
        repository: &'a Repository,
        inventory: &'a Inventory,
        in_flight: usize,
    ) -> impl Stream<Item = Result<(Vec<Duty>, Result<Trailer>)>> + 'a {
        let buckets = iter(0..BUCKET_COUNT).then(|n| self.0.bucket(n));
        let groups = buckets.flat_map(|bucket| {
            iter(match bucket {
                Ok(items) => groups_of(&items).into_iter().map(Ok).collect(),
                Err(error) => vec![Err(error)],
            })
        });
        groups
            .map(move |group| async move {
                let group = group?;
                let pack = group.first().and_then(|duty| inventory.packs.get(duty.keeper as usize));
                let pack =
                    pack.ok_or_else(|| Error::internal("a chosen pack that the index does not have"))?;
                Ok((group, trailer(repository, pack).await))
            })
            .buffered(in_flight)
    }
}

fn groups_of(items: &[DutyItem]) -> Vec<Vec<Duty>> {
    let duties = items.chunk_by(|a, b| a.first_chunk::<4>() == b.first_chunk::<4>());
    duties.map(|group| group.iter().map(duty_of).collect()).collect()
}

fn duty_of(item: &DutyItem) -> Duty {
    let (keeper, rest) = item.split_at(4);
    let (id, leaving) = rest.split_at(16);
    Duty {
        keeper: u32::from_le_bytes(keeper.try_into().unwrap_or_default()),
        id: id.try_into().unwrap_or_default(),
        leaving: u32::from_be_bytes(leaving.try_into().unwrap_or_default()),
    }
}

/// The short ids of a trailer, to be looked up.
pub(super) fn ids_of(trailer: &Trailer) -> Vec<[u8; 16]> {
    let mut ids: Vec<[u8; 16]> = trailer.rows().iter().map(|row| row.id.short()).collect();
    ids.sort_unstable();
    ids
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn duties_come_back_by_keeper_whatever_lay_on_disk() {
        let folder = tempfile::tempdir().unwrap();
        let folder = SpillFolder::of(folder.path(), crate::Exec::inline());
        let runtime = tokio::runtime::Builder::new_current_thread().build().unwrap();
        let mut duties = Duties::new(&folder, 100 * 24);
        let mut wanted = Vec::new();
        for n in 0..1000u32 {
            // keepers that differ in the highest byte alone, too
            let keeper = n % 150 * 7 + ((n / 150 % 2) << 24);
            let duty = Duty { keeper, id: [n as u8; 16], leaving: n };
            wanted.push((duty.keeper, duty.id, duty.leaving));
            duties.push(duty);
            runtime.block_on(duties.settle()).unwrap();
        }
        wanted.sort_unstable();
        let mut found = Vec::new();
        let mut keepers = Vec::new();
        for n in 0..BUCKET_COUNT {
            for group in groups_of(&runtime.block_on(duties.0.bucket(n)).unwrap()) {
                keepers.push(group[0].keeper);
                assert!(group.iter().all(|duty| duty.keeper == group[0].keeper));
                found.extend(group.iter().map(|duty| (duty.keeper, duty.id, duty.leaving)));
            }
        }
        found.sort_unstable();
        assert_eq!(found, wanted);
        keepers.sort_unstable();
        keepers.dedup();
        assert_eq!(keepers.len(), 300, "a keeper's duties come together");
    }
}
