//! Repair out of a repository with other keys: what is equal byte for byte comes back, nothing else does.

use super::repair::{
    NAMES, again_is_nothing, all_restore, below, flip, is_marked_exactly, repaired, request, two,
};
use super::repair_sources::pruned;
use repo_format::config::{Chunking, ChunkingRow};
use repo_format::kdf::Secret;
use repo_format::keys::Role;
use repository::progress::Progress;
use repository::repair::{RepairOptions, RepairReport, repair_from};
use repository::store::fault::{Fault, FaultDriver};
use repository::{Credential, ErrorKind, Repository, Result};
use std::collections::BTreeSet;
use std::sync::Arc;
use std::time::Duration;
use tests::engine::{Bench, run, volume};

const DEEP: RepairOptions = RepairOptions { read_data: true, dry_run: false };
const DRY: RepairOptions = RepairOptions { read_data: false, dry_run: true };

fn by(here: &Repository, other: &Repository, options: RepairOptions) -> Result<RepairReport> {
    run(repair_from(here, Some(other), options, &Arc::new(Progress::default())))
}

fn repaired_from(bench: &Bench, other: &Bench, options: RepairOptions) -> Result<RepairReport> {
    by(&bench.open(), &other.open(), options)
}

/// Another repository of the same contents: other keys, other cuts, other ids.
fn stranger(seed: u64, versions: &[Vec<u8>]) -> Bench {
    let other = Bench::new(seed);
    for data in versions {
        other.backup(request(data)).unwrap();
    }
    other
}

fn is_clean(bench: &Bench) {
    let errors = bench.check().unwrap().errors;
    assert!(errors.is_empty(), "{errors:?}");
    again_is_nothing(bench, RepairOptions::default());
}

#[test]
fn every_lost_pack_comes_back_from_a_repository_with_other_keys() {
    let (bench, versions) = two(201);
    let other = stranger(202, &versions);
    let packs = below(&bench, "packs/");
    assert!(packs.iter().any(|name| name.starts_with("packs/map/")));
    let one_by_one = packs.iter().map(|name| vec![name.clone()]);
    for lost in one_by_one.chain([packs.clone()]) {
        for was_marked in [false, true] {
            let fork = bench.fork();
            lost.iter().for_each(|name| fork.store.lose(name));
            if was_marked {
                assert!(!repaired(&fork).is_whole());
            }
            let (here, there) = (fork.store.names(), other.store.names());
            let dry = repaired_from(&fork, &other, DRY).unwrap();
            assert_eq!(fork.store.names(), here, "a dry run writes nothing");
            let report = repaired_from(&fork, &other, RepairOptions::default()).unwrap();
            assert_eq!(report.plan, dry.plan);
            assert!(report.is_whole() && report.packs_written > 0, "{report:?}");
            assert!(report.plan.copies.is_empty() && !report.plan.recuts.is_empty());
            assert_eq!(other.store.names(), there, "nothing is written there");
            all_restore(&fork, &versions);
            is_clean(&fork);
        }
    }
}

/// A record that only reading finds bad is sought as well.
#[test]
fn a_flipped_record_comes_back() {
    let (bench, versions) = two(203);
    let other = stranger(204, &versions);
    let name = below(&bench, "packs/data/").remove(0);
    let len = bench.store.bytes(&name).unwrap().len();
    flip(&bench, &name, len - 1 - 44);
    let report = repaired_from(&bench, &other, DEEP).unwrap();
    let [recut] = report.plan.recuts.as_slice() else { panic!("{report:?}") };
    assert_eq!((report.is_whole(), recut.chunks, recut.pages), (true, 1, 0));
    all_restore(&bench, &versions);
    is_clean(&bench);
}

/// What the other repository has changed stays lost, and is marked; what it has not comes back.
#[test]
fn changed_content_stays_lost() {
    let (bench, versions) = two(205);
    let mut changed = versions.clone();
    for data in &mut changed {
        data[50_000] ^= 1;
    }
    let other = stranger(206, &changed);
    below(&bench, "packs/data/").iter().for_each(|name| bench.store.lose(name));
    let alone = repaired(&bench.fork());
    let report = repaired_from(&bench, &other, RepairOptions::default()).unwrap();
    assert!(!report.is_whole() && !report.plan.recuts.is_empty(), "{report:?}");
    assert_eq!(is_marked_exactly(&bench, &versions), report.damaged.len());
    for (sid, mark) in &report.damaged {
        assert!(mark.lost_len() < alone.damaged[sid].lost_len());
        for lost in &mark.volumes {
            let holds = |(offset, len): &(u64, u64)| *offset <= 50_000 && 50_000 < offset + len;
            assert!(lost.ranges.len() == 1 && lost.ranges.iter().all(holds), "{lost:?}");
        }
    }
    again_is_nothing(&bench, RepairOptions::default());
    // the very same bytes in a later snapshot of the other repository mend the rest
    other.backup(request(&versions[0])).unwrap();
    other.backup(request(&versions[1])).unwrap();
    assert!(repaired_from(&bench, &other, RepairOptions::default()).unwrap().is_whole());
    all_restore(&bench, &versions);
    is_clean(&bench);
}

