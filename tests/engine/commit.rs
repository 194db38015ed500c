//! Steps c3 to c5 beside a prune: what it condemns in between is mended, what it forgets is no
//! parent, what overtakes the session starts it anew, and a taken name is left alone.

use super::by_hand::{count, data_packs, lose, of, packs, put_plan, put_plan_of, put_sweep, put_sweep_of};
use repo_format::gc_record::Dead;
use repo_format::layout::ObjectName;
use repo_format::{PackId, SnapshotId};
use repository::backup::{BackupReport, BackupRequest, backup};
use repository::forget::forget;
use repository::progress::Progress;
use repository::store::MemoryDriver;
use repository::store::fault::{Fault, FaultDriver, Verb};
use repository::undelete::undelete;
use repository::{Repository, Result};
use std::sync::{Arc, Mutex};
use tests::engine::{Bench, run, stream};

/// Backs up while `meanwhile` happens once, right after the first pending record was put.
fn backup_while(
    bench: &Bench,
    request: BackupRequest,
    meanwhile: impl Fn(&Repository, &MemoryDriver) + Send + Sync + 'static,
) -> Result<BackupReport> {
    let owner = bench.open();
    let store = bench.store.clone();
    let announced = Mutex::new(0);
    let plan = move |_, verb, name: &str| {
        let mut announced = announced.lock().unwrap();
        if verb == Verb::Put && name.starts_with("pending/") {
            *announced += 1;
        } else if *announced == 1 && name == "gc/" {
            *announced += 1;
            meanwhile(&owner, &store);
        }
        Fault::None
    };
    let driver = Arc::new(FaultDriver::new(Arc::new(bench.store.clone()), plan));
    let repository = bench.open_on(driver, &bench.owner)?;
    run(backup(&repository, request, &Arc::new(Progress::default())))
}

#[test]
fn condemned_packs_are_mended_by_copies() {
    let bench = Bench::new(51);
    let data = tests::data::bytes(1, 500_000);
    let first = bench.backup(of("v/one", &data)).unwrap().snapshot_id.unwrap();
    let old = packs(&bench.store);
    let candidates = old.clone();
    // another name: the chunks are reused by way of the index, not of a parent
    let report = backup_while(&bench, of("v/two", &data), move |owner, store| {
        put_plan(owner, store, candidates.clone(), vec![first], 0);
    })
    .unwrap();
    assert_eq!(report.chunks_new, 0);
    let announced = report.bytes_stored - report.bytes_mended;
    assert!(report.bytes_mended > 100_000 && announced < 20_000, "copies are counted: {report:?}");
    let owner = bench.open();
    bench.store.lose(&ObjectName::Snapshot(first).to_string());
    put_sweep(&owner, &bench.store, old, 0);
    let snapshots = bench.snapshots();
    assert_eq!(snapshots.len(), 1);
    assert!(bench.restore(&snapshots[0], "v/two").unwrap() == data);
    assert_eq!(bench.check().unwrap().errors.len(), 0);
}

#[test]
fn a_parent_that_is_forgotten_is_walked() {
    let bench = Bench::new(52);
    let data = tests::data::mixed(2, 9 << 20);
    let first = bench.backup(of("v/one", &data)).unwrap().snapshot_id.unwrap();
    let old = packs(&bench.store);
    let candidates = old.clone();
    let mut new = data.clone();
    new[5_000_000..5_100_000].fill(7);
    // all but one segment is inherited from the parent and was never looked up
    backup_while(&bench, of("v/one", &new), move |owner, store| {
        put_plan(owner, store, candidates.clone(), vec![first], 0);
    })
    .unwrap();
    let owner = bench.open();
    bench.store.lose(&ObjectName::Snapshot(first).to_string());
    put_sweep(&owner, &bench.store, old, 0);
    assert!(bench.restore(&bench.snapshots()[0], "v/one").unwrap() == new);
    assert_eq!(bench.check().unwrap().errors.len(), 0);
}

