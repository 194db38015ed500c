//! Repair: what no pack holds that may be relied on is copied out of whatever still has it.

use super::repair::{
    NAMES, again_is_nothing, all_restore, below, flip, is_marked_exactly, repaired, repaired_by, request, two,
};
use repository::forget::forget;
use repository::progress::Progress;
use repository::prune::{MaxUnused, Pace, PruneOptions, PruneReport, prune};
use repository::repair::{Origin, RepairOptions, RepairReport, repair_from};
use repository::store::Driver;
use repository::store::fault::{Fault, FaultDriver};
use repository::{Repository, Result};
use std::sync::Arc;
use std::time::Duration;
use tests::engine::{Bench, run};

const DEEP: RepairOptions = RepairOptions { read_data: true, dry_run: false };
const DRY: RepairOptions = RepairOptions { read_data: false, dry_run: true };

pub(super) fn pruned(repository: &Repository, window: Duration) -> Result<PruneReport> {
    let options = PruneOptions {
        undelete_window: window,
        max_unused: MaxUnused::Percent(0.0),
        pace: Pace { session_age: Duration::ZERO, ..Pace::default() },
        ..PruneOptions::default()
    };
    run(prune(repository, options, &Arc::new(Progress::default())))
}

const DAY: Duration = Duration::from_secs(86_400);

/// All packs of both snapshots are condemned and still there; then the same was backed up anew.
fn beside_the_dead(seed: u64) -> (Bench, [Vec<u8>; 2], Vec<String>) {
    let (bench, versions) = two(seed);
    let sids: Vec<_> = bench.snapshots().iter().map(|entry| entry.id).collect();
    run(forget(&bench.open(), &sids, true)).unwrap();
    let old = below(&bench, "packs/");
    assert_eq!(pruned(&bench.open(), DAY).unwrap().packs_condemned, old.len() as u64);
    Bench::backup(&bench, request(&versions[0])).unwrap();
    bench.backup(request(&versions[1])).unwrap();
    let new = below(&bench, "packs/").into_iter().filter(|name| !old.contains(name)).collect();
    (bench, versions, new)
}

/// As [`all_restore`], of the snapshots that are not forgotten.
fn kept_restore(bench: &Bench, versions: &[Vec<u8>; 2]) {
    let kept: Vec<_> = bench.snapshots().into_iter().filter(|entry| !entry.forgotten).collect();
    assert_eq!(kept.len(), 2);
    for (entry, data) in kept.iter().zip(versions) {
        assert!(!entry.damaged);
        assert!(bench.restore(entry, NAMES[0]).unwrap() == *data);
        assert!(bench.restore(entry, NAMES[1]).unwrap() == data[..data.len() / 2]);
    }
    let errors = bench.check().unwrap().errors;
    assert!(errors.is_empty(), "{errors:?}");
}

#[test]
fn records_come_back_out_of_condemned_packs() {
    let (bench, versions, new) = beside_the_dead(101);
    for name in &new {
        for is_flipped in [false, true] {
            let fork = bench.fork();
            if is_flipped {
                flip(&fork, name, 60)
            } else {
                fork.store.lose(name)
            }
            let dry = repaired_by(&fork.open(), DRY).unwrap();
            let report = repaired(&fork);
            assert_eq!(report.plan, dry.plan);
            assert!(report.is_whole() && report.marks_written == 0, "{report:?}");
            assert!(report.plan.copies.iter().all(|copy| copy.origin == Origin::Dead), "{report:?}");
            assert!(report.packs_written > 0, "{name}");
            again_is_nothing(&fork, RepairOptions::default());
            // what was condemned may go now
            fork.clock.advance(2 * DAY);
            pruned(&fork.open(), Duration::ZERO).unwrap();
            kept_restore(&fork, &versions);
        }
    }
}

/// Only records that are as they were written are copied.
#[test]
fn a_bad_record_of_a_condemned_pack_is_not_copied() {
    let (bench, _, new) = beside_the_dead(102);
    let data = new.iter().find(|name| name.starts_with("packs/data/")).unwrap();
    bench.store.lose(data);
    let source = repaired_by(&bench.open(), DRY).unwrap().plan.copies.remove(0);
    let len = bench.store.bytes(&source.pack).unwrap().len();
    flip(&bench, &source.pack, len - 1 - 60);
    let report = repaired(&bench);
    assert!(!report.is_whole(), "{report:?}");
    let copied = report.plan.copies.iter().find(|copy| copy.pack == source.pack);
    assert!(copied.map_or(0, |copy| copy.records) < source.records, "{report:?}");
    again_is_nothing(&bench, DEEP);
}

