//! The process ends before or after each store call of each command that writes: what was committed
//! restores, the check is clean, and the next run needs no manual step.

use repo_format::config::Chunking;
use repo_format::kdf::Secret;
use repo_format::keys::Role;
use repository::backup::BackupRequest;
use repository::progress::Progress;
use repository::store::fault::{Fault, FaultDriver};
use repository::{Credential, Result, backup, key};
use std::sync::Arc;
use tests::engine::{Bench, manifest, run, stream, volume};

/// Runs `command` on forks of `base`, with a crash at every call; `verify` looks at what is left.
/// Says how many calls there are.
pub(crate) fn crash_everywhere(
    base: &Bench,
    command: impl Fn(&Bench, Arc<FaultDriver>) -> Result<()>,
    verify: impl Fn(&Bench),
) -> u64 {
    let whole = base.fork();
    let counter = Arc::new(FaultDriver::new(Arc::new(whole.store.clone()), |_, _, _| Fault::None));
    command(&whole, counter.clone()).unwrap();
    verify(&whole);
    let calls = counter.calls();
    for at in 0..calls {
        for fault in [Fault::CrashBefore, Fault::CrashAfter] {
            let fork = base.fork();
            let plan = move |n, _, _: &str| if n == at { fault } else { Fault::None };
            let driver = Arc::new(FaultDriver::new(Arc::new(fork.store.clone()), plan));
            let _ = command(&fork, driver.clone());
            assert!(driver.calls() > at, "call {at} was never made");
            verify(&fork);
        }
    }
    calls
}

