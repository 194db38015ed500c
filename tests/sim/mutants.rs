//! Each rule of the protocol, left out, is missed within a stated number of seeds; with the rule the
//! same schedules hold.

use super::{Shape, explain, first_failure};
use repository::env::Mutant;
use std::ops::Range;
use tests::sim::hunt;

/// For each mutant the seeds of its mixture, the last of which finds it.
const FOUND_WITHIN: &[(Mutant, Range<u64>)] = &[(Mutant::NoRecheckAtC4, 0..100)];

fn mixture(
    mutant: Mutant,
    broken: Option<Mutant>,
) -> impl Fn(&mut tests::sim::profile::Profile, &mut tests::sim::rng::Rng) + Sync {
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
    for (mutant, seeds) in FOUND_WITHIN {
        let broken = mixture(*mutant, Some(*mutant));
        let Some(found) = first_failure(seeds.clone(), &broken).0 else {
            panic!("{mutant:?} was not found within seeds {seeds:?}");
        };
        println!("{mutant:?}: seed {} finds it: {}", found.seed, found.failure.unwrap_or_default());
        let sound = mixture(*mutant, None);
        let sound: Shape = &sound;
        if let Some(report) = first_failure(seeds.start..found.seed + 1, sound).0 {
            panic!("without {mutant:?}: {}", explain(&report, sound, "this test"));
        }
    }
}
