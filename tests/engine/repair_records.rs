//! Repair: small records that cannot be read. Nothing is stuck for ever, and nothing is guessed.

use super::repair::{NAMES, again_is_nothing, all_restore, below, flip, repaired, repaired_by, request, two};
use super::repair_sources::pruned;
use repo_format::SnapshotId;
use repo_format::layout::ObjectName;
use repository::ErrorKind;
use repository::forget::forget;
use repository::repair::{Remedy, RepairOptions, repair};
use repository::store::fault::{Fault, FaultDriver};
use std::sync::Arc;
use std::time::Duration;
use tests::engine::{Bench, run};

const DRY: RepairOptions = RepairOptions { read_data: false, dry_run: true };

/// What a dry run says, after the same was done.
fn remedy_of(bench: &Bench, name: &str) -> Remedy {
    let before = bench.store.names();
    let dry = repaired_by(&bench.open(), DRY).unwrap();
    assert_eq!(bench.store.names(), before);
    let report = repaired(bench);
    assert_eq!(report.plan.records[name], dry.plan.records[name]);
    report.plan.records[name].remedy
}

fn is_clean(bench: &Bench) {
    let errors = bench.check().unwrap().errors;
    assert!(errors.is_empty(), "{errors:?}");
}

#[test]
fn a_marker_that_cannot_be_read_counts_as_none() {
    let (bench, versions) = two(121);
    let sid = bench.snapshots()[0].id;
    run(forget(&bench.open(), &[sid], false)).unwrap();
    let name = ObjectName::Forget { sid, last: false }.to_string();
    flip(&bench, &name, 3);
    assert!(!bench.check().unwrap().errors.is_empty());
    // the name is taken: without a repair nobody could forget it by this marker
    assert_eq!(run(forget(&bench.open(), &[sid], false)).unwrap_err().kind(), ErrorKind::Damage);
    assert_eq!(remedy_of(&bench, &name), Remedy::Remove);
    is_clean(&bench);
    all_restore(&bench, &versions);
    again_is_nothing(&bench, RepairOptions::default());
    run(forget(&bench.open(), &[sid], false)).unwrap();
    assert!(bench.snapshots()[0].forgotten);
}

#[test]
fn a_pending_that_cannot_be_read_is_ended() {
    let (bench, versions) = two(122);
    let sid = SnapshotId([0x42; 16]);
    let name = ObjectName::Pending(sid).to_string();
    bench.store.tamper(&name, vec![3; 300]);
    let first = bench.snapshots()[0].id;
    run(forget(&bench.open(), &[first], false)).unwrap();
    let stuck = pruned(&bench.open(), Duration::ZERO).unwrap();
    assert!(stuck.packs_condemned == 0 && !stuck.warnings.is_empty(), "{stuck:?}");
    assert_eq!(remedy_of(&bench, &name), Remedy::EndSession);
    assert!(bench.store.names().contains(&ObjectName::Snapshot(sid).to_string()), "a tombstone");
    again_is_nothing(&bench, RepairOptions::default());
    assert!(pruned(&bench.open(), Duration::ZERO).unwrap().packs_condemned > 0);
    let last = &bench.snapshots()[0];
    assert!(bench.restore(last, NAMES[0]).unwrap() == versions[1]);
    is_clean(&bench);
}

/// Nobody can say what it needs: it is kept until somebody gives it up by its name.
#[test]
fn a_snapshot_that_cannot_be_read_can_be_given_up() {
    let (bench, versions) = two(123);
    let sid = bench.snapshots()[0].id;
    let name = ObjectName::Snapshot(sid).to_string();
    // it may be the last one of its group, for all that anybody can say: this marker takes it no more
    run(forget(&bench.open(), &[sid], false)).unwrap();
    flip(&bench, &name, 20);
    assert_eq!(remedy_of(&bench, &name), Remedy::Nothing);
    assert!(!repaired(&bench).is_whole());
    again_is_nothing(&bench, RepairOptions::default());
    let stuck = pruned(&bench.open(), Duration::ZERO).unwrap();
    assert!(stuck.packs_condemned == 0 && stuck.lost.iter().any(|(lost, _)| *lost == sid), "{stuck:?}");
    run(forget(&bench.open(), &[sid], true)).unwrap();
    let freed = pruned(&bench.open(), Duration::ZERO).unwrap();
    assert!(freed.packs_deleted > 0 && freed.lost.is_empty(), "{freed:?}");
    assert!(!bench.store.names().contains(&name));
    assert!(repaired(&bench).is_whole());
    is_clean(&bench);
    assert!(bench.restore(&bench.snapshots()[0], NAMES[0]).unwrap() == versions[1]);
}

#[test]
fn old_deletion_records_that_cannot_be_read_are_removed() {
    let (bench, versions) = two(124);
    for _ in 0..2 {
        let sid = bench.backup(request(&tests::data::mixed(9, 200_000))).unwrap().snapshot_id.unwrap();
        run(forget(&bench.open(), &[sid], true)).unwrap();
        pruned(&bench.open(), Duration::ZERO).unwrap();
        bench.clock.advance(Duration::from_secs(60));
    }
    let old = [ObjectName::Plan(0), ObjectName::Sweep(0)].map(|name| name.to_string());
    for name in old {
        let fork = bench.fork();
        flip(&fork, &name, 9);
        assert!(!fork.check().unwrap().errors.is_empty());
        assert_eq!(remedy_of(&fork, &name), Remedy::Remove);
        is_clean(&fork);
        again_is_nothing(&fork, RepairOptions::default());
        all_restore(&fork, &versions);
    }
}

