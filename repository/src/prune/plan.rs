//! Which packs go, which are copied from, and why. Pure.

use super::choose::PackUse;
use super::report::{MaxUnused, PlannedPack, Reason};
use repo_format::PackId;
use repo_format::pack::PackClass;
use std::cmp::Reverse;

/// A pack that the store lists and that is not dead.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Candidate {
    pub(super) pack_id: PackId,
    pub(super) class: PackClass,
    /// Of the object.
    pub(super) len: u64,
    /// Of its records alone.
    pub(super) records_len: u64,
    /// A run names it.
    pub(super) is_listed: bool,
    /// Its session may still be running.
    pub(super) is_young: bool,
    pub(super) used: PackUse,
}

/// How far to go.
#[derive(Debug, Clone, Copy)]
pub(super) struct Goals {
    pub(super) max_unused: MaxUnused,
    pub(super) max_repack_len: Option<u64>,
    /// Length of a full data pack, and of a full map pack.
    pub(super) target_len: [u64; 2],
}

/// More small packs of a class than this are joined.
const SMALL_PACKS_MAX: usize = 64;

/// What is to be done.
#[derive(Debug, Default, PartialEq)]
pub(super) struct Selection {
    pub(super) condemn: Vec<PlannedPack>,
    pub(super) repack: Vec<PlannedPack>,
    /// Sealed bytes that are needed.
    pub(super) used_len: u64,
    /// Unneeded sealed bytes that stay in packs of which something is needed.
    pub(super) unused_len: u64,
    pub(super) young: u64,
    pub(super) young_len: u64,
}

impl Candidate {
    fn unused_len(&self) -> u64 {
        self.records_len.saturating_sub(self.used.chosen_len)
    }

    fn planned(&self, reason: Reason) -> PlannedPack {
        let used_len = self.used.chosen_len;
        PlannedPack { pack_id: self.pack_id, class: self.class, len: self.len, used_len, reason }
    }

    fn is_small(&self, goals: &Goals) -> bool {
        let [data, map] = goals.target_len;
        self.len < if self.class == PackClass::Data { data } else { map } / 4
    }
}

/// Chooses packs: unneeded ones go; partly needed ones are copied from, the best ratio of freed to
/// copied bytes first, until no more than the allowed share of all is unneeded; small ones are joined.
pub(super) fn select(candidates: &[Candidate], goals: Goals) -> Selection {
    let mut selection = Selection::default();
    let mut partly: Vec<&Candidate> = Vec::new();
    let mut whole: Vec<&Candidate> = Vec::new();
    for one in candidates {
        selection.used_len = selection.used_len.saturating_add(one.used.chosen_len);
        if one.is_young {
            selection.young += 1;
            selection.young_len = selection.young_len.saturating_add(one.len);
        } else if one.used.chosen == 0 {
            let reason = match (one.is_listed, one.used.duplicates) {
                (false, _) => Reason::Unlisted,
                (true, 0) => Reason::Unneeded,
                (true, _) => Reason::Duplicate,
            };
            selection.condemn.push(one.planned(reason));
        } else if one.unused_len() > 0 {
            selection.unused_len = selection.unused_len.saturating_add(one.unused_len());
            partly.push(one);
        } else {
            whole.push(one);
        }
    }
    partly.sort_by(|a, b| {
        // freed / copied, compared without division
        let left = u128::from(a.unused_len()) * u128::from(b.used.chosen_len);
        let right = u128::from(b.unused_len()) * u128::from(a.used.chosen_len);
        Reverse(left).cmp(&Reverse(right)).then(a.pack_id.cmp(&b.pack_id))
    });
    let allowed = allowed_len(goals.max_unused, selection.used_len);
    let mut budget = goals.max_repack_len.unwrap_or(u64::MAX);
    let mut stay = Vec::new();
    for one in partly {
        if selection.unused_len > allowed && one.used.chosen_len <= budget {
            budget -= one.used.chosen_len;
            selection.unused_len -= one.unused_len();
            selection.repack.push(one.planned(Reason::PartlyUnneeded));
        } else {
            stay.push(one);
        }
    }
    stay.extend(whole);
    if goals.max_unused != MaxUnused::Unlimited {
        join_small(&stay, &goals, budget, &mut selection);
    }
    selection.condemn.sort_by_key(|pack| pack.pack_id);
    selection
}