/// A volume of more than 64 segments: inner pages, one of which has a single child, and holes.
#[test]
fn a_map_of_several_levels_is_built_again() {
    let row = ChunkingRow { up_to: u64::MAX, min: 1, avg: 2, max: 4 };
    let bench = Bench::with_chunking(207, Chunking::new(vec![row]).unwrap());
    let mut data = tests::data::mixed(8, 65 * 128 * 2 * 4096 - 1000);
    data[3 << 20..62 << 20].fill(0);
    bench.backup(volume_request(&data)).unwrap();
    let other = Bench::new(208);
    other.backup(volume_request(&data)).unwrap();
    let (name, mut pages) = (below(&bench, "packs/map/").pop().unwrap(), BTreeSet::new());
    // the last pages are the uppermost; each of them is lost by itself
    let near_the_end = (0..3000).step_by(50).map(Some);
    for from_end in near_the_end.chain([None]) {
        let fork = bench.fork();
        match from_end {
            Some(from_end) => flip(&fork, &name, from_end),
            None => fork.store.lose(&name),
        }
        let report = repaired_from(&fork, &other, RepairOptions::default()).unwrap();
        assert!(report.is_whole() && report.plan.recuts[0].pages > 0, "{report:?}");
        pages.insert(report.plan.recuts[0].pages);
        if from_end.is_none_or(|from_end| from_end % 1000 == 0) {
            assert!(fork.restore(&fork.snapshots()[0], NAMES[0]).unwrap() == data);
            is_clean(&fork);
        }
    }
    assert!(pages.contains(&1) && pages.len() > 1, "{pages:?}");
}

fn volume_request(data: &[u8]) -> repository::backup::BackupRequest {
    repository::backup::BackupRequest { volumes: vec![volume(NAMES[0], data)], ..Default::default() }
}

/// More than fits into one round: the next ones go on, and a crash between them costs nothing.
#[test]
fn what_does_not_fit_into_one_round_comes_in_the_next() {
    let row = ChunkingRow { up_to: u64::MAX, min: 1, avg: 2, max: 4 };
    let bench = Bench::with_chunking(215, Chunking::new(vec![row]).unwrap());
    let data = tests::data::bytes(9, 9 << 20);
    bench.backup(volume_request(&data)).unwrap();
    let other = Bench::new(216);
    other.backup(volume_request(&data)).unwrap();
    below(&bench, "packs/").iter().for_each(|name| bench.store.lose(name));
    let dry = repaired_from(&bench, &other, DRY).unwrap();
    assert!(!dry.is_whole(), "{dry:?}");
    let crashing = |fork: &Bench, at: u64| {
        let plan = move |n, _, _: &str| if n == at { Fault::CrashAfter } else { Fault::None };
        let driver = Arc::new(FaultDriver::new(Arc::new(fork.store.clone()), plan));
        let opened = fork.open_on(driver.clone(), &fork.owner).unwrap();
        (by(&opened, &other.open(), RepairOptions::default()), driver.calls())
    };
    let whole = bench.fork();
    let (report, calls) = crashing(&whole, u64::MAX);
    let report = report.unwrap();
    assert!(report.is_whole() && report.marks_written == 0, "{report:?}");
    assert!(report.plan.recuts.len() > 3, "{report:?}");
    is_clean(&whole);
    let quarters = [calls / 4, calls / 2, calls / 4 * 3].map(|at| {
        let fork = bench.fork();
        assert!(crashing(&fork, at).0.is_err());
        assert!(repaired_from(&fork, &other, RepairOptions::default()).unwrap().is_whole());
        fork
    });
    for fork in quarters.into_iter().chain([whole]) {
        assert!(fork.restore(&fork.snapshots()[0], NAMES[0]).unwrap() == data);
        is_clean(&fork);
    }
}

/// Damage of the other repository costs what it hits, no more.
#[test]
fn a_damaged_repository_gives_what_it_has() {
    let (bench, versions) = two(209);
    let other = stranger(210, &versions);
    let name = below(&other, "packs/data/").remove(0);
    let len = other.store.bytes(&name).unwrap().len();
    flip(&other, &name, len - 1 - 44);
    for name in below(&bench, "packs/data/") {
        bench.store.lose(&name);
    }
    let report = repaired_from(&bench, &other, RepairOptions::default()).unwrap();
    assert!(!report.is_whole() && !report.plan.recuts.is_empty(), "{report:?}");
    assert_eq!(is_marked_exactly(&bench, &versions), report.damaged.len());
    again_is_nothing(&bench, RepairOptions::default());
}

