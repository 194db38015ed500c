//! F: which snapshots are given up for good. Pure.

use super::roots::{Finals, Markers};
use repo_format::SnapshotId;
use repo_format::gc_record::Forgotten;
use std::collections::{BTreeMap, BTreeSet};

/// What a plan says of snapshots.
#[derive(Debug, Default, Clone, PartialEq, Eq)]
pub(super) struct Forgetting {
    /// Cumulative, by generation.
    pub(super) all: Vec<Forgotten>,
    /// What this generation adds.
    pub(super) new: Vec<SnapshotId>,
    /// Marked, but each the last one of its group that is worth keeping.
    pub(super) kept_last: Vec<SnapshotId>,
}

/// What F is made from.
pub(super) struct Inputs<'a> {
    /// F of the newest plan.
    pub(super) previous: &'a [Forgotten],
    pub(super) finals: &'a Finals,
    pub(super) markers: &'a Markers,
    /// The generation to come.
    pub(super) g: u64,
    /// Entries of older generations leave F once their object is gone.
    pub(super) floor: u64,
    /// Only what is new is named (a mutant).
    pub(super) is_cumulative: bool,
    /// A plain marker may take the last one of a group (a mutant).
    pub(super) takes_last: bool,
}

impl Inputs<'_> {
    /// F of the next plan.
    pub(super) fn decide(&self) -> Forgetting {
        let mut result = Forgetting::default();
        let mut given_up: BTreeSet<SnapshotId> = BTreeSet::new();
        for one in self.previous {
            given_up.extend(&one.sids);
            let stays = |sid: &&SnapshotId| self.finals.exists(sid) || one.g >= self.floor;
            let sids: Vec<SnapshotId> = one.sids.iter().filter(stays).copied().collect();
            if !sids.is_empty() && self.is_cumulative {
                result.all.push(Forgotten { g: one.g, sids });
            }
        }
        // those that may take even the last one come first
        let is_stored = |sid: &&SnapshotId| self.finals.exists(sid) && !self.finals.tombstones.contains(sid);
        let mut new: BTreeSet<SnapshotId> = self.markers.last.iter().filter(is_stored).copied().collect();
        new.retain(|sid| !given_up.contains(sid));
        given_up.extend(&new);
        let kept = self.last_of_groups(&given_up);
        for sid in self.markers.plain.iter().filter(|sid| !given_up.contains(*sid)) {
            if !self.finals.finals.iter().any(|one| one.root.sid == *sid) {
                continue;
            }
            if kept.contains(sid) && !self.takes_last {
                result.kept_last.push(*sid);
            } else {
                new.insert(*sid);
            }
        }
        result.new = new.iter().copied().collect();
        if !new.is_empty() {
            result.all.push(Forgotten { g: self.g, sids: result.new.clone() });
        }
        result
    }

    /// One snapshot of each group in which all that is worth keeping is marked: the newest complete one,
    /// or the newest at all where none is complete.
    fn last_of_groups(&self, given_up: &BTreeSet<SnapshotId>) -> BTreeSet<SnapshotId> {
        /// Worth, time, name; and the worth of the best that nobody has marked.
        type Group = ((bool, u64, SnapshotId), Option<bool>);
        let mut groups: BTreeMap<&str, Group> = BTreeMap::new();
        for one in self.finals.finals.iter().filter(|one| !given_up.contains(&one.root.sid)) {
            let rank = (one.is_complete, one.time_ms, one.root.sid);
            let unmarked = (!self.markers.plain.contains(&one.root.sid)).then_some(one.is_complete);
            let (best, free) = groups.entry(&one.group).or_insert((rank, unmarked));
            *best = rank.max(*best);
            *free = unmarked.max(*free);
        }
        let is_last = |(best, free): &Group| free.is_none_or(|is_complete| best.0 && !is_complete);
        groups.into_values().filter(is_last).map(|((.., sid), _)| sid).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::super::roots::{Final, Root};
    use super::*;

    fn sid(n: u8) -> SnapshotId {
        SnapshotId([n; 16])
    }

    fn finals(list: &[(u8, &str, bool, u64)]) -> Finals {
        let one = |(n, group, is_complete, time_ms): &(u8, &str, bool, u64)| Final {
            root: Root { sid: sid(*n), maps: vec![] },
            group: (*group).to_owned(),
            is_complete: *is_complete,
            time_ms: *time_ms,
        };
        Finals { finals: list.iter().map(one).collect(), ..Finals::default() }
    }

    fn markers(plain: &[u8], last: &[u8]) -> Markers {
        let set = |list: &[u8]| list.iter().map(|n| sid(*n)).collect();
        Markers { plain: set(plain), last: set(last), refused: vec![] }
    }

    fn decide(finals: &Finals, markers: &Markers, previous: &[Forgotten], floor: u64) -> Forgetting {
        Inputs { previous, finals, markers, g: 9, floor, is_cumulative: true, takes_last: false }.decide()
    }

    #[test]
    fn a_plain_marker_never_takes_the_last_complete_one() {
        let finals =
            finals(&[(1, "a", true, 10), (2, "a", false, 30), (3, "a", true, 20), (4, "b", true, 5)]);
        let decided = decide(&finals, &markers(&[1, 2, 3, 4], &[]), &[], 0);
        assert_eq!((decided.new, decided.kept_last), (vec![sid(1), sid(2)], vec![sid(3), sid(4)]));
    }

    #[test]
    fn a_last_marker_does_and_the_next_one_is_then_the_last() {
        let finals = finals(&[(1, "a", true, 10), (3, "a", true, 20)]);
        let decided = decide(&finals, &markers(&[1], &[3]), &[], 0);
        assert_eq!((decided.new, decided.kept_last), (vec![sid(3)], vec![sid(1)]));
    }

    #[test]
    fn two_plain_forgets_leave_one() {
        // an earlier generation took 3: 1 is the last one now
        let finals = finals(&[(1, "a", true, 10), (3, "a", true, 20)]);
        let previous = [Forgotten { g: 8, sids: vec![sid(3)] }];
        let decided = decide(&finals, &markers(&[1, 3], &[]), &previous, 0);
        assert_eq!((decided.new.clone(), decided.kept_last), (vec![], vec![sid(1)]));
        assert_eq!(decided.all, previous);
    }

    #[test]
    fn where_none_is_complete_the_newest_stays() {
        let finals = finals(&[(1, "a", false, 10), (2, "a", false, 11)]);
        assert_eq!(decide(&finals, &markers(&[1, 2], &[]), &[], 0).kept_last, vec![sid(2)]);
    }

    #[test]
    fn entries_leave_once_their_object_is_gone_and_their_generation_below_the_floor() {
        let finals = finals(&[(1, "a", true, 10), (5, "b", true, 1)]);
        let previous =
            [Forgotten { g: 1, sids: vec![sid(5), sid(6)] }, Forgotten { g: 4, sids: vec![sid(7)] }];
        let decided = decide(&finals, &Markers::default(), &previous, 4);
        let all = vec![Forgotten { g: 1, sids: vec![sid(5)] }, Forgotten { g: 4, sids: vec![sid(7)] }];
        assert_eq!(decided.all, all);
        assert_eq!(decide(&finals, &Markers::default(), &previous, 5).all, all[..1]);
    }

    #[test]
    fn equal_times_go_by_name() {
        let finals = finals(&[(1, "a", true, 10), (2, "a", true, 10)]);
        assert_eq!(decide(&finals, &markers(&[1, 2], &[]), &[], 0).kept_last, vec![sid(2)]);
    }
}