/// A plan without a sweep, whose candidates are all that is left of what a snapshot needs.
#[test]
fn nothing_relies_on_candidates() {
    let (bench, versions) = two(103);
    let sids: Vec<_> = bench.snapshots().iter().map(|entry| entry.id).collect();
    run(forget(&bench.open(), &sids, true)).unwrap();
    let old = below(&bench, "packs/");
    let dead = bench.dead_after_put(".plan");
    assert!(pruned(&bench.open_on(dead, &bench.owner).unwrap(), DAY).is_err());
    assert_eq!(below(&bench, "gc/").len(), 1);
    for data in &versions {
        bench.backup(request(data)).unwrap();
    }
    for name in below(&bench, "packs/").into_iter().filter(|name| !old.contains(name)) {
        let fork = bench.fork();
        fork.store.lose(&name);
        let dry = repaired_by(&fork.open(), DRY).unwrap();
        let report = repaired(&fork);
        assert_eq!(report.plan, dry.plan);
        assert!(report.is_whole() && report.packs_written > 0, "{report:?}");
        assert!(report.plan.copies.iter().all(|copy| copy.origin == Origin::Candidate), "{report:?}");
        again_is_nothing(&fork, RepairOptions::default());
        // the prune goes on and takes all candidates
        pruned(&fork.open(), Duration::ZERO).unwrap();
        assert!(below(&fork, "packs/").iter().all(|name| !old.contains(name)));
        kept_restore(&fork, &versions);
    }
}

fn repaired_from(bench: &Bench, other: &Bench, options: RepairOptions) -> Result<RepairReport> {
    run(repair_from(&bench.open(), Some(&other.open()), options, &Arc::new(Progress::default())))
}

#[test]
fn a_replica_gives_back_what_is_lost() {
    let (bench, versions) = two(104);
    let replica = bench.fork();
    below(&replica, "index/").iter().for_each(|name| replica.store.lose(name));
    let packs = below(&bench, "packs/");
    let one_by_one = packs.iter().map(|name| vec![name.clone()]);
    for lost in one_by_one.chain([packs.clone()]) {
        for was_marked in [false, true] {
            let fork = bench.fork();
            lost.iter().for_each(|name| fork.store.lose(name));
            if was_marked {
                assert!(!repaired(&fork).is_whole());
            }
            let before = replica.store.names();
            let dry = repaired_from(&fork, &replica, DRY).unwrap();
            let report = repaired_from(&fork, &replica, RepairOptions::default()).unwrap();
            assert_eq!(report.plan, dry.plan);
            assert!(report.is_whole() && report.packs_written > 0, "{report:?}");
            assert!(report.plan.copies.iter().all(|copy| copy.origin == Origin::Other));
            assert_eq!(replica.store.names(), before, "nothing is written there");
            all_restore(&fork, &versions);
            let errors = fork.check().unwrap().errors;
            assert!(errors.is_empty(), "{errors:?}");
            again_is_nothing(&fork, RepairOptions::default());
        }
    }
}

/// A flaw that only reading finds is mended as well, and one at both places is marked.
#[test]
fn a_replica_is_believed_record_by_record() {
    let (bench, versions) = two(105);
    let name = below(&bench, "packs/data/").remove(0);
    let replica = bench.fork();
    let len = bench.store.bytes(&name).unwrap().len();
    flip(&bench, &name, len - 1 - 44);
    let fork = bench.fork();
    let report = repaired_from(&fork, &replica, DEEP).unwrap();
    assert!(report.is_whole() && report.plan.flawed[&name].records_lost == 1, "{report:?}");
    all_restore(&fork, &versions);
    flip(&replica, &name, len - 1 - 44);
    let report = repaired_from(&bench, &replica, DEEP).unwrap();
    assert!(!report.is_whole());
    assert_eq!(is_marked_exactly(&bench, &versions), report.damaged.len());
    again_is_nothing(&bench, DEEP);
}