pub(crate) fn request(data: &[u8]) -> BackupRequest {
    BackupRequest {
        volumes: vec![volume("shop/data", data), stream("shop/log", &data[..data.len() / 2])],
        manifests: [manifest("a", r#"{"kind":"ConfigMap"}"#), manifest("b", r#"{"kind":"ConfigMap","x":1}"#)]
            .into(),
        ..Default::default()
    }
}

pub(crate) fn backup_on(bench: &Bench, driver: Arc<FaultDriver>, data: &[u8]) -> Result<()> {
    let repository = bench.open_on(driver, &bench.owner)?;
    run(backup::backup(&repository, request(data), &Arc::new(Progress::default()))).map(|_| ())
}

/// Every snapshot is one of `versions`, the check is clean, and the next backup just works.
pub(crate) fn is_sound(bench: &Bench, versions: &[&[u8]], at_least: usize) {
    for round in 0..2 {
        // what is forgotten may be gone in part
        let snapshots: Vec<_> = bench.snapshots().into_iter().filter(|entry| !entry.forgotten).collect();
        assert!(snapshots.len() >= at_least + round, "{} snapshots", snapshots.len());
        for entry in &snapshots {
            let restored = bench.restore(entry, "shop/data").unwrap();
            assert!(versions.contains(&restored.as_slice()), "wrong bytes");
            assert_eq!(bench.restore(entry, "shop/log").unwrap(), restored[..restored.len() / 2]);
        }
        let report = bench.check().unwrap();
        assert!(report.errors.is_empty(), "{:?}", report.errors);
        if round == 0 {
            bench.backup(request(versions[versions.len() - 1])).unwrap();
        }
    }
}

#[test]
fn a_first_backup() {
    let base = Bench::new(11);
    let data = tests::data::mixed(1, 400_000);
    let calls = crash_everywhere(
        &base,
        |bench, driver| backup_on(bench, driver, &data),
        |bench| is_sound(bench, &[&data], 0),
    );
    println!("{calls} store calls, each with a crash before and after");
    assert!(calls >= 15, "{calls} calls");
}

#[test]
fn an_incremental_backup() {
    let base = Bench::new(12);
    let old = tests::data::mixed(2, 300_000);
    let mut new = old.clone();
    new[100_000..170_000].copy_from_slice(&tests::data::bytes(3, 70_000));
    base.backup(request(&old)).unwrap();
    let calls = crash_everywhere(
        &base,
        |bench, driver| backup_on(bench, driver, &new),
        |bench| is_sound(bench, &[&old, &new], 1),
    );
    println!("{calls} store calls, each with a crash before and after");
    assert!(calls >= 18, "{calls} calls");
}

#[test]
fn init() {
    let base = Bench::bare(13);
    let calls = crash_everywhere(
        &base,
        |bench, driver| bench.init_on(driver, Chunking::blocks()).map(|_| ()),
        |bench| {
            // either it is there, or it can simply be made
            let again = bench.init_on(Arc::new(bench.store.clone()), Chunking::blocks());
            if let Err(error) = again {
                assert_eq!(error.kind(), repository::ErrorKind::Conflict, "{error}");
            }
            is_sound(bench, &[&[7; 5000]], 0);
        },
    );
    assert!(calls >= 30, "{calls} calls, the probe's races among them");
}

#[test]
fn key_commands() {
    let base = Bench::new(14);
    let data = tests::data::mixed(4, 50_000);
    base.backup(request(&data)).unwrap();
    let other = Credential::KeyFile(Secret::new([0x77; 32]));
    let added = crash_everywhere(
        &base,
        |bench, driver| {
            let repository = bench.open_on(driver, &bench.owner)?;
            run(key::add(&repository, Role::Read, &other, "reader")).map(|_| ())
        },
        |bench| is_sound(bench, &[&data], 1),
    );
    assert!(added >= 4, "{added} calls");
    let with_reader = base.fork();
    let reader = run(key::add(&with_reader.open(), Role::Read, &other, "reader")).unwrap();
    let removed = crash_everywhere(
        &with_reader,
        |bench, driver| {
            let repository = bench.open_on(driver, &bench.owner)?;
            run(key::remove(&repository, reader))
        },
        |bench| is_sound(bench, &[&data], 1),
    );
    assert!(removed >= 4, "{removed} calls");
    crash_everywhere(
        &base,
        |bench, driver| {
            let repository = bench.open_on(driver, &bench.owner)?;
            run(key::passwd(&repository, &other)).map(|_| ())
        },
        |bench| {
            // the old or the new credential opens it, and nothing is lost in between
            let opens =
                |credential: &Credential| bench.open_on(Arc::new(bench.store.clone()), credential).is_ok();
            assert!(opens(&bench.owner) || opens(&other));
            let mut bench = bench.fork();
            if !opens(&bench.owner) {
                bench.owner = other.clone();
            }
            is_sound(&bench, &[&data], 1);
        },
    );
}

/// A put whose answer is lost, and reads that fail for a while, are no crash: the backup succeeds.
#[test]
fn lost_answers_are_survived() {
    let base = Bench::new(15);
    let data = tests::data::mixed(5, 200_000);
    let mut met = 0;
    for salt in 1..6u64 {
        for fault in [Fault::FailBefore, Fault::FailAfter] {
            let fork = base.fork();
            // about one call in eight
            let hits = move |n: u64| (n + salt).wrapping_mul(0x9e37_79b9_7f4a_7c15) >> 61 == 0;
            let plan = move |n: u64, _, _: &str| if hits(n) { fault } else { Fault::None };
            let driver = Arc::new(FaultDriver::new(Arc::new(fork.store.clone()), plan));
            backup_on(&fork, driver.clone(), &data).unwrap();
            met += (0..driver.calls()).filter(|n| hits(*n)).count();
            is_sound(&fork, &[&data], 1);
        }
    }
    assert!(met > 10, "{met} faults");
}

mod deletion {
    use super::*;
    use repository::forget::forget;
    use repository::prune::{MaxUnused, PruneOptions, prune};
    use repository::undelete::undelete;
    use std::time::Duration;

    /// A repository of which half of some packs is not needed any more, and some packs at all.
    fn base(seed: u64) -> (Bench, Vec<u8>, Vec<u8>, repo_format::SnapshotId) {
        let base = Bench::new(seed);
        let old = tests::data::bytes(seed, 300_000);
        let mut new = tests::data::bytes(seed + 1, 300_000);
        new[..150_000].copy_from_slice(&old[..150_000]);
        let first = base.backup(request(&old)).unwrap().snapshot_id.unwrap();
        base.backup(request(&new)).unwrap();
        (base, old, new, first)
    }

    fn options(window: u64) -> PruneOptions {
        PruneOptions {
            undelete_window: Duration::from_secs(window),
            max_unused: MaxUnused::Percent(0.0),
            ..PruneOptions::default()
        }
    }

    fn prune_on(bench: &Bench, driver: Arc<FaultDriver>, window: u64) -> Result<()> {
        let repository = bench.open_on(driver, &bench.owner)?;
        run(prune(&repository, options(window), &Arc::new(Progress::default()))).map(|_| ())
    }

    /// Sound, and the next prune needs no manual step to bring the repository down to what it needs.
    fn comes_down(bench: &Bench, versions: &[&[u8]], at_least: usize) {
        is_sound(bench, versions, at_least);
        let report = run(prune(&bench.open(), options(0), &Arc::new(Progress::default()))).unwrap();
        assert!(report.lost.is_empty(), "{report:?}");
        is_sound(bench, versions, at_least);
        let again = run(prune(&bench.open(), options(0), &Arc::new(Progress::default()))).unwrap();
        assert_eq!((again.packs_condemned, again.bytes_waiting), (0, 0), "{again:?}");
    }

    #[test]
    fn forgetting() {
        let (base, old, new, first) = base(21);
        let calls = crash_everywhere(
            &base,
            |bench, driver| {
                let repository = bench.open_on(driver, &bench.owner)?;
                run(forget(&repository, &[first], false)).map(|_| ())
            },
            |bench| is_sound(bench, &[&old, &new], 1),
        );
        assert!(calls >= 4, "{calls} calls");
    }

    #[test]
    fn a_prune_that_deletes_at_once() {
        let (base, old, new, first) = base(22);
        run(forget(&base.open(), &[first], false)).unwrap();
        let calls = crash_everywhere(
            &base,
            |bench, driver| prune_on(bench, driver, 0),
            |bench| comes_down(bench, &[&old, &new], 1),
        );
        println!("{calls} store calls, each with a crash before and after");
        assert!(calls >= 60, "{calls} calls");
    }

    #[test]
    fn an_undelete() {
        let (base, old, new, first) = base(23);
        run(forget(&base.open(), &[first], false)).unwrap();
        run(prune(&base.open(), options(3600), &Arc::new(Progress::default()))).unwrap();
        let calls = crash_everywhere(
            &base,
            |bench, driver| {
                let repository = bench.open_on(driver, &bench.owner)?;
                run(undelete(&repository, first, &Arc::new(Progress::default()))).map(|_| ())
            },
            |bench| comes_down(bench, &[&old, &new], 1),
        );
        println!("{calls} store calls, each with a crash before and after");
        assert!(calls >= 25, "{calls} calls");
    }
}