/// A prune that dies behind its plan, which is then damaged.
fn damaged_plan(seed: u64) -> (Bench, [Vec<u8>; 2], String) {
    let (bench, versions) = two(seed);
    let sid = bench.backup(request(&tests::data::mixed(9, 200_000))).unwrap().snapshot_id.unwrap();
    run(forget(&bench.open(), &[sid], true)).unwrap();
    pruned(&bench.open(), Duration::from_secs(3600)).unwrap();
    let first = bench.snapshots()[0].id;
    run(forget(&bench.open(), &[first], false)).unwrap();
    let dead = bench.dead_after_put(".plan");
    assert!(pruned(&bench.open_on(dead, &bench.owner).unwrap(), Duration::ZERO).is_err());
    let name = ObjectName::Plan(1).to_string();
    flip(&bench, &name, 9);
    (bench, versions, name)
}

#[test]
fn an_unfinished_plan_that_cannot_be_read_is_ended_empty() {
    let (bench, versions, name) = damaged_plan(125);
    assert_eq!(bench.backup(request(&versions[1])).unwrap_err().kind(), ErrorKind::Damage);
    let stuck = pruned(&bench.open(), Duration::ZERO).unwrap_err();
    assert_eq!(stuck.kind(), ErrorKind::Damage);
    let driver = || Arc::new(bench.store.clone());
    let (entries, problems) =
        run(repository::snapshots::list(&bench.open_on(driver(), &bench.owner).unwrap())).unwrap();
    assert!(!problems.is_empty());
    let newest = entries.iter().rev().find(|entry| !entry.forgotten).unwrap();
    assert!(bench.restore(newest, NAMES[0]).unwrap() == versions[1], "reading goes on");
    let dry = repaired_by(&bench.open(), DRY).unwrap();
    assert_eq!(dry.plan.records[&name].remedy, Remedy::EndGeneration);
    let report = repaired(&bench);
    assert!(report.is_whole() && report.records_settled == 2, "{report:?}");
    again_is_nothing(&bench, RepairOptions::default());
    bench.backup(request(&versions[1])).unwrap();
    let freed = pruned(&bench.open(), Duration::ZERO).unwrap();
    assert!(freed.lost.is_empty() && freed.snapshots_deleted > 0, "{freed:?}");
    is_clean(&bench);
    assert!(bench.restore(bench.snapshots().last().unwrap(), NAMES[0]).unwrap() == versions[1]);
}

#[test]
fn a_crash_at_every_store_call_of_an_ended_generation() {
    let (base, versions, _) = damaged_plan(126);
    let crashing = |fork: &Bench, driver: Arc<FaultDriver>| {
        let opened = fork.open_on(driver, &fork.owner)?;
        run(repair(&opened, RepairOptions::default(), &Arc::default()))
    };
    let whole = base.fork();
    let counter = Arc::new(FaultDriver::new(Arc::new(whole.store.clone()), |_, _, _| Fault::None));
    assert!(crashing(&whole, counter.clone()).unwrap().is_whole());
    for at in 0..counter.calls() {
        for fault in [Fault::CrashBefore, Fault::CrashAfter] {
            let fork = base.fork();
            let plan = move |n, _, _: &str| if n == at { fault } else { Fault::None };
            let driver = Arc::new(FaultDriver::new(Arc::new(fork.store.clone()), plan));
            let _ = crashing(&fork, driver.clone());
            assert!(repaired(&fork).is_whole(), "call {at}");
            again_is_nothing(&fork, RepairOptions::default());
            pruned(&fork.open(), Duration::ZERO).unwrap();
            is_clean(&fork);
            assert!(fork.restore(fork.snapshots().last().unwrap(), NAMES[0]).unwrap() == versions[1]);
        }
    }
}

/// Which packs are condemned nobody can know: one clear line, and not one object written.
#[test]
fn a_newest_sweep_that_cannot_be_read_is_left_to_the_operator() {
    let (bench, versions) = two(127);
    let first = bench.snapshots()[0].id;
    run(forget(&bench.open(), &[first], false)).unwrap();
    pruned(&bench.open(), Duration::from_secs(3600)).unwrap();
    let name = ObjectName::Sweep(0).to_string();
    let good = bench.store.bytes(&name).unwrap();
    for is_lost in [false, true] {
        let fork = bench.fork();
        if is_lost {
            fork.store.lose(&name)
        } else {
            flip(&fork, &name, 9)
        }
        let before = fork.store.names();
        // a plan whose sweep is gone looks like one that has none yet: any prune ends it
        match repaired_by(&fork.open(), RepairOptions::default()) {
            Err(error) => {
                assert_eq!(error.kind(), ErrorKind::Damage);
                assert!(error.to_string().starts_with(&name) && !is_lost, "{error}");
            }
            Ok(_) => assert!(is_lost),
        }
        assert_eq!(fork.store.names(), before);
        let newest = bench.snapshots().pop().unwrap();
        assert!(fork.restore(&newest, NAMES[0]).unwrap() == versions[1], "reading goes on");
        fork.store.tamper(&name, good.to_vec());
        assert!(repaired(&fork).is_whole());
    }
    assert!(below(&bench, "gc/").len() == 2);
}