#[test]
fn a_record_that_is_gone_is_read_from_the_source_again() {
    let bench = Bench::new(53);
    let data = tests::data::mixed(3, 300_000);
    let first = bench.backup(of("v/one", &data)).unwrap().snapshot_id.unwrap();
    let old = packs(&bench.store);
    let report = backup_while(&bench, of("v/two", &data), move |owner, store| {
        // undelete window 0: planned, swept and deleted before the session looks
        put_plan(owner, store, old.clone(), vec![first], 0);
        store.lose(&ObjectName::Snapshot(first).to_string());
        put_sweep(owner, store, old.clone(), 0);
    })
    .unwrap();
    assert!(report.chunks_new > 0, "read again: {report:?}");
    assert!(bench.restore(&bench.snapshots()[0], "v/two").unwrap() == data);
    assert_eq!(bench.check().unwrap().errors.len(), 0);
}

#[test]
fn a_floor_above_the_session_starts_it_anew() {
    let bench = Bench::new(54);
    let data = tests::data::mixed(4, 300_000);
    let pending_before = bench.store.names().iter().filter(|name| name.starts_with("pending/")).count();
    let report = backup_while(&bench, of("v/one", &data), |owner, store| {
        put_plan(owner, store, vec![], vec![], 1);
        put_sweep(owner, store, vec![], 1);
    })
    .unwrap();
    assert!(report.snapshot_id.is_some());
    assert!(bench.restore(&bench.snapshots()[0], "v/one").unwrap() == data);
    assert_eq!(bench.check().unwrap().errors.len(), 0);
    let pending = bench.store.names().iter().filter(|name| name.starts_with("pending/")).count();
    assert_eq!(pending, pending_before, "the old announcement is taken back");
    // a stream cannot be read twice, and says so
    let bench = Bench::new(55);
    let request = BackupRequest { volumes: vec![stream("v/pipe", &data)], ..Default::default() };
    let error = backup_while(&bench, request, |owner, store| {
        put_plan(owner, store, vec![], vec![], 1);
        put_sweep(owner, store, vec![], 1);
    })
    .unwrap_err();
    assert_eq!(error.kind(), repository::ErrorKind::Conflict, "{error}");
    assert!(bench.snapshots().is_empty());
}

#[test]
fn a_taken_name_is_left_alone() {
    let bench = Bench::new(56);
    let data = tests::data::mixed(5, 50_000);
    let store = bench.store.clone();
    let planted = Mutex::new(None);
    let plan = move |_, verb, name: &str| {
        let mut planted = planted.lock().unwrap();
        if verb == Verb::Put && name.starts_with("snapshots/") && planted.is_none() {
            // a prune's tombstone comes first
            store.tamper(name, b"tombstone".to_vec());
            *planted = Some(name.to_owned());
        }
        Fault::None
    };
    let driver = Arc::new(FaultDriver::new(Arc::new(bench.store.clone()), plan));
    let repository = bench.open_on(driver, &bench.owner).unwrap();
    let report = run(backup(&repository, of("v/one", &data), &Arc::new(Progress::default()))).unwrap();
    let names: Vec<String> =
        bench.store.names().into_iter().filter(|name| name.starts_with("snapshots/")).collect();
    assert_eq!(names.len(), 2, "{names:?}");
    let ours = ObjectName::Snapshot(report.snapshot_id.unwrap()).to_string();
    let theirs = names.iter().find(|name| **name != ours).unwrap();
    assert_eq!(bench.store.bytes(theirs).unwrap(), "tombstone", "never overwritten");
}

