//! Every bit of every object of a small repository is flipped, every object is lost: found, named.

use repo_format::SnapshotId;
use repo_format::config::Config;
use repo_format::layout::ObjectName;
use repo_format::sealed::{Class, object_hash};
use repository::backup::BackupRequest;
use repository::check::{CheckReport, scrub};
use repository::progress::Progress;
use repository::store::MemoryDriver;
use repository::{Error, Result};
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use tests::engine::{Bench, manifest, run, volume};

/// A repository with at least one object of each kind that a backup leaves.
fn small() -> (Bench, SnapshotId) {
    let bench = Bench::new(21);
    let data = tests::data::bytes(1, 6_000);
    let report = bench
        .backup(BackupRequest {
            volumes: vec![volume("shop/data", &data)],
            manifests: [manifest("a", r#"{"kind":"ConfigMap"}"#)].into(),
            ..Default::default()
        })
        .unwrap();
    (bench, report.snapshot_id.unwrap())
}

/// Whether the damage of `object` was noticed under its name: by `check`, or by opening at all.
fn named(found: &Result<CheckReport>, object: &str) -> bool {
    match found {
        Ok(report) => report.errors.iter().any(|finding| finding.object == object),
        Err(Error::Format { object: at, .. } | Error::Damage { object: at, .. }) => at == object,
        Err(_) => false,
    }
}

/// Snapshots that are said to be hurt by the damage of `object`.
fn hurt<'a>(found: &'a Result<CheckReport>, object: &str) -> Vec<&'a SnapshotId> {
    let report = found.as_ref().unwrap();
    report.errors.iter().filter(|f| f.object == object).flat_map(|f| &f.snapshots).collect()
}

#[test]
fn every_flipped_bit_is_found() {
    let (bench, sid) = small();
    assert!(bench.check().unwrap().errors.is_empty());
    let flips: Vec<(String, usize)> = bench
        .store
        .names()
        .into_iter()
        .flat_map(|name| {
            let bits = bench.store.bytes(&name).unwrap().len() * 8;
            (0..bits).map(move |bit| (name.clone(), bit))
        })
        .collect();
    let next = AtomicUsize::new(0);
    std::thread::scope(|scope| {
        for _ in 0..2 {
            scope.spawn(|| {
                while let Some((name, bit)) = flips.get(next.fetch_add(1, Ordering::Relaxed)) {
                    let fork = bench.fork();
                    let mut bytes = fork.store.bytes(name).unwrap().to_vec();
                    bytes[bit / 8] ^= 1 << (bit % 8);
                    fork.store.tamper(name, bytes);
                    let found = fork.check();
                    assert!(named(&found, name), "bit {bit} of {name}: {found:?}");
                    if name.starts_with("packs/") || name.starts_with("snapshots/") {
                        assert!(hurt(&found, name).contains(&&sid), "bit {bit} of {name}: {found:?}");
                    }
                }
            });
        }
    });
    println!("{} bits flipped in {} objects", flips.len(), bench.store.names().len());
    assert!(flips.len() > 60_000, "{} bits", flips.len());
}

#[test]
fn every_cut_and_extended_object_is_found() {
    let (bench, _) = small();
    for name in bench.store.names() {
        let whole = bench.store.bytes(&name).unwrap();
        let longer = [&whole[..], b"x"].concat();
        for bytes in
            [whole.slice(..whole.len() - 1), whole.slice(..whole.len() / 2), whole.slice(..0), longer.into()]
        {
            let fork = bench.fork();
            let len = bytes.len();
            fork.store.tamper(&name, bytes);
            let found = fork.check();
            assert!(named(&found, &name), "{name} of {len} bytes: {found:?}");
        }
    }
}

/// What something else names is missed; a snapshot or a slot, which nothing names, cannot be.
#[test]
fn every_missing_object_that_is_named_is_found() {
    let (bench, sid) = small();
    let mut seen = 0;
    for name in bench.store.names().into_iter().filter(|name| name.starts_with("packs/")) {
        let fork = bench.fork();
        fork.store.lose(&name);
        let found = fork.check();
        assert!(named(&found, &name), "{name}: {found:?}");
        assert!(hurt(&found, &name).contains(&&sid), "{name}: {found:?}");
        seen += 1;
    }
    assert_eq!(seen, 2, "a data and a map pack");
    for name in bench.store.names().into_iter().filter(|name| name.starts_with("index/")) {
        let fork = bench.fork();
        fork.store.lose(&name);
        let report = fork.check().unwrap();
        assert!(report.errors.iter().any(|finding| finding.snapshots.contains(&sid)), "{name}: {report:?}");
    }
}

/// Whoever has the bytes, and no key, finds the same flips.
#[test]
fn scrub_finds_every_flipped_bit_without_a_key() {
    let (bench, _) = small();
    let mut flips = 0;
    for name in bench.store.names() {
        let whole = bench.store.bytes(&name).unwrap();
        // the other objects are whole: a store without them keeps it quick
        let alone = MemoryDriver::new(bench.env.clock.clone());
        let config = ObjectName::Config(0).to_string();
        alone.tamper(&config, bench.store.bytes(&config).unwrap());
        for bit in 0..whole.len() * 8 {
            let mut bytes = whole.to_vec();
            bytes[bit / 8] ^= 1 << (bit % 8);
            alone.tamper(&name, bytes);
            let progress = Arc::new(Progress::default());
            let report = run(scrub(Arc::new(alone.clone()), &bench.exec, &bench.env, &progress)).unwrap();
            assert!(report.errors.iter().any(|finding| finding.object == name), "bit {bit} of {name}");
            flips += 1;
        }
        alone.tamper(&name, whole);
        let report =
            run(scrub(Arc::new(alone), &bench.exec, &bench.env, &Arc::new(Progress::default()))).unwrap();
        assert!(report.errors.is_empty(), "{:?}", report.errors);
    }
    assert!(flips > 60_000, "{flips} bits");
}

/// A config names the one before it: a lower one that is missing or swapped is found.
#[test]
fn a_broken_config_chain_is_found() {
    let (bench, sid) = small();
    let owner = bench.open();
    let first = ObjectName::Config(0).to_string();
    let prev = Some(object_hash(&bench.store.bytes(&first).unwrap()));
    let name = ObjectName::Config(1);
    let next = Config { n: 1, prev, ..owner.config().clone() };
    let sealed = owner.seal_signed(Class::Config, &name, &next.encode().unwrap()).unwrap();
    bench.store.tamper(&name.to_string(), sealed);
    assert_eq!(bench.open().config().n, 1, "the highest one counts");
    assert!(bench.check().unwrap().errors.is_empty());
    let fork = bench.fork();
    fork.store.lose(&first);
    let found = fork.check();
    assert!(named(&found, &first), "{found:?}");
    assert!(hurt(&found, &first).contains(&&sid), "{found:?}");
    // signed by the right key, and not the one that config 1 follows
    let fork = bench.fork();
    let other = Config { created_ms: 1, ..owner.config().clone() };
    let swapped = owner.seal_signed(Class::Config, &ObjectName::Config(0), &other.encode().unwrap()).unwrap();
    fork.store.tamper(&first, swapped);
    let report = fork.check().unwrap();
    assert!(report.errors.iter().any(|finding| finding.object.starts_with("config/")), "{report:?}");
}
