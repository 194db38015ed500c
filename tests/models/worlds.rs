//! The bounds that are checked, and which mutants each of them catches.

use crate::check::{counterexample, exhaust};
use crate::protocol::{Goal, Rules, Slip};
use repository::env::Mutant;

const SMALLEST: Rules = Rules::SMALLEST;

/// One session with a parent beside one prune; objects are seen late, pending records go stale.
const COMMIT: Rules = Rules { lag: true, parent: true, stale: true, ..SMALLEST };
/// Two pruners: one resumes the plan of the other.
const RESUME: Rules = Rules { pruners: 2, lag: true, ..SMALLEST };
/// Two prunes, two copies of a chunk: one of them dies first.
const DEAD: Rules = Rules { prunes: 2, two_copies: true, ..SMALLEST };
/// Prune copies chunks, and leaves candidates alone as it likes.
const REPACK: Rules =
    Rules { lag: true, repack: true, two_copies: true, lenient: true, packs: 5, runs: 4, ..SMALLEST };
/// Everything forgotten is deleted at once, beside a session with a parent.
const WINDOW_0: Rules = Rules {
    prunes: 2,
    parent: true,
    window_0: true,
    goals: &[Goal::Condemned, Goal::CommitAfterSweep, Goal::Deleted],
    ..SMALLEST
};
/// Answers to c5 get lost, and requests are late.
const LATE_COMMIT: Rules = Rules { stale: true, ambiguous: true, ..SMALLEST };
/// Runs are merged, so that the floor can rise.
const MERGE: Rules = Rules {
    prunes: 2,
    mergers: 1,
    merges: 1,
    runs: 4,
    goals: &[Goal::Condemned, Goal::CommitAfterSweep, Goal::FloorRises, Goal::Anew],
    ..SMALLEST
};
/// Two mergers at once over whatever runs there are (question e).
const TWO_MERGERS: Rules = Rules {
    sessions: 0,
    prunes: 2,
    mergers: 2,
    merges: 1,
    runs: 4,
    goals: &[Goal::Condemned, Goal::FloorRises],
    ..SMALLEST
};
/// Two pruners and merges: one of them is behind.
const BEHIND: Rules = Rules {
    sessions: 0,
    pruners: 2,
    prunes: 2,
    mergers: 1,
    merges: 2,
    runs: 3,
    goals: &[Goal::Condemned],
    ..SMALLEST
};
/// A session with packs of its own starts anew, while the dead are deleted and listed late.
const ANEW: Rules = Rules {
    lag_of_deletes: true,
    cold: true,
    window_0: true,
    no_forget: true,
    goals: &[Goal::FloorRises, Goal::DeadShrinks, Goal::Anew],
    ..MERGE
};
/// A session with a parent, while floor and F move.
const FORGOTTEN: Rules = Rules {
    parent: true,
    window_0: true,
    goals: &[Goal::CommitAfterSweep, Goal::Deleted, Goal::FloorRises],
    ..MERGE
};
/// Three prunes: a sid enters F and leaves it.
const SID_IS_OVER: Rules = Rules {
    prunes: 3,
    packs: 2,
    runs: 2,
    sids: 2,
    stale: true,
    window_0: true,
    goals: &[Goal::Deleted, Goal::FloorRises, Goal::DeadShrinks, Goal::ForgottenShrinks],
    ..MERGE
};
/// Old plans and sweeps are removed, and somebody sleeps who would still write them.
const OLD_RECORDS: Rules =
    Rules { pruners: 2, prunes: 2, window_0: true, old_removed: true, no_forget: true, ..SMALLEST };
/// A session reuses what a much older one publishes.
const OLD_RUNS: Rules = Rules {
    sessions: 2,
    packs: 2,
    runs: 3,
    bare: true,
    no_forget: true,
    goals: &[Goal::CommitAfterSweep, Goal::FloorRises],
    ..MERGE
};
/// An undelete beside two prunes without a window.
const UNDELETE: Rules = Rules { prunes: 2, lag: true, undelete: true, window_0: true, ..SMALLEST };
/// An undelete while runs are merged: entries of dead packs are dropped.
const UNDELETE_MERGE: Rules = Rules { undelete: true, window_0: true, ..MERGE };

/// A session mends by what it wrote a moment ago.
const MENDING: Rules = Rules { prunes: 2, lag: true, runs: 4, ..SMALLEST };
/// Two mergers whose runs are seen late.
const TWO_LATE_MERGERS: Rules = Rules { lag: true, ..TWO_MERGERS };

