//! Forget and prune: what nothing needs goes, what something needs stays, whoever is at work meanwhile.

use super::by_hand::{lose, packs, put_plan, put_sweep};
use repo_format::layout::ObjectName;
use repository::backup::BackupRequest;
use repository::forget::forget;
use repository::progress::Progress;
use repository::prune::{MaxUnused, PruneOptions, PruneReport, prune};
use repository::store::fault::{Fault, FaultDriver, Verb};
use repository::{ErrorKind, Repository, Result};
use std::sync::Arc;
use std::time::Duration;
use tests::engine::{Bench, manifest, run, volume};

fn options() -> PruneOptions {
    PruneOptions {
        undelete_window: Duration::ZERO,
        max_unused: MaxUnused::Percent(0.0),
        ..Default::default()
    }
}

fn of(name: &str, data: &[u8]) -> BackupRequest {
    let manifests = [manifest("a", &format!(r#"{{"kind":"ConfigMap","name":"{name}"}}"#))];
    BackupRequest { volumes: vec![volume(name, data)], manifests: manifests.into(), ..Default::default() }
}

fn pruned(repository: &Repository, options: PruneOptions) -> Result<PruneReport> {
    run(prune(repository, options, &Arc::new(Progress::default())))
}

fn pack_len(bench: &Bench) -> u64 {
    let names = bench.store.names();
    let packs = names.iter().filter(|name| name.starts_with("packs/"));
    packs.map(|name| bench.store.bytes(name).unwrap().len() as u64).sum()
}

#[test]
fn a_repository_shrinks_to_what_it_would_have_been() {
    let bench = Bench::new(71);
    let (one, two) = (tests::data::mixed(1, 900_000), tests::data::mixed(2, 900_000));
    let mut mixed = one.clone();
    mixed[300_000..].copy_from_slice(&two[300_000..]);
    let first = bench.backup(of("v/one", &one)).unwrap().snapshot_id.unwrap();
    bench.backup(of("v/one", &mixed)).unwrap();
    bench.backup(of("v/two", &two)).unwrap();
    let last = bench.snapshots()[1].id;
    // only ever the two that are kept
    let fresh = Bench::new(72);
    fresh.backup(of("v/two", &two)).unwrap();
    fresh.backup(of("v/one", &mixed)).unwrap();
    let owner = bench.open();
    let nothing = pruned(&owner, options()).unwrap();
    assert_eq!((nothing.generation, nothing.packs_deleted, nothing.bytes_repacked), (None, 0, 0));
    run(forget(&owner, &[first], false)).unwrap();
    let dry = pruned(&owner, PruneOptions { dry_run: true, ..options() }).unwrap();
    assert_eq!((dry.generation, dry.packs_deleted), (None, 0));
    let before = pack_len(&bench);
    let report = pruned(&owner, options()).unwrap();
    assert!(report.lost.is_empty() && report.warnings.is_empty(), "{report:?}");
    assert_eq!(report.plan, repository::prune::PrunePlan { runs: report.plan.runs, ..dry.plan.clone() });
    assert_eq!(report.bytes_freed, dry.plan.bytes_condemned());
    assert_eq!(report.bytes_repacked, dry.plan.bytes_to_repack());
    let (after, ideal) = (pack_len(&bench), pack_len(&fresh));
    assert!(after < before && after * 100 <= ideal * 103, "{before} -> {after}, fresh {ideal}");
    assert_eq!(bench.snapshots().len(), 2);
    assert!(bench.restore(&bench.snapshots()[0], "v/one").unwrap() == mixed);
    assert!(bench.restore(&bench.snapshots()[1], "v/two").unwrap() == two);
    assert_eq!(bench.check().unwrap().errors, vec![]);
    assert!(bench.snapshots().iter().any(|entry| entry.id == last));
    // and again: nothing is left to do
    let again = pruned(&owner, options()).unwrap();
    assert_eq!((again.generation, again.packs_deleted, again.bytes_repacked), (None, 0, 0));
}

#[test]
fn condemned_packs_wait_for_the_window() {
    let bench = Bench::new(73);
    let data = tests::data::mixed(3, 300_000);
    let first = bench.backup(of("v/one", &data)).unwrap().snapshot_id.unwrap();
    bench.backup(of("v/one", &[7; 50_000])).unwrap();
    let owner = bench.open();
    run(forget(&owner, &[first], false)).unwrap();
    let hour = PruneOptions { undelete_window: Duration::from_secs(3600), ..options() };
    let report = pruned(&owner, hour.clone()).unwrap();
    assert!(report.packs_condemned > 0 && report.packs_deleted == 0, "{report:?}");
    assert!(report.bytes_waiting == report.bytes_condemned && report.free_at_ms.is_some());
    bench.clock.advance(Duration::from_secs(3000));
    assert_eq!(pruned(&owner, hour.clone()).unwrap().packs_deleted, 0);
    assert!(bench.store.bytes(&ObjectName::Snapshot(first).to_string()).is_some());
    bench.clock.advance(Duration::from_secs(700));
    let late = pruned(&owner, hour).unwrap();
    assert_eq!((late.packs_deleted, late.bytes_freed), (report.packs_condemned, report.bytes_condemned));
    assert_eq!((late.snapshots_deleted, late.bytes_waiting, late.free_at_ms), (1, 0, None));
    assert_eq!(bench.check().unwrap().errors, vec![]);
}

/// Somebody else's prune has ended the generation while this one waited to resume it: what that one has written
/// counts, and nothing is looked at again.
#[test]
fn a_plan_that_was_swept_meanwhile_is_not_swept_again() {
    let bench = Bench::new(19);
    let data = tests::data::bytes(19, 200_000);
    let first = bench.backup(of("one", &data)).unwrap().snapshot_id.unwrap();
    bench.backup(of("one", &tests::data::bytes(20, 200_000))).unwrap();
    run(forget(&bench.open(), &[first], false)).unwrap();
    let dead = bench.dead_after_put(".plan");
    pruned(&bench.open_on(dead, &bench.owner).unwrap(), options()).unwrap_err();
    let other = bench.fork();
    let by_other = pruned(&other.open(), options()).unwrap();
    assert!(by_other.packs_condemned > 0, "{by_other:?}");
    let sweep = other.store.names().into_iter().find(|name| name.ends_with(".sweep")).unwrap();
    let bytes = other.store.bytes(&sweep).unwrap();
    let (store, name) = (bench.store.clone(), sweep.clone());
    let meanwhile = move |_, verb, asked: &str| {
        // the plan has been read
        if verb == Verb::List && asked == "packs/" && store.bytes(&name).is_none() {
            store.tamper(&name, bytes.clone());
        }
        assert!(!(verb == Verb::Put && asked == name), "{name} is put a second time");
        Fault::None
    };
    let driver = FaultDriver::new(Arc::new(bench.store.clone()), meanwhile);
    let report = pruned(&bench.open_on(Arc::new(driver), &bench.owner).unwrap(), options()).unwrap();
    assert_eq!((report.packs_condemned, report.packs_deleted), (0, by_other.packs_condemned), "{report:?}");
}

#[test]
fn the_last_of_a_group_stays_unless_it_is_asked_for() {
    let bench = Bench::new(74);
    let only = bench.backup(of("v/one", &tests::data::mixed(4, 200_000))).unwrap().snapshot_id.unwrap();
    let owner = bench.open();
    run(forget(&owner, &[only], false)).unwrap();
    let report = pruned(&owner, options()).unwrap();
    assert_eq!((report.plan.kept_last.clone(), report.packs_deleted), (vec![only], 0));
    run(forget(&owner, &[only], true)).unwrap();
    let report = pruned(&owner, options()).unwrap();
    assert!(report.packs_deleted > 0 && report.snapshots_deleted == 1, "{report:?}");
    assert_eq!((pack_len(&bench), bench.snapshots().len()), (0, 0));
}

#[test]
fn what_was_forgotten_comes_back_until_it_is_deleted() {
    let bench = Bench::new(75);
    let (one, two) = (tests::data::bytes(5, 600_000), tests::data::bytes(6, 200_000));
    let first = bench.backup(of("v/one", &one)).unwrap().snapshot_id.unwrap();
    bench.backup(of("v/one", &two)).unwrap();
    let owner = bench.open();
    let undelete = |sid| run(repository::undelete::undelete(&owner, sid, &Arc::new(Progress::default())));
    assert!(undelete(first).unwrap_err().to_string().contains("not forgotten"));
    run(forget(&owner, &[first], false)).unwrap();
    let hour = PruneOptions { undelete_window: Duration::from_secs(3600), ..options() };
    let condemned = pruned(&owner, hour.clone()).unwrap();
    assert!(condemned.packs_condemned > 0, "{condemned:?}");
    let report = undelete(first).unwrap();
    assert!(report.bytes_stored > 300_000, "{report:?}");
    bench.clock.advance(Duration::from_secs(4000));
    assert!(pruned(&owner, hour).unwrap().packs_deleted > 0);
    let found = bench.snapshots();
    let back = found.iter().find(|entry| entry.id == report.snapshot_id).unwrap();
    assert!(bench.restore(back, "v/one").unwrap() == one);
    assert_eq!(bench.check().unwrap().errors, vec![]);
    assert!(undelete(first).unwrap_err().to_string().contains("not found"));
}

/// A prune that has deleted packs and not yet the snapshot: its content is gone for a reason, and nobody is alarmed.
#[test]
fn what_is_being_deleted_is_not_called_damaged() {
    let bench = Bench::new(78);
    let first = bench.backup(of("v/one", &tests::data::bytes(5, 600_000))).unwrap().snapshot_id.unwrap();
    let old = packs(&bench.store);
    bench.backup(of("v/one", &tests::data::bytes(6, 200_000))).unwrap();
    let owner = bench.open();
    let undelete = || run(repository::undelete::undelete(&owner, first, &Arc::new(Progress::default())));
    run(forget(&owner, &[first], false)).unwrap();
    lose(&bench.store, &old);
    assert_eq!(undelete().unwrap_err().kind(), ErrorKind::Damage, "no prune has planned it: it is lost");
    put_plan(&owner, &bench.store, old.clone(), vec![first], 0);
    put_sweep(&owner, &bench.store, old, 0);
    let error = undelete().unwrap_err();
    assert!(error.kind() == ErrorKind::Usage && error.to_string().contains("being deleted"), "{error}");
}

#[test]
fn the_prune_role_alone_is_enough_and_the_backup_role_is_not() {
    use repo_format::kdf::Secret;
    use repo_format::keys::Role;
    use repository::{Credential, ErrorKind, key};
    let bench = Bench::new(76);
    let first = bench.backup(of("v/one", &tests::data::bytes(7, 300_000))).unwrap().snapshot_id.unwrap();
    let mut half = tests::data::bytes(7, 300_000);
    half[100_000..200_000].copy_from_slice(&tests::data::bytes(8, 100_000));
    bench.backup(of("v/one", &half)).unwrap();
    let open = |role, n| {
        let credential = Credential::KeyFile(Secret::new([n; 32]));
        run(key::add(&bench.open(), role, &credential, "x")).unwrap();
        bench.open_on(Arc::new(bench.store.clone()), &credential).unwrap()
    };
    for (role, n) in [(Role::Backup, 1), (Role::Read, 2)] {
        let other = open(role, n);
        assert_eq!(run(forget(&other, &[first], false)).unwrap_err().kind(), ErrorKind::WrongKey);
        assert_eq!(pruned(&other, options()).unwrap_err().kind(), ErrorKind::WrongKey);
    }
    let pruner = open(Role::Prune, 3);
    run(forget(&pruner, &[first], false)).unwrap();
    let report = pruned(&pruner, options()).unwrap();
    assert!(report.bytes_repacked > 0 && report.packs_deleted > 0, "{report:?}");
    assert!(bench.restore(&bench.snapshots()[0], "v/one").unwrap() == half);
    assert_eq!(bench.check().unwrap().errors, vec![]);
}

#[test]
fn forged_and_replayed_records_delete_nothing() {
    use repo_format::sealed::Class;
    let bench = Bench::new(77);
    let data = tests::data::bytes(9, 200_000);
    let first = bench.backup(of("v/one", &data)).unwrap().snapshot_id.unwrap();
    let second = bench.backup(of("v/one", &tests::data::bytes(10, 200_000))).unwrap().snapshot_id.unwrap();
    let owner = bench.open();
    // a marker of another snapshot under this one's name, and one that is no marker
    run(forget(&owner, &[second], true)).unwrap();
    let marker = ObjectName::Forget { sid: second, last: true }.to_string();
    let replayed = bench.store.bytes(&marker).unwrap();
    bench.store.lose(&marker);
    for name in
        [ObjectName::Forget { sid: first, last: true }, ObjectName::Forget { sid: first, last: false }]
    {
        bench.store.tamper(&name.to_string(), replayed.clone());
    }
    let before = bench.store.names().len();
    let report = pruned(&owner, options()).unwrap();
    assert_eq!(
        (report.packs_condemned, report.packs_deleted, report.warnings.len()),
        (0, 0, 2),
        "{report:?}"
    );
    assert_eq!(bench.store.names().len(), before);
    // a plan that another name was sealed for
    let name = ObjectName::Plan(0);
    let plan = repo_format::gc_record::Plan::default().encode().unwrap();
    let foreign = owner.seal_signed(Class::Plan, &ObjectName::Plan(5), &plan).unwrap();
    bench.store.tamper(&name.to_string(), foreign);
    assert!(pruned(&owner, options()).is_err());
    bench.store.lose(&name.to_string());
    for (entry, expected) in bench.snapshots().iter().zip([&data]) {
        assert!(bench.restore(entry, "v/one").unwrap() == *expected);
    }
    assert_eq!(bench.snapshots().len(), 2);
}

/// A mark that a later one takes back excuses nothing: a new loss stops prune.
#[test]
fn a_snapshot_that_was_healed_may_lose_nothing_more() {
    use repo_format::gc_record::{Damage, LostVolume};
    use repo_format::sealed::Class;
    let bench = Bench::new(78);
    let sid = bench.backup(of("v/one", &tests::data::bytes(11, 100_000))).unwrap().snapshot_id.unwrap();
    let owner = bench.open();
    let mark = |n, volumes| {
        let name = ObjectName::Damage { sid, n };
        let body = Damage { sid, created_ms: 1, volumes, manifests: vec![] }.encode().unwrap();
        bench.store.tamper(&name.to_string(), owner.seal_signed(Class::Damage, &name, &body).unwrap());
    };
    mark(0, vec![LostVolume { name: "v/one".into(), ranges: vec![(0, 4096)] }]);
    let names = bench.store.names();
    bench.store.lose(names.iter().find(|name| name.starts_with("packs/data/")).unwrap());
    assert_eq!(pruned(&owner, options()).unwrap().lost, vec![], "marked: known");
    mark(1, vec![]);
    let lost = pruned(&owner, options()).unwrap().lost;
    assert_eq!(lost.iter().map(|(sid, _)| *sid).collect::<Vec<_>>(), [sid]);
}
