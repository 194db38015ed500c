//! Each rule of the protocol, left out, is missed within a stated number of seeds; with the rule the
//! same schedules hold.

use super::{explain, first_failure};
use repository::env::Mutant;
use tests::sim::{hunt, profile::Profile, rng::Rng};

/// For each mutant, the seeds of its mixture within which it is found. The search ends at the first.
const FOUND_WITHIN: &[(Mutant, u64)] = &[
    (Mutant::NoRecheckAtC4, 100),
    (Mutant::NoRelistAtP5, 500),
    (Mutant::SnapshotsBeforePending, 2500),
    (Mutant::NoWaitAtC3, 2000),
    (Mutant::NoWaitAfterP4, 1000),
    (Mutant::NoWaitBetweenListsOfP5, 1500),
    (Mutant::ResumeWithoutWait, 1500),
    (Mutant::DeadLocationInP1, 200),
    (Mutant::DeadLocationInP5, 100),
    (Mutant::ForgetDeletes, 800),
    (Mutant::NoTombstone, 1000),
    (Mutant::NoParentCheckAtC4, 400),
    (Mutant::NoPending, 300),
    (Mutant::CommitOtherBytes, 200),
    (Mutant::ForgottenNotCumulative, 1200),
    (Mutant::NoFloor, 100),
    (Mutant::FloorNotReadAgainAtP5, 500),
    (Mutant::MergeWithoutBuilt, 500),
    (Mutant::MergeWithoutFloorCheck, 1500),
    (Mutant::OwnPacksWithoutList, 1200),
    (Mutant::DeleteByOldList, 600),
    (Mutant::ForgetLastOfGroup, 100),
    (Mutant::CommitTwice, 100),
    (Mutant::ForgottenByOwnFloor, 200),
    (Mutant::DeadLeavesByLateList, 1500),
];

#[test]
fn every_mutant_is_listed_once() {
    for mutant in Mutant::ALL {
        let found = FOUND_WITHIN.iter().filter(|(listed, _)| *listed == mutant).count();
        assert_eq!(found, 1, "{mutant:?}");
    }
}

fn mixture(mutant: Mutant, broken: Option<Mutant>) -> impl Fn(&mut Profile, &mut Rng) + Sync {
    move |profile, rng| {
        hunt::shape(mutant, profile, rng);
        profile.mutant = broken;
    }
}

/// `ORLOP_SIM_HUNT=Name,Name` and `ORLOP_SIM_SEEDS=a..b`: says which seeds find these mutants.
#[test]
#[ignore = "a tool to find seeds with"]
fn hunt_for_seeds() {
    let wanted = std::env::var("ORLOP_SIM_HUNT").unwrap_or_default();
    let range = std::env::var("ORLOP_SIM_SEEDS").unwrap_or_else(|_| "0..1000".into());
    let (start, end) = range.split_once("..").expect("a range");
    let (start, end): (u64, u64) = (start.parse().expect("a number"), end.parse().expect("a number"));
    for mutant in Mutant::ALL {
        if !wanted.is_empty() && !wanted.split(',').any(|name| name == format!("{mutant:?}")) {
            continue;
        }
        let shape = mixture(mutant, Some(mutant));
        if start + 1 == end {
            let report = super::run(start, true, &shape);
            report.lines.iter().for_each(|line| println!("{line}"));
        }
        match first_failure(start..end, &shape).0 {
            Some(report) => println!("{mutant:?} {}: {}", report.seed, report.failure.unwrap_or_default()),
            None => println!("{mutant:?} not found in {start}..{end}"),
        }
    }
}

#[test]
fn every_mutant_is_found() {
    for (mutant, count) in FOUND_WITHIN {
        let broken = mixture(*mutant, Some(*mutant));
        let Some(found) = first_failure(0..*count, &broken).0 else {
            panic!("{mutant:?} was not found within {count} seeds");
        };
        println!("{mutant:?}: seed {} finds it: {}", found.seed, found.failure.unwrap_or_default());
        let sound = mixture(*mutant, None);
        if let Some(report) = first_failure(0..found.seed + 1, &sound).0 {
            panic!("without {mutant:?}: {}", explain(&report, &sound, "this test"));
        }
    }
}