/// The snapshot whose put was acknowledged by nobody is committed once, and only once.
#[test]
fn an_ambiguous_commit_is_looked_up_not_repeated() {
    // a put that may still land keeps its announcement, which spares its packs from prune
    for (fault, announced) in [(Fault::FailAfter, 0), (Fault::FailBefore, 1)] {
        let bench = Bench::new(57);
        let puts = Arc::new(Mutex::new(Vec::new()));
        let seen = puts.clone();
        let plan = move |_, verb, name: &str| {
            if verb == Verb::Put && name.starts_with("snapshots/") {
                let mut seen = seen.lock().unwrap();
                seen.push(name.to_owned());
                if seen.len() == 1 {
                    return fault;
                }
            }
            Fault::None
        };
        let driver = Arc::new(FaultDriver::new(Arc::new(bench.store.clone()), plan));
        let repository = bench.open_on(driver, &bench.owner).unwrap();
        run(backup(&repository, of("v/one", &[3; 9000]), &Arc::new(Progress::default()))).unwrap();
        assert_eq!(bench.snapshots().len(), 1);
        let pending = bench.store.names().iter().filter(|name| name.starts_with("pending/")).count();
        assert_eq!(pending, announced);
        let mut names = puts.lock().unwrap().clone();
        let sent = names.len();
        names.dedup();
        assert_eq!(names.len(), sent, "no name is put twice");
    }
}

/// Another backup of the volume commits after this one has read the index: it may become the parent,
/// although the index knows none of its pages.
#[test]
fn a_parent_younger_than_the_index_is_no_damage() {
    let bench = Bench::new(58);
    let data = tests::data::mixed(6, 9 << 20);
    bench.backup(of("v/one", &data)).unwrap();
    let mut newer = data.clone();
    newer[3_000_000..3_050_000].fill(9);
    let other = bench.over(bench.store.clone());
    let between = Mutex::new(Some(newer.clone()));
    let plan = move |_, verb, name: &str| {
        if verb == Verb::List && name == "snapshots/" {
            let newer = between.lock().unwrap().take();
            if let Some(newer) = newer {
                // on a thread of its own: this one is inside the outer backup
                std::thread::scope(|scope| scope.spawn(|| other.backup(of("v/one", &newer)).unwrap()).join())
                    .unwrap();
            }
        }
        Fault::None
    };
    let driver = Arc::new(FaultDriver::new(Arc::new(bench.store.clone()), plan));
    let repository = bench.open_on(driver, &bench.owner).unwrap();
    run(backup(&repository, of("v/one", &newer), &Arc::new(Progress::default()))).unwrap();
    let snapshots = bench.snapshots();
    assert_eq!(snapshots.len(), 3);
    assert!(bench.restore(&snapshots[2], "v/one").unwrap() == newer);
    assert_eq!(bench.check().unwrap().errors.len(), 0);
}

/// A sweep without its plan is a listing that is not whole: nothing may be built on it.
#[test]
fn half_a_listing_of_deletions_is_not_believed() {
    let bench = Bench::new(59);
    bench.backup(of("v/one", &[1; 9000])).unwrap();
    let owner = bench.open();
    put_plan(&owner, &bench.store, vec![], vec![], 0);
    put_sweep(&owner, &bench.store, vec![], 0);
    bench.backup(of("v/one", &[2; 9000])).unwrap();
    bench.store.lose(&ObjectName::Plan(0).to_string());
    let error = bench.backup(of("v/one", &[3; 9000])).unwrap_err();
    assert_eq!(error.kind(), repository::ErrorKind::Damage, "{error}");
    assert!(error.to_string().contains("gc/"), "{error}");
}

