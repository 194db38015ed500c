//! One location for each record that is needed, bucket by bucket: who keeps what, and what has no
//! location at all.

use super::inventory::{Inventory, PRUNE_SID, PackList, entry_of};
use crate::spill::{BUCKET_COUNT, Spill};
use crate::{Exec, Result};
use repo_format::PackId;
use std::collections::BTreeSet;
use std::sync::Arc;

/// What is needed of a pack that the index names.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(super) struct PackUse {
    /// Records for which it was chosen, and their sealed bytes.
    pub(super) chosen: u32,
    pub(super) chosen_len: u64,
    /// Needed records in it for which another pack was chosen.
    pub(super) duplicates: u32,
}

/// Which pack of several holds a record for good: lower ranks first.
#[derive(Debug, Clone)]
pub(super) struct Ranks(Arc<Vec<u64>>);

impl Ranks {
    /// What prune wrote comes first, so that an interrupted repack is taken up; then the oldest by
    /// the store, so that a copy that somebody publishes later never displaces a good one. A pack
    /// that is not in `listed` comes last: it is newer than the listing, or lost.
    pub(super) fn new(inventory: &Inventory, listed: &PackList) -> Self {
        let mut order: Vec<(bool, u64, PackId, usize)> = inventory
            .packs
            .iter()
            .enumerate()
            .map(|(n, pack)| {
                let stored = listed.get(&pack.pack_id).map_or(u64::MAX, |listed| listed.stored_ms);
                (pack.sid != PRUNE_SID || stored == u64::MAX, stored, pack.pack_id, n)
            })
            .collect();
        order.sort_unstable();
        let mut ranks = vec![u64::MAX; inventory.packs.len()];
        for (rank, (.., n)) in order.into_iter().enumerate() {
            if let Some(slot) = ranks.get_mut(n) {
                *slot = rank as u64;
            }
        }
        Ranks(Arc::new(ranks))
    }

    /// The best of a record's locations among packs that `allows`.
    pub(super) fn best(&self, locations: &[[u8; 24]], allows: impl Fn(u32) -> bool) -> Option<(u32, u32)> {
        let all = locations.iter().map(|item| (entry_of(item).1, entry_of(item).2));
        all.filter(|(pack, _)| allows(*pack)).min_by_key(|(pack, _)| self.0.get(*pack as usize).copied())
    }
}

/// Whose need it is, which decides what a record without location means.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Need {
    /// A committed snapshot's: a loss.
    Final,
    /// A committed snapshot's that is marked damaged: known.
    Damaged,
    /// A pending's: its session has to mend it.
    Announced,
}

/// The choice for everything that is needed.
#[derive(Debug, Default)]
pub(super) struct Choice {
    /// By pack number.
    pub(super) uses: Vec<PackUse>,
    /// Records of FINALs that no run names a pack for; few are kept.
    pub(super) lost: Vec<[u8; 16]>,
    /// Whether a record of a pending alone has no location.
    pub(super) is_announced_unmet: bool,
}

/// Records without location that are remembered for the report.
const LOST_NAMED_MAX: usize = 1 << 16;

/// Chooses a location for each id. `gone` are packs that the index names and the store has not.
pub(super) async fn choose(
    exec: &Exec,
    inventory: &Inventory,
    ranks: &Ranks,
    gone: &Arc<BTreeSet<u32>>,
    needs: &[(&Spill<16>, Need)],
) -> Result<Choice> {
    let mut choice = Choice { uses: vec![PackUse::default(); inventory.packs.len()], ..Choice::default() };
    for n in 0..BUCKET_COUNT {
        exec.check_cancelled()?;
        let lists = bucket_of_all(needs, n).await?;
        if lists.iter().all(|(ids, _)| ids.is_empty()) {
            continue;
        }
        let entries = inventory.entries.bucket(n).await?;
        let (ranks, gone) = (ranks.clone(), gone.clone());
        choice = exec
            .cpu(move || {
                for (ids, need) in &lists {
                    for (id, locations) in locate(ids, &entries) {
                        choice.take(&ranks, id, locations, *need, |pack| !gone.contains(&pack));
                    }
                }
                choice
            })
            .await?;
    }
    Ok(choice)
}

/// Ids of one bucket, each in the first list that has it.
pub(super) async fn bucket_of_all(
    needs: &[(&Spill<16>, Need)],
    n: usize,
) -> Result<Vec<(Vec<[u8; 16]>, Need)>> {
    let mut lists: Vec<(Vec<[u8; 16]>, Need)> = Vec::with_capacity(needs.len());
    for (spill, need) in needs {
        let mut ids = spill.bucket(n).await?;
        ids.dedup();
        ids.retain(|id| lists.iter().all(|(earlier, _)| earlier.binary_search(id).is_err()));
        lists.push((ids, *need));
    }
    Ok(lists)
}

