//! The deterministic simulator over many seeds; `docs/simulator.md` says what it is.
//!
//! `ORLOP_SIM_SEED=n` runs one seed and prints its trace, `ORLOP_SIM_SEEDS=a..b` runs a range.

mod mutants;

use std::ops::Range;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Mutex;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};
use tests::sim::{Report, Schedule, profile::Profile, rng::Rng};

/// Seeds of `make test`.
const SEED_COUNT: u64 = 20_000;
/// Seeds are independent: one thread each takes the next.
const THREADS: usize = 2;

/// Seeds of `make test` with an index that is looked up in its runs.
const LOOKUP_SEED_COUNT: u64 = 3_000;

/// Changes the mixture that a seed draws.
type Shape<'a> = &'a (dyn Fn(&mut Profile, &mut Rng) + Sync);

/// Runs a seed; a panic of the engine is a failure, too.
fn run(seed: u64, lines: bool, shape: Shape) -> Report {
    let run = || Schedule::new(seed, lines, shape).run();
    catch_unwind(AssertUnwindSafe(run)).unwrap_or_else(|panic| {
        let what = panic.downcast_ref::<String>().cloned();
        let what = what.or(panic.downcast_ref::<&str>().map(|what| (*what).to_owned()));
        Report::panicked(seed, what.unwrap_or_default())
    })
}

/// The first failure among `seeds`, on all threads; says how long a seed took.
fn first_failure(seeds: Range<u64>, shape: Shape) -> (Option<Report>, Vec<Duration>) {
    let (next, end) = (AtomicU64::new(seeds.start), AtomicU64::new(seeds.end));
    let (found, times) = (Mutex::new(None::<Report>), Mutex::new(Vec::new()));
    std::thread::scope(|scope| {
        for _ in 0..THREADS {
            scope.spawn(|| {
                loop {
                    let seed = next.fetch_add(1, Ordering::SeqCst);
                    if seed >= end.load(Ordering::SeqCst) {
                        return;
                    }
                    let began = Instant::now();
                    let report = run(seed, false, shape);
                    times.lock().unwrap().push(began.elapsed());
                    if report.failure.is_some() {
                        // lower seeds are still looked at, so that the answer does not depend on speed
                        end.fetch_min(seed, Ordering::SeqCst);
                        let mut found = found.lock().unwrap();
                        if found.as_ref().is_none_or(|found| seed < found.seed) {
                            *found = Some(report);
                        }
                    }
                    if (seed + 1) % 10_000 == 0 {
                        println!("seeds up to {seed} hold; ORLOP_SIM_SEEDS={}.. goes on", seed + 1);
                    }
                }
            });
        }
    });
    (found.into_inner().unwrap(), times.into_inner().unwrap())
}

/// As the seed draws it.
fn plain(_: &mut Profile, _: &mut Rng) {}

/// As the seed draws it, with nothing of the index in memory.
fn looked_up(profile: &mut Profile, _: &mut Rng) {
    profile.index_len = Some(0);
}

#[test]
fn many_seeds_lose_nothing_by_looking_up() {
    if let Some(report) = first_failure(0..LOOKUP_SEED_COUNT, &looked_up).0 {
        panic!("{}", explain(&report, &looked_up, "this test"));
    }
}

/// The trace of a failed seed, and how to see it again.
fn explain(report: &Report, shape: Shape, how: &str) -> String {
    let again = run(report.seed, true, shape);
    again.lines.iter().for_each(|line| println!("{line}"));
    let what = report.failure.as_deref().unwrap_or_default();
    format!("seed {}: {what}\nto see it again: {how}", report.seed)
}

fn how(seed: u64) -> String {
    format!("ORLOP_SIM_SEED={seed} cargo test -p tests --test sim many_seeds -- --nocapture")
}

#[test]
fn one_seed_twice_is_one_schedule() {
    let mut by_ranges = 0;
    for seed in 0..40 {
        let [first, second] = [false, true].map(|lines| run(seed, lines, &plain));
        assert_eq!((first.hash, first.calls), (second.hash, second.calls), "seed {seed}");
        assert_ne!(first.hash, run(seed + 1, false, &plain).hash, "seed {seed}");
        by_ranges += first.by_ranges;
    }
    assert!(by_ranges >= 3, "schedules hardly know backups by changed ranges: {by_ranges}");
}

#[test]
fn many_seeds_lose_nothing() {
    if let Ok(seed) = std::env::var("ORLOP_SIM_SEED") {
        let report = run(seed.parse().expect("ORLOP_SIM_SEED is a number"), true, &plain);
        report.lines.iter().for_each(|line| println!("{line}"));
        assert_eq!(report.failure, None);
        return;
    }
    let seeds = match std::env::var("ORLOP_SIM_SEEDS") {
        Err(_) => 0..SEED_COUNT,
        Ok(range) => {
            let (start, end) = range.split_once("..").expect("ORLOP_SIM_SEEDS is a range, as in 5..10");
            start.parse().expect("a number")..end.parse().expect("a number")
        }
    };
    let count = seeds.end - seeds.start;
    let began = Instant::now();
    let (failed, mut times) = first_failure(seeds, &plain);
    if let Some(report) = failed {
        panic!("{}", explain(&report, &plain, &how(report.seed)));
    }
    times.sort();
    let median = times[times.len() / 2];
    println!(
        "{count} schedules in {:?}, median {median:?}, longest {:?}",
        began.elapsed(),
        times[times.len() - 1]
    );
}