/// All of the above: within them, nothing is ever lost.
const SMALL: [(&str, Rules); 18] = [
    ("commit", COMMIT),
    ("resume", RESUME),
    ("dead", DEAD),
    ("repack", REPACK),
    ("window 0", WINDOW_0),
    ("late commit", LATE_COMMIT),
    ("merge", MERGE),
    ("two mergers", TWO_MERGERS),
    ("behind", BEHIND),
    ("anew", ANEW),
    ("forgotten", FORGOTTEN),
    ("sid is over", SID_IS_OVER),
    ("old records", OLD_RECORDS),
    ("old runs", OLD_RUNS),
    ("undelete", UNDELETE),
    ("undelete and merge", UNDELETE_MERGE),
    ("mending", MENDING),
    ("two late mergers", TWO_LATE_MERGERS),
];

/// The bounds in which `mutant` is caught; nothing for one that another model catches.
fn bounds(mutant: Mutant) -> Option<Rules> {
    Some(match mutant {
        Mutant::NoRecheckAtC4
        | Mutant::NoRelistAtP5
        | Mutant::SnapshotsBeforePending
        | Mutant::NoWaitAtC3
        | Mutant::NoWaitAfterP4
        | Mutant::NoWaitBetweenListsOfP5
        | Mutant::ForgetDeletes
        | Mutant::NoTombstone
        | Mutant::NoParentCheckAtC4
        | Mutant::NoPending
        | Mutant::CommitOtherBytes => COMMIT,
        Mutant::ResumeWithoutWait => RESUME,
        Mutant::DeadLocationInP1 | Mutant::DeadLocationInP5 => DEAD,
        Mutant::ForgottenNotCumulative => WINDOW_0,
        Mutant::ForgottenByOwnFloor => FORGOTTEN,
        Mutant::NoFloor | Mutant::FloorNotReadAgainAtP5 | Mutant::MergeWithoutBuilt => MERGE,
        Mutant::MergeWithoutFloorCheck => TWO_MERGERS,
        Mutant::OwnPacksWithoutList | Mutant::DeadLeavesByLateList => ANEW,
        Mutant::DeleteByOldList => OLD_RECORDS,
        Mutant::CommitTwice => SID_IS_OVER,
        // no rule of the protocol: tests of the engine catch them
        Mutant::LookupSkipsRun | Mutant::LookupWithoutReload => return None,
        Mutant::ForgetLastOfGroup => return None,
    })
}

macro_rules! mutants {
    ($($name:ident $mutant:ident)*) => {
        $(#[test]
        fn $name() {
            let mutant = Mutant::$mutant;
            let rules = bounds(mutant).unwrap();
            let steps = counterexample(stringify!($mutant), Rules { mutant: Some(mutant), ..rules });
            assert!((10..=60).contains(&steps), "{steps} steps");
        })*
        /// Each with a test of its own.
        const TESTED: &[Mutant] = &[$(Mutant::$mutant),*];
    };
}

mutants! {
    no_recheck_at_c4 NoRecheckAtC4
    no_relist_at_p5 NoRelistAtP5
    snapshots_before_pending SnapshotsBeforePending
    no_wait_at_c3 NoWaitAtC3
    no_wait_after_p4 NoWaitAfterP4
    no_wait_between_lists_of_p5 NoWaitBetweenListsOfP5
    resume_without_wait ResumeWithoutWait
    dead_location_in_p1 DeadLocationInP1
    dead_location_in_p5 DeadLocationInP5
    forget_deletes ForgetDeletes
    no_tombstone NoTombstone
    no_parent_check_at_c4 NoParentCheckAtC4
    no_pending NoPending
    commit_other_bytes CommitOtherBytes
    forgotten_not_cumulative ForgottenNotCumulative
    forgotten_by_own_floor ForgottenByOwnFloor
    no_floor NoFloor
    floor_not_read_again_at_p5 FloorNotReadAgainAtP5
    merge_without_built MergeWithoutBuilt
    merge_without_floor_check MergeWithoutFloorCheck
    own_packs_without_list OwnPacksWithoutList
    delete_by_old_list DeleteByOldList
    commit_twice CommitTwice
    dead_leaves_by_late_list DeadLeavesByLateList
}