fn join_small(stay: &[&Candidate], goals: &Goals, mut budget: u64, selection: &mut Selection) {
    for class in [PackClass::Data, PackClass::Map] {
        let mut small: Vec<&&Candidate> =
            stay.iter().filter(|one| one.class == class && one.is_small(goals)).collect();
        if small.len() <= SMALL_PACKS_MAX {
            continue;
        }
        small.sort_by_key(|one| one.pack_id);
        for one in small {
            if one.used.chosen_len <= budget {
                budget -= one.used.chosen_len;
                selection.unused_len = selection.unused_len.saturating_sub(one.unused_len());
                selection.repack.push(one.planned(Reason::Small));
            }
        }
    }
}

/// Unneeded bytes that may stay beside `used_len` needed ones.
fn allowed_len(max_unused: MaxUnused, used_len: u64) -> u64 {
    match max_unused {
        MaxUnused::Unlimited => u64::MAX,
        MaxUnused::Bytes(len) => len,
        MaxUnused::Percent(percent) if percent >= 100.0 => u64::MAX,
        MaxUnused::Percent(percent) => {
            let share = percent.max(0.0);
            // of what there will be, not of what is needed
            (used_len as f64 * share / (100.0 - share)) as u64
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn pack(n: u8, records_len: u64, chosen_len: u64) -> Candidate {
        let used = PackUse { chosen: u32::from(chosen_len > 0), chosen_len, duplicates: 0 };
        Candidate {
            pack_id: PackId([n; 16]),
            class: PackClass::Data,
            len: records_len + 10,
            records_len,
            is_listed: true,
            is_young: false,
            used,
        }
    }

    fn goals(max_unused: MaxUnused) -> Goals {
        Goals { max_unused, max_repack_len: None, target_len: [100, 100] }
    }

    fn ids(packs: &[PlannedPack]) -> Vec<u8> {
        packs.iter().map(|pack| pack.pack_id.0[0]).collect()
    }

    #[test]
    fn unneeded_packs_go_for_a_reason() {
        let mut duplicate = pack(2, 100, 0);
        duplicate.used.duplicates = 3;
        let unlisted = Candidate { is_listed: false, ..pack(3, 100, 0) };
        let young = Candidate { is_young: true, ..pack(4, 100, 0) };
        let found = select(
            &[pack(1, 100, 0), duplicate, unlisted, young, pack(5, 100, 100)],
            goals(MaxUnused::Percent(5.0)),
        );
        let reasons: Vec<Reason> = found.condemn.iter().map(|pack| pack.reason).collect();
        assert_eq!(reasons, [Reason::Unneeded, Reason::Duplicate, Reason::Unlisted]);
        assert_eq!((found.young, found.young_len, found.used_len, found.repack), (1, 110, 100, vec![]));
    }

    #[test]
    fn repacks_the_best_first_until_little_enough_is_unused() {
        // unused 90, 50, 10 of 300
        let packs = [pack(1, 100, 90), pack(2, 100, 10), pack(3, 100, 50)];
        // 150 needed: 16 may stay beside them at 10 %
        let found = select(&packs, goals(MaxUnused::Percent(10.0)));
        assert_eq!((ids(&found.repack), found.unused_len), (vec![2, 3], 10));
        assert_eq!(ids(&select(&packs, goals(MaxUnused::Bytes(60))).repack), [2]);
        assert_eq!(ids(&select(&packs, goals(MaxUnused::Percent(0.0))).repack), [2, 3, 1]);
        assert_eq!(ids(&select(&packs, goals(MaxUnused::Unlimited)).repack), Vec::<u8>::new());
        assert_eq!(ids(&select(&packs, goals(MaxUnused::Percent(100.0))).repack), Vec::<u8>::new());
    }

    #[test]
    fn copied_bytes_are_bounded() {
        let packs = [pack(1, 100, 90), pack(2, 100, 10), pack(3, 100, 50)];
        let goals = Goals { max_repack_len: Some(70), ..goals(MaxUnused::Bytes(0)) };
        assert_eq!(ids(&select(&packs, goals).repack), [2, 3]);
        let goals = Goals { max_repack_len: Some(9), ..goals };
        assert_eq!(ids(&select(&packs, goals).repack), Vec::<u8>::new());
    }

    #[test]
    fn many_small_packs_are_joined() {
        let small: Vec<Candidate> = (0..65).map(|n| pack(n, 10, 10)).collect();
        let found = select(&small, goals(MaxUnused::Percent(5.0)));
        assert_eq!(found.repack.len(), 65);
        assert!(found.repack.iter().all(|pack| pack.reason == Reason::Small));
        assert_eq!(select(&small[..64], goals(MaxUnused::Percent(5.0))).repack, vec![]);
        let large: Vec<Candidate> = (0..80).map(|n| pack(n, 90, 90)).collect();
        assert_eq!(select(&large, goals(MaxUnused::Percent(5.0))).repack, vec![]);
    }
}