#[test]
fn both_keys_have_to_read_content() {
    let (bench, versions) = two(211);
    let other = stranger(212, &versions);
    let limited = |bench: &Bench, role| {
        let key = Credential::KeyFile(Secret::new([role as u8; 32]));
        run(repository::key::add(&bench.open(), role, &key, "x")).unwrap();
        bench.open_on(Arc::new(bench.store.clone()), &key).unwrap()
    };
    let refused = |here: &Repository, there: &Repository, word: &str| {
        let error = by(here, there, RepairOptions::default()).unwrap_err();
        assert_eq!(error.kind(), ErrorKind::WrongKey, "{error}");
        assert!(error.to_string().contains(word), "{error}");
    };
    refused(&limited(&bench, Role::Prune), &other.open(), "with other keys needs");
    refused(&bench.open(), &limited(&other, Role::Backup), "repository of --from");
    bench.store.lose(&below(&bench, "packs/data/")[0]);
    assert!(by(&bench.open(), &limited(&other, Role::Read), RepairOptions::default()).unwrap().is_whole());
    all_restore(&bench, &versions);
}

/// A crash at every store call, here and there: the next repair ends the work.
#[test]
fn a_crash_at_every_store_call() {
    let (base, versions) = two(213);
    let other = stranger(214, &versions);
    for prefix in ["packs/data/", "packs/map/"] {
        base.store.lose(&below(&base, prefix)[0]);
    }
    let crashing = |fork: &Bench, here: Arc<FaultDriver>, there: Arc<FaultDriver>| {
        let opened = fork.open_on(here, &fork.owner)?;
        by(&opened, &other.open_on(there, &other.owner)?, RepairOptions::default())
    };
    let faulty = |bench: &Bench, at: u64, fault: Fault| {
        let plan = move |n, _, _: &str| if n == at { fault } else { Fault::None };
        Arc::new(FaultDriver::new(Arc::new(bench.store.clone()), plan))
    };
    let whole = base.fork();
    let (here, there) = (faulty(&whole, u64::MAX, Fault::None), faulty(&other, u64::MAX, Fault::None));
    assert!(crashing(&whole, here.clone(), there.clone()).unwrap().is_whole());
    let mut cases: Vec<(u64, u64, Fault)> = (0..here.calls())
        .flat_map(|at| [Fault::CrashBefore, Fault::CrashAfter].map(|f| (at, u64::MAX, f)))
        .collect();
    cases.extend((0..there.calls()).map(|at| (u64::MAX, at, Fault::CrashBefore)));
    for (at, there_at, fault) in cases {
        let fork = base.fork();
        let (here, there) = (faulty(&fork, at, fault), faulty(&other, there_at, fault));
        let crashed = crashing(&fork, here.clone(), there.clone());
        assert!(here.calls() > at || there.calls() > there_at, "call {at} or {there_at} was never made");
        drop(crashed);
        let report = repaired_from(&fork, &other, RepairOptions::default()).unwrap();
        assert!(report.is_whole(), "call {at} or {there_at}: {report:?}");
        again_is_nothing(&fork, RepairOptions::default());
        if at % 4 == 0 || there_at % 4 == 0 {
            all_restore(&fork, &versions);
        }
    }
    println!("{} store calls here, {} there", here.calls(), there.calls());
}

/// At each store call of a repair that cuts anew, a prune that deletes at once and a backup run from end to end.
#[test]
fn a_prune_and_a_backup_at_every_store_call() {
    let (base, versions) = two(217);
    let other = stranger(218, &versions);
    for prefix in ["packs/data/", "packs/map/"] {
        base.store.lose(&below(&base, prefix)[0]);
    }
    // marked, or a prune stops at what is missing
    assert!(!repaired(&base).is_whole());
    let at_call = |at: u64| {
        let fork = base.fork();
        let (store, owner, env, data) =
            (fork.store.clone(), fork.owner.clone(), fork.env.clone(), versions[1].clone());
        let plan = move |n, _, _: &str| {
            if n == at {
                let (store, owner, env) = (Arc::new(store.clone()), owner.clone(), env.clone());
                let data = data.clone();
                // one executor cannot run in another
                let beside = move || {
                    let exec = repository::Exec::inline();
                    let opened = run(Repository::open(store, &exec, &env, &owner)).unwrap();
                    drop(pruned(&opened, Duration::ZERO));
                    run(repository::backup::backup(&opened, request(&data), &Arc::default())).unwrap();
                };
                std::thread::spawn(beside).join().unwrap();
            }
            Fault::None
        };
        let driver = Arc::new(FaultDriver::new(Arc::new(fork.store.clone()), plan));
        let opened = fork.open_on(driver.clone(), &fork.owner).unwrap();
        let report = by(&opened, &other.open(), RepairOptions::default());
        (fork, driver.calls(), report)
    };
    let (_, calls, _) = at_call(u64::MAX);
    for at in 5..calls {
        let (fork, _, report) = at_call(at);
        let report = report.unwrap();
        assert!(report.is_whole(), "call {at}: {report:?}");
        let after = pruned(&fork.open(), Duration::ZERO).unwrap();
        assert!(after.lost.is_empty(), "call {at}: {after:?}");
        all_restore(&fork, &versions);
        let errors = fork.check().unwrap().errors;
        assert!(errors.is_empty(), "call {at}: {errors:?}");
    }
    println!("{calls} store calls");
}