impl Choice {
    fn take(
        &mut self,
        ranks: &Ranks,
        id: &[u8; 16],
        locations: &[[u8; 24]],
        need: Need,
        allows: impl Fn(u32) -> bool,
    ) {
        let best = ranks.best(locations, allows);
        let mut last = None;
        for item in locations {
            let (_, pack, clen) = entry_of(item);
            // several runs may say the same
            if last.replace(pack) == Some(pack) {
                continue;
            }
            let Some(used) = self.uses.get_mut(pack as usize) else { continue };
            if best.is_some_and(|(chosen, _)| chosen == pack) {
                used.chosen = used.chosen.saturating_add(1);
                used.chosen_len = used.chosen_len.saturating_add(u64::from(clen));
            } else {
                used.duplicates = used.duplicates.saturating_add(1);
            }
        }
        match (best, need) {
            (Some(_), _) | (None, Need::Damaged) => {}
            (None, Need::Final) if self.lost.len() < LOST_NAMED_MAX => self.lost.push(*id),
            (None, Need::Final) => {}
            (None, Need::Announced) => self.is_announced_unmet = true,
        }
    }
}

/// Each id of a sorted list with its locations among sorted entries, each pack once.
pub(super) fn locate<'a>(
    ids: &'a [[u8; 16]],
    entries: &'a [[u8; 24]],
) -> impl Iterator<Item = (&'a [u8; 16], &'a [[u8; 24]])> {
    let mut rest = entries;
    ids.iter().map(move |id| {
        let start = gallop(rest, |item| item.first_chunk::<16>() < Some(id));
        rest = rest.get(start..).unwrap_or_default();
        let len = gallop(rest, |item| item.first_chunk::<16>() == Some(id));
        let (found, after) = rest.split_at_checked(len).unwrap_or((rest, &[]));
        rest = after;
        (id, found)
    })
}

/// As `partition_point`, for answers near the front: the next id is seldom far from the last one.
fn gallop(items: &[[u8; 24]], is_before: impl Fn(&[u8; 24]) -> bool) -> usize {
    let (mut low, mut step) = (0, 1);
    while items.get(low + step - 1).is_some_and(&is_before) {
        low += step;
        step *= 2;
    }
    let end = items.len().min(low + step);
    low + items.get(low..end).unwrap_or_default().partition_point(is_before)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn item(id: u8, pack: u32, clen: u32) -> [u8; 24] {
        let mut item = [id; 24];
        item[16..20].copy_from_slice(&pack.to_be_bytes());
        item[20..].copy_from_slice(&clen.to_be_bytes());
        item
    }

    #[test]
    fn galloping_finds_what_halving_finds() {
        let entries: Vec<[u8; 24]> = (0..100).map(|n| item(n / 3 * 2, u32::from(n), 9)).collect();
        for len in 0..entries.len() {
            let part = &entries[..len];
            for id in 0..=70 {
                let is_before = |item: &[u8; 24]| item[0] < id;
                assert_eq!(gallop(part, is_before), part.partition_point(is_before), "{id} of {len}");
            }
        }
    }

    #[test]
    fn every_id_meets_its_own_locations() {
        let entries = [item(1, 0, 9), item(2, 0, 5), item(2, 3, 6), item(5, 1, 7)];
        let ids = [[0; 16], [2; 16], [3; 16], [5; 16], [6; 16]];
        let found: Vec<usize> = locate(&ids, &entries).map(|(_, found)| found.len()).collect();
        assert_eq!(found, [0, 2, 0, 1, 0]);
    }

    #[test]
    fn one_is_chosen_and_the_others_are_duplicates() {
        let ranks = Ranks(Arc::new(vec![2, 1, 0]));
        let locations = [item(7, 0, 10), item(7, 1, 20), item(7, 2, 30)];
        let mut choice = Choice { uses: vec![PackUse::default(); 3], ..Choice::default() };
        choice.take(&ranks, &[7; 16], &locations, Need::Final, |pack| pack != 2);
        let uses: Vec<_> =
            choice.uses.iter().map(|used| (used.chosen, used.chosen_len, used.duplicates)).collect();
        assert_eq!(uses, [(0, 0, 1), (1, 20, 0), (0, 0, 1)]);
        choice.take(&ranks, &[8; 16], &[], Need::Final, |_| true);
        choice.take(&ranks, &[6; 16], &[], Need::Damaged, |_| true);
        assert!(!choice.is_announced_unmet);
        choice.take(&ranks, &[9; 16], &[], Need::Announced, |_| true);
        assert_eq!((choice.lost, choice.is_announced_unmet), (vec![[8; 16]], true));
    }
}