/// What an overtaken try has uploaded is listed again, not uploaded again; what a prune took of it is.
#[test]
fn an_overtaken_session_adopts_its_own_packs() {
    for deleted in [false, true] {
        let bench = Bench::new(60);
        let data = tests::data::bytes(7, 300_000);
        let report = backup_while(&bench, of("v/one", &data), move |owner, store| {
            put_plan(owner, store, vec![], vec![], 1);
            put_sweep(owner, store, vec![], 1);
            if deleted {
                // gone from the list of the dead since
                lose(store, &data_packs(store)[..1]);
            }
        })
        .unwrap();
        let packs = data_packs(&bench.store);
        let bytes = |pack: &PackId| bench.store.bytes(&ObjectName::DataPack(*pack).to_string()).unwrap();
        let uploaded: usize = packs.iter().map(|pack| bytes(pack).len()).sum();
        assert_eq!(report.chunks_new > 0, deleted, "{report:?}");
        let again = report.bytes_mended;
        // a pack of 64 KiB if one is gone; else the run, the announcement and the snapshot
        assert!(
            if deleted { (60_000..90_000).contains(&again) } else { (1..20_000).contains(&again) },
            "{report:?}"
        );
        assert!(uploaded < 310_000, "{uploaded} bytes in {} packs", packs.len());
        assert!(bench.restore(&bench.snapshots()[0], "v/one").unwrap() == data);
        assert_eq!(bench.check().unwrap().errors.len(), 0);
    }
}

/// Nothing is adopted out of a pack that the view of the new try condemns.
#[test]
fn condemned_packs_are_not_adopted() {
    let bench = Bench::new(61);
    let data = tests::data::bytes(8, 100_000);
    let condemned = Arc::new(Mutex::new(Vec::new()));
    let seen = condemned.clone();
    backup_while(&bench, of("v/one", &data), move |owner, store| {
        let all = packs(store);
        let kept: Vec<_> =
            all.iter().flat_map(|pack| [ObjectName::DataPack(*pack), ObjectName::MapPack(*pack)]).collect();
        let kept: Vec<_> = kept.iter().map(ToString::to_string).collect();
        let kept: Vec<_> = kept.into_iter().filter_map(|name| Some((store.bytes(&name)?, name))).collect();
        put_plan(owner, store, all.clone(), vec![], 1);
        put_sweep(owner, store, all.clone(), 1);
        // their window is not over: they are still there
        kept.into_iter().for_each(|(bytes, name)| store.tamper(&name, bytes));
        *seen.lock().unwrap() = all;
    })
    .unwrap();
    let condemned = condemned.lock().unwrap().clone();
    assert!(packs(&bench.store).len() > condemned.len(), "written anew");
    for pack in condemned {
        bench.store.lose(&ObjectName::DataPack(pack).to_string());
        bench.store.lose(&ObjectName::MapPack(pack).to_string());
    }
    assert!(bench.restore(&bench.snapshots()[0], "v/one").unwrap() == data);
    assert_eq!(bench.check().unwrap().errors.len(), 0);
}

/// Overtaken twice: packs of the first try are known to the third.
#[test]
fn own_packs_are_adopted_over_several_tries() {
    let bench = Bench::new(62);
    let data = tests::data::bytes(9, 500_000);
    let (owner, store) = (bench.open(), bench.store.clone());
    let overtakes = Mutex::new(0u64);
    let plan = move |_, verb, name: &str| {
        let mut overtakes = overtakes.lock().unwrap();
        // after each of the first two announcements
        if verb == Verb::List && name == "gc/" && count(&store, "pending/") == 1 && *overtakes < 2 {
            let g = *overtakes;
            *overtakes += 1;
            put_plan_of(&owner, &store, g, vec![], vec![], g + 1);
            put_sweep_of(&owner, &store, g, vec![], vec![], g + 1);
        }
        Fault::None
    };
    let driver = Arc::new(FaultDriver::new(Arc::new(bench.store.clone()), plan));
    let repository = bench.open_on(driver, &bench.owner).unwrap();
    let report = run(backup(&repository, of("v/one", &data), &Arc::new(Progress::default()))).unwrap();
    assert_eq!((report.chunks_new, report.bytes_new), (0, 0), "{report:?}");
    assert_eq!(count(&bench.store, "gc/"), 4, "overtaken twice");
    assert!(bench.restore(&bench.snapshots()[0], "v/one").unwrap() == data);
    assert_eq!(bench.check().unwrap().errors.len(), 0);
}

