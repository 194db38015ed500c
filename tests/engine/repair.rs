//! Repair: the index comes back from packs, what is lost is marked to the byte and nothing else is.

use repo_format::keys::Role;
use repo_format::layout::ObjectName;
use repository::backup::BackupRequest;
use repository::progress::Progress;
use repository::repair::{RepairOptions, RepairReport, repair};
use repository::snapshots::SnapshotEntry;
use repository::store::fault::{Fault, FaultDriver};
use repository::{ErrorKind, Repository, Result};
use std::sync::Arc;
use tests::engine::{Bench, manifest, run, stream, volume};

pub(super) const NAMES: [&str; 2] = ["shop/data", "shop/log"];

pub(super) fn request(data: &[u8]) -> BackupRequest {
    BackupRequest {
        volumes: vec![volume("shop/data", data), stream("shop/log", &data[..data.len() / 2])],
        manifests: [manifest("a", r#"{"kind":"ConfigMap"}"#)].into(),
        ..Default::default()
    }
}

pub(super) fn versions() -> [Vec<u8>; 2] {
    let old = tests::data::mixed(2, 600_000);
    let mut new = old.clone();
    new[100_000..170_000].copy_from_slice(&tests::data::bytes(3, 70_000));
    [old, new]
}

/// Two snapshots, several packs and runs.
pub(super) fn two(seed: u64) -> (Bench, [Vec<u8>; 2]) {
    let (bench, versions) = (Bench::new(seed), versions());
    for data in &versions {
        bench.backup(request(data)).unwrap();
    }
    (bench, versions)
}

pub(super) fn repaired_by(repository: &Repository, options: RepairOptions) -> Result<RepairReport> {
    run(repair(repository, options, &Arc::new(Progress::default())))
}

pub(super) fn repaired(bench: &Bench) -> RepairReport {
    repaired_by(&bench.open(), RepairOptions::default()).unwrap()
}

pub(super) fn below(bench: &Bench, prefix: &str) -> Vec<String> {
    bench.store.names().into_iter().filter(|name| name.starts_with(prefix)).collect()
}

/// Flips a bit of an object, counted from its end.
pub(super) fn flip(bench: &Bench, name: &str, from_end: usize) {
    let mut bytes = bench.store.bytes(name).unwrap().to_vec();
    let at = bytes.len() - 1 - from_end;
    bytes[at] ^= 1;
    bench.store.tamper(name, bytes);
}

pub(super) fn all_restore(bench: &Bench, versions: &[Vec<u8>; 2]) {
    for (entry, data) in bench.snapshots().iter().zip(versions) {
        assert!(!entry.damaged);
        assert_eq!(&bench.restore(entry, NAMES[0]).unwrap(), data);
        assert_eq!(bench.restore(entry, NAMES[1]).unwrap(), data[..data.len() / 2]);
    }
}

/// A second repair changes nothing, not one object.
pub(super) fn again_is_nothing(bench: &Bench, options: RepairOptions) {
    let before = bench.store.names();
    let report = repaired_by(&bench.open(), options).unwrap();
    assert!(report.plan.is_empty(), "{:?}", report.plan);
    assert_eq!((report.runs_written, report.runs_deleted, report.marks_written), (0, 0, 0));
    assert_eq!(bench.store.names(), before);
}

/// The mark, the restored bytes and a check say the same of each volume of each snapshot.
pub(super) fn is_marked_exactly(bench: &Bench, versions: &[Vec<u8>; 2]) -> usize {
    let (marks, problems) = run(repository::repair::marks(&bench.open())).unwrap();
    assert!(problems.is_empty(), "{problems:?}");
    let report = bench.check().unwrap();
    let hurt = |entry: &SnapshotEntry| report.errors.iter().any(|f| f.snapshots.contains(&entry.id));
    let mut damaged = 0;
    for (entry, data) in bench.snapshots().iter().zip(versions) {
        let mark = marks.get(&entry.id).filter(|mark| !mark.is_whole());
        assert_eq!(entry.damaged, mark.is_some());
        assert_eq!(hurt(entry), mark.is_some(), "{report:?}");
        damaged += usize::from(mark.is_some());
        for (name, data) in [(NAMES[0], &data[..]), (NAMES[1], &data[..data.len() / 2])] {
            let marked = mark.and_then(|mark| mark.volumes.iter().find(|lost| lost.name == name));
            let (restored, report) = bench.restore_damaged(entry, name).unwrap();
            assert_eq!(report.lost.first(), marked, "{name}");
            let mut expected = data.to_vec();
            for (offset, len) in marked.into_iter().flat_map(|lost| &lost.ranges) {
                expected[*offset as usize..(*offset + *len) as usize].fill(0);
            }
            assert!(restored == expected, "{name}: other bytes");
            match marked {
                Some(_) => {
                    let error = bench.restore(entry, name).unwrap_err();
                    assert_eq!(error.kind(), ErrorKind::Damage, "{error}");
                }
                None => assert!(bench.restore(entry, name).unwrap() == data),
            }
        }
    }
    damaged
}

#[test]
fn a_sound_repository_is_left_alone() {
    let (bench, versions) = two(81);
    again_is_nothing(&bench, RepairOptions::default());
    again_is_nothing(&bench, RepairOptions { read_data: true, dry_run: false });
    assert!(repaired(&bench).is_whole());
    all_restore(&bench, &versions);
}

#[test]
fn lost_and_flipped_runs_come_back_from_trailers() {
    let (bench, versions) = two(82);
    let runs = below(&bench, "index/");
    assert!(runs.len() >= 2, "{runs:?}");
    type Hurt = Box<dyn Fn(&Bench)>;
    let mut hurts: Vec<Hurt> = vec![Box::new(|bench| {
        below(bench, "index/").iter().for_each(|name| bench.store.lose(name));
    })];
    for name in &runs {
        let (lost, flipped, cut) = (name.clone(), name.clone(), name.clone());
        hurts.push(Box::new(move |bench| bench.store.lose(&lost)));
        hurts.push(Box::new(move |bench| flip(bench, &flipped, 70)));
        hurts.push(Box::new(move |bench| bench.store.tamper(&cut, vec![1; 9])));
    }
    for hurt in hurts {
        let fork = bench.fork();
        hurt(&fork);
        assert!(!fork.check().unwrap().errors.is_empty());
        let dry = RepairOptions { dry_run: true, ..Default::default() };
        let before = fork.store.names();
        let planned = repaired_by(&fork.open(), dry).unwrap();
        assert_eq!(fork.store.names(), before, "a dry run writes nothing");
        let report = repaired(&fork);
        assert_eq!(report.plan, planned.plan);
        assert!(report.is_whole() && report.runs_written == 1 && report.marks_written == 0, "{report:?}");
        let errors = fork.check().unwrap().errors;
        assert!(errors.is_empty(), "{errors:?}");
        again_is_nothing(&fork, RepairOptions::default());
        all_restore(&fork, &versions);
    }
}

#[test]
fn lost_and_unreadable_packs_are_marked_to_the_byte() {
    let (bench, versions) = two(83);
    let packs = below(&bench, "packs/");
    let mut marked = 0;
    for name in &packs {
        for is_lost in [true, false] {
            let fork = bench.fork();
            if is_lost {
                fork.store.lose(name)
            } else {
                flip(&fork, name, 60)
            }
            let report = repaired(&fork);
            assert!(!report.is_whole() && report.plan.lost.contains_key(name), "{report:?}");
            assert_eq!(report.marks_written as usize, report.damaged.len());
            assert_eq!(is_marked_exactly(&fork, &versions), report.damaged.len());
            marked += report.damaged.len();
            again_is_nothing(&fork, RepairOptions::default());
        }
    }
    println!("{} packs, {marked} marks", packs.len());
    assert!(marked > packs.len());
}

/// A trailer that is whole says nothing of a record that is not: only reading finds it.
#[test]
fn flipped_content_is_marked_when_it_is_read() {
    let (bench, versions) = two(84);
    let deep = RepairOptions { read_data: true, dry_run: false };
    for name in below(&bench, "packs/data/") {
        let fork = bench.fork();
        let len = fork.store.bytes(&name).unwrap().len();
        flip(&fork, &name, len - 100);
        assert!(repaired(&fork).is_whole(), "structure is whole");
        let report = repaired_by(&fork.open(), deep).unwrap();
        assert!(!report.damaged.is_empty(), "{name}");
        assert_eq!(is_marked_exactly(&fork, &versions), report.damaged.len());
        again_is_nothing(&fork, deep);
        // who only looks at structure does not take the mark back
        again_is_nothing(&fork, RepairOptions::default());
    }
}

/// What is lost is not taken as known: the next backup of the same content stores it anew.
#[test]
fn the_next_backup_heals() {
    let (bench, versions) = two(85);
    for name in below(&bench, "packs/") {
        let fork = bench.fork();
        fork.store.lose(&name);
        let hurt = repaired(&fork).damaged;
        assert!(!hurt.is_empty());
        for data in &versions {
            fork.backup(request(data)).unwrap();
        }
        let report = repaired(&fork);
        assert!(report.is_whole(), "{name}: {report:?}");
        assert_eq!(report.marks_written as usize, hurt.len(), "an empty mark each");
        all_restore(&fork, &versions);
        let errors = fork.check().unwrap().errors;
        assert!(errors.is_empty(), "{errors:?}");
        again_is_nothing(&fork, RepairOptions::default());
    }
}

#[test]
fn roles() {
    let (bench, _) = two(86);
    let driver = || Arc::new(bench.store.clone());
    for (role, may) in [(Role::Backup, false), (Role::Read, false), (Role::Prune, true)] {
        let secret = repo_format::kdf::Secret::new([role as u8 + 1; 32]);
        let credential = repository::Credential::KeyFile(secret);
        run(repository::key::add(&bench.open(), role, &credential, "x")).unwrap();
        let opened = bench.open_on(driver(), &credential).unwrap();
        let dry = RepairOptions { dry_run: true, ..Default::default() };
        assert!(repaired_by(&opened, dry).unwrap().is_whole());
        assert_eq!(repaired_by(&opened, RepairOptions::default()).is_ok(), may, "{role:?}");
    }
}

/// A crash at every store call: what is whole restores, and the next repair ends the work.
#[test]
fn a_crash_at_every_store_call() {
    let (base, versions) = two(87);
    let runs = below(&base, "index/");
    base.store.lose(&runs[0]);
    flip(&base, &runs[1], 70);
    let packs = below(&base, "packs/data/");
    base.store.lose(&packs[0]);
    let flipped_len = base.store.bytes(&packs[1]).unwrap().len();
    flip(&base, &packs[1], flipped_len - 1 - 44);
    let deep = RepairOptions { read_data: true, dry_run: false };
    let crashing = |fork: &Bench, driver: Arc<FaultDriver>| {
        let opened = fork.open_on(driver, &fork.owner)?;
        repaired_by(&opened, deep).map(|report| report.damaged)
    };
    let whole = base.fork();
    let counter = Arc::new(FaultDriver::new(Arc::new(whole.store.clone()), |_, _, _| Fault::None));
    let damaged = crashing(&whole, counter.clone()).unwrap();
    assert!(!damaged.is_empty());
    for at in 0..counter.calls() {
        for fault in [Fault::CrashBefore, Fault::CrashAfter] {
            let fork = base.fork();
            let plan = move |n, _, _: &str| if n == at { fault } else { Fault::None };
            let driver = Arc::new(FaultDriver::new(Arc::new(fork.store.clone()), plan));
            let _ = crashing(&fork, driver.clone());
            assert!(driver.calls() > at, "call {at} was never made");
            assert_eq!(repaired_by(&fork.open(), deep).unwrap().damaged, damaged, "call {at}");
            is_marked_exactly(&fork, &versions);
            again_is_nothing(&fork, deep);
        }
    }
    println!("{} store calls, each with a crash before and after", counter.calls());
}

/// A mark that nobody signed is no mark, stands in nobody's way, and is removed.
#[test]
fn a_forged_mark_is_passed_over() {
    let (bench, versions) = two(88);
    // the one whose pack has the first name
    let sid = bench.snapshots()[1].id;
    bench.store.tamper(&ObjectName::Damage { sid, n: 7 }.to_string(), vec![0; 200]);
    bench.store.lose(&below(&bench, "packs/data/")[0]);
    let report = repaired(&bench);
    assert!(report.damaged.contains_key(&sid) && report.records_settled == 1, "{report:?}");
    assert!(bench.store.names().contains(&ObjectName::Damage { sid, n: 8 }.to_string()));
    let (marks, problems) = run(repository::repair::marks(&bench.open())).unwrap();
    assert_eq!((marks.len(), problems.len()), (report.damaged.len(), 0));
    is_marked_exactly(&bench, &versions);
    again_is_nothing(&bench, RepairOptions::default());
}

/// A quiet volume: its next backup equals the newest snapshot, whose maps could be inherited. It stores
/// what is lost all the same, and says that it succeeded only if it restores.
#[test]
fn an_unchanged_source_heals_its_parent() {
    let (bench, versions) = two(88);
    let mut needed = 0;
    for name in below(&bench, "packs/") {
        let fork = bench.fork();
        fork.store.lose(&name);
        let hurt = repaired(&fork).damaged;
        let newest = fork.snapshots().pop().unwrap();
        needed += usize::from(hurt.contains_key(&newest.id));
        let sid = fork.backup(request(&versions[1])).unwrap().snapshot_id;
        let back = fork.snapshots().into_iter().find(|entry| Some(entry.id) == sid).unwrap();
        assert_eq!(fork.restore(&back, NAMES[0]).unwrap(), versions[1], "{name}");
        assert_eq!(fork.restore(&back, NAMES[1]).unwrap(), versions[1][..versions[1].len() / 2], "{name}");
        assert!(!repaired(&fork).damaged.contains_key(&newest.id), "{name}");
    }
    assert!(needed > 3, "{needed} packs");
}

/// Before anybody has repaired anything: a page of the parent proves nothing about its chunks.
#[test]
fn a_backup_beside_a_lost_index_restores() {
    let (bench, versions) = two(89);
    for name in below(&bench, "index/").into_iter().chain(below(&bench, "packs/data/")) {
        bench.store.lose(&name);
    }
    let sid = bench.backup(request(&versions[1])).unwrap().snapshot_id;
    let back = bench.snapshots().into_iter().find(|entry| Some(entry.id) == sid).unwrap();
    assert_eq!(bench.restore(&back, NAMES[0]).unwrap(), versions[1]);
}

/// Where a pack is flipped, by its length: header, first record, last record, trailer, footer.
const PARTS: [fn(usize) -> usize; 5] =
    [|_| 9, |_| 32 + 12, |len| len - 56 - 4_000.min(len / 2), |len| len - 56 - 20, |len| len - 30];

/// One flipped bit anywhere in a pack costs what it lies in, for as long as the source does not bring it back.
#[test]
fn a_flipped_pack_is_left_out_and_heals() {
    let (bench, versions) = two(90);
    let deep = RepairOptions { read_data: true, dry_run: false };
    let (mut marked, mut copied) = (0, 0);
    for name in below(&bench, "packs/") {
        let len = bench.store.bytes(&name).unwrap().len();
        for part in PARTS {
            let fork = bench.fork();
            flip(&fork, &name, len - 1 - part(len));
            let dry = repaired_by(&fork.open(), RepairOptions { dry_run: true, ..deep }).unwrap();
            let report = repaired_by(&fork.open(), deep).unwrap();
            assert_eq!(report.plan, dry.plan);
            assert!(
                report.plan.flawed.contains_key(&name) || report.plan.lost.contains_key(&name),
                "{report:?}"
            );
            assert_eq!(is_marked_exactly(&fork, &versions), report.damaged.len());
            (marked, copied) = (marked + report.marks_written, copied + report.packs_written);
            again_is_nothing(&fork, deep);
            // structure alone must not bring the pack back into the index
            again_is_nothing(&fork, RepairOptions::default());
            for data in &versions {
                fork.backup(request(data)).unwrap();
            }
            let report = repaired(&fork);
            assert!(report.is_whole(), "{name} at {}: {report:?}", part(len));
            all_restore(&fork, &versions);
            let errors = fork.check().unwrap().errors;
            assert!(errors.is_empty(), "{name} at {}: {errors:?}", part(len));
            again_is_nothing(&fork, deep);
        }
    }
    println!("{marked} marks, {copied} packs of good records");
    assert!(marked > 10 && copied > 10, "{marked} {copied}");
}

/// Who cannot open content does not take the records of an unnamed pack with a wrong hash for good.
#[test]
fn the_prune_role_names_no_flawed_pack() {
    let (bench, _) = two(91);
    let credential = repository::Credential::KeyFile(repo_format::kdf::Secret::new([0x55; 32]));
    run(repository::key::add(&bench.open(), Role::Prune, &credential, "x")).unwrap();
    let name = below(&bench, "packs/data/").remove(0);
    let len = bench.store.bytes(&name).unwrap().len();
    flip(&bench, &name, len - 1 - 44);
    let marked = repaired_by(&bench.open(), RepairOptions { read_data: true, dry_run: false }).unwrap();
    assert!(marked.plan.flawed[&name].records_lost == 1, "{marked:?}");
    let before = bench.store.names();
    let opened = bench.open_on(Arc::new(bench.store.clone()), &credential).unwrap();
    let report = repaired_by(&opened, RepairOptions::default()).unwrap();
    assert!(report.plan.is_empty() && report.plan.lost.contains_key(&name), "{report:?}");
    assert_eq!(bench.store.names(), before);
}