/// A crash at every store call of a repair that copies from here and there: the next one ends the work.
#[test]
fn a_crash_at_every_store_call_of_a_copy() {
    let (base, versions, new) = beside_the_dead(108);
    let replica = base.fork();
    base.store.lose(&new[0]);
    // nobody has this pack but the replica
    let condemned = repaired_by(&base.open(), DRY).unwrap().plan.copies.remove(0);
    base.store.lose(&condemned.pack);
    base.store.lose(new.last().unwrap());
    let crashing = |fork: &Bench, driver: Arc<FaultDriver>| {
        let opened = fork.open_on(driver, &fork.owner)?;
        run(repair_from(&opened, Some(&replica.open()), RepairOptions::default(), &Arc::default()))
    };
    let whole = base.fork();
    let counter = Arc::new(FaultDriver::new(Arc::new(whole.store.clone()), |_, _, _| Fault::None));
    let report = crashing(&whole, counter.clone()).unwrap();
    let origins: Vec<_> = report.plan.copies.iter().map(|copy| copy.origin).collect();
    assert!(origins.contains(&Origin::Dead) && origins.contains(&Origin::Other), "{origins:?}");
    for at in 0..counter.calls() {
        for fault in [Fault::CrashBefore, Fault::CrashAfter] {
            let fork = base.fork();
            let plan = move |n, _, _: &str| if n == at { fault } else { Fault::None };
            let driver = Arc::new(FaultDriver::new(Arc::new(fork.store.clone()), plan));
            let _ = crashing(&fork, driver.clone());
            assert!(driver.calls() > at, "call {at} was never made");
            assert!(
                repaired_from(&fork, &replica, RepairOptions::default()).unwrap().is_whole(),
                "call {at}"
            );
            again_is_nothing(&fork, RepairOptions::default());
            if at % 4 == 0 {
                kept_restore(&fork, &versions);
            }
        }
    }
    println!("{} store calls, each with a crash before and after", counter.calls());
}

/// At each store call of a repair that copies, a prune and a backup run from end to end. Every other prune
/// deletes what was condemned at once.
#[test]
fn a_prune_and_a_backup_at_every_store_call() {
    let (base, versions, new) = beside_the_dead(109);
    for name in [&new[0], new.last().unwrap()] {
        base.store.lose(name);
    }
    let window = |at: u64| if at.is_multiple_of(2) { DAY } else { Duration::ZERO };
    let at_call = |at: u64| {
        let fork = base.fork();
        let (store, owner, env) = (fork.store.clone(), fork.owner.clone(), fork.env.clone());
        let data = versions[0].clone();
        let plan = move |n, _, _: &str| {
            if n == at {
                let driver: Arc<dyn Driver> = Arc::new(store.clone());
                let (owner, env, data) = (owner.clone(), env.clone(), data.clone());
                // one executor cannot run in another
                let beside = move || {
                    let exec = repository::Exec::inline();
                    let work = Repository::open(driver, &exec, &env, &owner);
                    let opened = run(work).unwrap();
                    // a prune beside damage stops, and says so
                    drop(pruned(&opened, window(at)).unwrap());
                    run(repository::backup::backup(&opened, request(&data), &Arc::default())).unwrap();
                };
                std::thread::spawn(beside).join().unwrap();
            }
            Fault::None
        };
        let driver = Arc::new(FaultDriver::new(Arc::new(fork.store.clone()), plan));
        let opened = fork.open_on(driver.clone(), &fork.owner).unwrap();
        let repaired = run(repair_from(&opened, None, RepairOptions::default(), &Arc::default()));
        (fork, driver.calls(), repaired)
    };
    let (_, calls, _) = at_call(u64::MAX);
    let mut whole = 0;
    for at in 5..calls {
        let (fork, _, report) = at_call(at);
        let report = report.unwrap();
        let is_whole = report.is_whole();
        whole += u64::from(is_whole);
        assert!(is_whole || window(at) == Duration::ZERO, "call {at}: {report:?}");
        let again = repaired(&fork);
        assert_eq!(again.is_whole(), is_whole, "call {at}: {again:?}");
        let pruned = pruned(&fork.open(), Duration::ZERO).unwrap();
        assert!(pruned.lost.is_empty(), "call {at}: {pruned:?}");
        let kept = fork.snapshots().into_iter().filter(|entry| !entry.forgotten);
        for entry in kept.filter(|entry| !entry.damaged) {
            let data = versions.iter().find(|data| fork.restore(&entry, NAMES[0]).unwrap() == **data);
            assert!(data.is_some(), "call {at}");
        }
    }
    println!("{calls} store calls, {whole} repairs that found everything");
    assert!(whole < calls - 5, "some prunes delete before anything is copied");
}