#[test]
fn every_mutant_has_its_test() {
    for mutant in Mutant::ALL {
        match bounds(mutant) {
            Some(rules) => {
                assert!(TESTED.contains(&mutant), "{mutant:?} has no test");
                // what it breaks holds without it
                assert!(SMALL.iter().any(|(_, small)| *small == rules), "{mutant:?}: bounds not exhausted");
            }
            None => assert_eq!(mutant, Mutant::ForgetLastOfGroup, "{mutant:?} is in no model"),
        }
    }
}

#[test]
fn nothing_is_lost() {
    for (name, rules) in SMALL {
        exhaust(name, rules);
    }
}

/// Rules that gc.md does not state, or states too weakly: without them something is lost.
#[test]
fn every_slip_is_caught() {
    let slips = [
        (Slip::FloorOfSessionOnly, OLD_RUNS),
        (Slip::NoWaitAfterMending, MENDING),
        (Slip::MergeWithoutWait, TWO_LATE_MERGERS),
        (Slip::MergeReadsFloorLate, MERGE),
        (Slip::DeadLeavesBelowFloor, FORGOTTEN),
        (Slip::PendingOfLatePutGoes, LATE_COMMIT),
        (Slip::AlarmOfThePast, BEHIND),
    ];
    for (slip, rules) in slips {
        counterexample(&format!("{slip:?}"), Rules { slip: Some(slip), ..rules });
        assert!(SMALL.iter().any(|(_, small)| *small == rules), "{slip:?}: bounds not exhausted");
    }
    assert_eq!(
        slips.len() + 1,
        Slip::ALL.len(),
        "{:?} is caught by a large bound",
        Slip::FloorWithoutMendingRuns
    );
}

/// The rules of commit and prune hold for an undelete, too: it is a session.
#[test]
fn an_undelete_needs_what_a_session_needs() {
    for mutant in [Mutant::NoRecheckAtC4, Mutant::NoPending, Mutant::NoWaitAtC3, Mutant::NoRelistAtP5] {
        let rules = Rules { mutant: Some(mutant), ..UNDELETE };
        counterexample(&format!("undelete {mutant:?}"), rules);
    }
}

/// 1x2x1: lag, repack, two copies and a cold writer.
const TWO_PRUNERS: Rules = Rules {
    pruners: 2,
    lag: true,
    lag_of_deletes: true,
    repack: true,
    two_copies: true,
    cold: true,
    packs: 5,
    runs: 4,
    ..SMALLEST
};
/// 1x1x2: lag, merge and floor.
const LATE_MERGE: Rules = Rules { lag: true, lag_of_deletes: true, ..MERGE };
/// 1x1x3: floor, dead and F all shrink.
const SHRINKING: Rules = Rules {
    prunes: 3,
    parent: true,
    window_0: true,
    goals: &[
        Goal::CommitAfterSweep,
        Goal::Deleted,
        Goal::FloorRises,
        Goal::DeadShrinks,
        Goal::ForgottenShrinks,
        Goal::Anew,
    ],
    ..MERGE
};
/// 2x1x1 with lag.
const TWO_SESSIONS: Rules = Rules { sessions: 2, lag: true, runs: 4, sids: 5, ..SMALLEST };
/// 1x2x2: old records are removed, the window is 0.
const OLD_RECORDS_FORGET: Rules = Rules { no_forget: false, ..OLD_RECORDS };
/// A session mends by what a much older one publishes.
const OLD_RUNS_MENDED: Rules = Rules { packs: 3, bare: false, cold: true, lenient: true, ..OLD_RUNS };

/// What `make model` adds: minutes each, so each is a test of its own.
macro_rules! large {
    ($($name:ident $rules:ident)*) => {
        $(#[test]
        #[ignore = "large: make model"]
        fn $name() {
            exhaust(stringify!($rules), $rules);
        })*
    };
}

large! {
    large_two_pruners TWO_PRUNERS
    large_late_merge LATE_MERGE
    large_shrinking SHRINKING
    large_two_sessions TWO_SESSIONS
    large_old_records OLD_RECORDS_FORGET
    large_old_runs_mended OLD_RUNS_MENDED
}

#[test]
#[ignore = "large: make model"]
fn large_floor_without_mending_runs() {
    let slip = Slip::FloorWithoutMendingRuns;
    counterexample(&format!("{slip:?}"), Rules { slip: Some(slip), ..OLD_RUNS_MENDED });
}
