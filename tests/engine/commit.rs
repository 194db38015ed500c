//! Steps c3 to c5 beside a prune: what it condemns in between is mended, what it forgets is no
//! parent, what overtakes the session starts it anew, and a taken name is left alone.

use repo_format::gc_record::{Dead, Forgotten, Plan, Sweep};
use repo_format::layout::ObjectName;
use repo_format::sealed::{Class, object_hash};
use repo_format::{PackId, SnapshotId};
use repository::backup::{BackupReport, BackupRequest, backup};
use repository::progress::Progress;
use repository::store::MemoryDriver;
use repository::store::fault::{Fault, FaultDriver, Verb};
use repository::{Repository, Result};
use std::sync::{Arc, Mutex};
use tests::engine::{Bench, run, stream, volume};

/// Names of all packs, in order.
fn packs(store: &MemoryDriver) -> Vec<PackId> {
    let mut packs: Vec<PackId> = store
        .names()
        .iter()
        .filter_map(|name| match ObjectName::parse(name) {
            Ok(ObjectName::DataPack(pack) | ObjectName::MapPack(pack)) => Some(pack),
            _ => None,
        })
        .collect();
    packs.sort();
    packs
}

/// Puts plan 0, as a prune would.
fn put_plan(
    owner: &Repository,
    store: &MemoryDriver,
    candidates: Vec<PackId>,
    forgotten: Vec<SnapshotId>,
    floor: u64,
) {
    let name = ObjectName::Plan(0);
    let forgotten = if forgotten.is_empty() { vec![] } else { vec![Forgotten { g: 0, sids: forgotten }] };
    let plan = Plan { candidates, forgotten, floor, prev: None }.encode().unwrap();
    store.tamper(&name.to_string(), owner.seal_signed(Class::Plan, &name, &plan).unwrap());
}

/// Puts sweep 0 for the plan that is there, and deletes what it condemns.
fn put_sweep(owner: &Repository, store: &MemoryDriver, condemned: Vec<PackId>, floor: u64) {
    let name = ObjectName::Sweep(0);
    let prev = object_hash(&store.bytes(&ObjectName::Plan(0).to_string()).unwrap());
    let dead = vec![Dead { g: 0, at: 1, packs: condemned.clone() }];
    let sweep = Sweep { condemned: condemned.clone(), dead, floor, prev }.encode().unwrap();
    store.tamper(&name.to_string(), owner.seal_signed(Class::Sweep, &name, &sweep).unwrap());
    for pack in condemned {
        store.lose(&ObjectName::DataPack(pack).to_string());
        store.lose(&ObjectName::MapPack(pack).to_string());
    }
}

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

fn of(name: &str, data: &[u8]) -> BackupRequest {
    BackupRequest { volumes: vec![volume(name, data)], ..Default::default() }
}

#[test]
fn condemned_packs_are_mended_by_copies() {
    let bench = Bench::new(51);
    let data = tests::data::mixed(1, 500_000);
    let first = bench.backup(of("v/one", &data)).unwrap().snapshot_id.unwrap();
    let old = packs(&bench.store);
    let candidates = old.clone();
    // another name: the chunks are reused by way of the index, not of a parent
    let report = backup_while(&bench, of("v/two", &data), move |owner, store| {
        put_plan(owner, store, candidates.clone(), vec![first], 0);
    })
    .unwrap();
    assert_eq!(report.chunks_new, 0);
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

/// Sizes of all data packs, by name.
fn data_packs(store: &MemoryDriver) -> Vec<String> {
    store.names().into_iter().filter(|name| name.starts_with("packs/data/")).collect()
}

/// What an overtaken try has uploaded is listed again, not uploaded again; what a prune took of it is.
#[test]
fn an_overtaken_session_adopts_its_own_packs() {
    for lose in [false, true] {
        let bench = Bench::new(60);
        let data = tests::data::bytes(7, 300_000);
        let report = backup_while(&bench, of("v/one", &data), move |owner, store| {
            put_plan(owner, store, vec![], vec![], 1);
            put_sweep(owner, store, vec![], 1);
            if lose {
                // deleted, and gone from the list of the dead since
                store.lose(&data_packs(store)[0]);
            }
        })
        .unwrap();
        let packs = data_packs(&bench.store);
        let uploaded = packs.iter().map(|name| bench.store.bytes(name).unwrap().len() as u64).sum::<u64>();
        assert_eq!(report.chunks_new > 0, lose, "{report:?}");
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
