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

const NAMES: [&str; 2] = ["shop/data", "shop/log"];

fn request(data: &[u8]) -> BackupRequest {
    BackupRequest {
        volumes: vec![volume("shop/data", data), stream("shop/log", &data[..data.len() / 2])],
        manifests: vec![manifest("a", r#"{"kind":"ConfigMap"}"#)],
        ..Default::default()
    }
}

fn versions() -> [Vec<u8>; 2] {
    let old = tests::data::mixed(2, 600_000);
    let mut new = old.clone();
    new[100_000..170_000].copy_from_slice(&tests::data::bytes(3, 70_000));
    [old, new]
}

/// Two snapshots, several packs and runs.
fn two(seed: u64) -> (Bench, [Vec<u8>; 2]) {
    let (bench, versions) = (Bench::new(seed), versions());
    for data in &versions {
        bench.backup(request(data)).unwrap();
    }
    (bench, versions)
}

fn repaired_by(repository: &Repository, options: RepairOptions) -> Result<RepairReport> {
    run(repair(repository, options, &Arc::new(Progress::default())))
}

fn repaired(bench: &Bench) -> RepairReport {
    repaired_by(&bench.open(), RepairOptions::default()).unwrap()
}

fn below(bench: &Bench, prefix: &str) -> Vec<String> {
    bench.store.names().into_iter().filter(|name| name.starts_with(prefix)).collect()
}

/// Flips a bit of an object, counted from its end.
fn flip(bench: &Bench, name: &str, from_end: usize) {
    let mut bytes = bench.store.bytes(name).unwrap().to_vec();
    let at = bytes.len() - 1 - from_end;
    bytes[at] ^= 1;
    bench.store.tamper(name, bytes);
}

fn all_restore(bench: &Bench, versions: &[Vec<u8>; 2]) {
    for (entry, data) in bench.snapshots().iter().zip(versions) {
        assert!(!entry.damaged);
        assert_eq!(&bench.restore(entry, NAMES[0]).unwrap(), data);
        assert_eq!(bench.restore(entry, NAMES[1]).unwrap(), data[..data.len() / 2]);
    }
}

/// A second repair changes nothing, not one object.
fn again_is_nothing(bench: &Bench, options: RepairOptions) {
    let before = bench.store.names();
    let report = repaired_by(&bench.open(), options).unwrap();
    assert!(report.plan.is_empty(), "{:?}", report.plan);
    assert_eq!((report.runs_written, report.runs_deleted, report.marks_written), (0, 0, 0));
    assert_eq!(bench.store.names(), before);
}

/// The mark, the restored bytes and a check say the same of each volume of each snapshot.
fn is_marked_exactly(bench: &Bench, versions: &[Vec<u8>; 2]) -> usize {
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
    base.store.lose(&below(&base, "packs/data/")[0]);
    let crashing = |fork: &Bench, driver: Arc<FaultDriver>| {
        let opened = fork.open_on(driver, &fork.owner)?;
        repaired_by(&opened, RepairOptions::default()).map(|report| report.damaged)
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
            assert_eq!(repaired(&fork).damaged, damaged, "call {at}");
            is_marked_exactly(&fork, &versions);
            again_is_nothing(&fork, RepairOptions::default());
        }
    }
    println!("{} store calls, each with a crash before and after", counter.calls());
}

/// A mark that nobody signed is no mark, and stands in nobody's way.
#[test]
fn a_forged_mark_is_passed_over() {
    let (bench, versions) = two(88);
    let sid = bench.snapshots()[0].id;
    bench.store.tamper(&ObjectName::Damage { sid, n: 7 }.to_string(), vec![0; 200]);
    bench.store.lose(&below(&bench, "packs/data/")[0]);
    let report = repaired(&bench);
    assert!(report.damaged.contains_key(&sid) && !report.warnings.is_empty(), "{report:?}");
    assert!(bench.store.names().contains(&ObjectName::Damage { sid, n: 8 }.to_string()));
    let (marks, problems) = run(repository::repair::marks(&bench.open())).unwrap();
    assert_eq!((marks.len(), problems.len()), (report.damaged.len(), 1));
    let _ = versions;
}