/// A forgotten snapshot, and plan 1, which condemns its packs; a session that began before
/// generation 0 can publish a copy of everything, in a run that plan 1 has not counted.
struct Stale {
    bench: Bench,
    data: Vec<u8>,
    first: SnapshotId,
    old: Vec<PackId>,
    slow: MemoryDriver,
}

impl Stale {
    fn new(seed: u64) -> Self {
        let bench = Bench::new(seed);
        let data = tests::data::bytes(seed, 300_000);
        let slow = bench.fork();
        slow.backup(of("v/slow", &data)).unwrap();
        put_plan(&bench.open(), &bench.store, vec![], vec![], 0);
        put_sweep(&bench.open(), &bench.store, vec![], 0);
        let first = bench.backup(of("v/one", &data)).unwrap().snapshot_id.unwrap();
        let old = packs(&bench.store);
        Stale { data, first, old, slow: slow.store, bench }
    }

    /// Sweep 1; the snapshot that is left restores.
    fn sweep(&self, name: &str) {
        let store = &self.bench.store;
        store.lose(&ObjectName::Snapshot(self.first).to_string());
        lose(store, &self.old);
        let dead = vec![Dead { g: 1, at: 1, packs: self.old.clone() }];
        put_sweep_of(&self.bench.open(), store, 1, self.old.clone(), dead, 1);
        assert!(self.bench.restore(&self.bench.snapshots()[0], name).unwrap() == self.data);
        assert_eq!(self.bench.check().unwrap().errors.len(), 0);
    }
}

fn publish(slow: &MemoryDriver, store: &MemoryDriver) {
    for name in slow.names().iter().filter(|name| name.starts_with("index/") || name.starts_with("packs/")) {
        store.tamper(name, slow.bytes(name).unwrap());
    }
}

/// A record's other copy is known from a run that a prune is about to ignore: no place to rely on.
#[test]
fn mending_relies_on_no_run_below_the_newest_floor() {
    let stale = Stale::new(63);
    let (slow, old, first) = (stale.slow.clone(), stale.old.clone(), stale.first);
    backup_while(&stale.bench, of("v/two", &stale.data), move |owner, store| {
        put_plan_of(owner, store, 1, old.clone(), vec![first], 1);
        publish(&slow, store);
    })
    .unwrap();
    stale.sweep("v/two");
}

#[test]
fn undelete_relies_on_no_run_below_the_newest_floor() {
    let stale = Stale::new(64);
    let bench = &stale.bench;
    put_plan_of(&bench.open(), &bench.store, 1, stale.old.clone(), vec![stale.first], 1);
    publish(&stale.slow, &bench.store);
    run(undelete(&bench.open(), stale.first, &Arc::new(Progress::default()))).unwrap();
    stale.sweep("v/one");
}

/// The same, where the plan and the stale run come after c0.
#[test]
fn undelete_relies_on_no_run_that_falls_below_the_floor_meanwhile() {
    let stale = Stale::new(65);
    let (bench, first) = (&stale.bench, stale.first);
    run(forget(&bench.open(), &[first], true)).unwrap();
    let (owner, store) = (bench.open(), bench.store.clone());
    let (slow, old) = (stale.slow.clone(), stale.old.clone());
    let listings = Mutex::new(0);
    let plan = move |_, verb, name: &str| {
        let mut listings = listings.lock().unwrap();
        *listings += u32::from(verb == Verb::List && name == "index/");
        if *listings == 2 {
            *listings += 1;
            put_plan_of(&owner, &store, 1, old.clone(), vec![first], 1);
            publish(&slow, &store);
        }
        Fault::None
    };
    let driver = Arc::new(FaultDriver::new(Arc::new(bench.store.clone()), plan));
    let repository = bench.open_on(driver, &bench.owner).unwrap();
    run(undelete(&repository, first, &Arc::new(Progress::default()))).unwrap();
    stale.sweep("v/one");
}
