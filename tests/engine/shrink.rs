//! What prune leaves of random histories: about what a repository takes that never held anything else.

use repository::backup::BackupRequest;
use repository::forget::forget;
use repository::progress::Progress;
use repository::prune::{MaxUnused, PruneOptions, PruneReport, prune};
use std::sync::Arc;
use std::time::Duration;
use tests::engine::{Bench, run, volume};
use tests::sim::rng::Rng;

/// Bytes of a volume.
const VOLUME_LEN: u64 = 1_200_000;

/// Versions of a volume, each with some ranges of the one before written anew.
fn history(rng: &mut Rng, seed: u64) -> Vec<Vec<u8>> {
    let mut versions = vec![tests::data::bytes(seed, VOLUME_LEN as usize)];
    for n in 1..4 + rng.below(3) {
        let mut next = versions[versions.len() - 1].clone();
        for edit in 0..1 + rng.below(12) {
            let len = 512 + rng.below(120_000);
            let start = rng.below(VOLUME_LEN - len) as usize;
            let new = tests::data::bytes(seed * 1000 + n * 50 + edit, len as usize);
            next[start..start + len as usize].copy_from_slice(&new);
        }
        versions.push(next);
    }
    versions
}

fn backup(bench: &Bench, data: &[u8]) -> repo_format::SnapshotId {
    let request = BackupRequest { volumes: vec![volume("v/one", data)], ..Default::default() };
    bench.backup(request).unwrap().snapshot_id.unwrap()
}

fn pruned(bench: &Bench, dry_run: bool) -> PruneReport {
    let options = PruneOptions {
        undelete_window: Duration::ZERO,
        max_unused: MaxUnused::Percent(0.0),
        dry_run,
        ..Default::default()
    };
    run(prune(&bench.open(), options, &Arc::new(Progress::default()))).unwrap()
}

/// Bytes of all objects.
fn stored(bench: &Bench) -> u64 {
    bench.store.names().iter().map(|name| bench.store.bytes(name).unwrap().len() as u64).sum()
}

/// Within so many percent of each other.
fn near(a: u64, b: u64, percent: u64) -> bool {
    a.abs_diff(b) * 100 <= b * percent
}

#[test]
fn random_histories_shrink_to_what_they_would_have_been() {
    for seed in 0..12 {
        let mut rng = Rng::new(seed);
        let versions = history(&mut rng, 100 + seed);
        let bench = Bench::new(300 + seed);
        let sids: Vec<_> = versions.iter().map(|data| backup(&bench, data)).collect();
        // the newest stays, at least one goes
        let last = versions.len() - 1;
        let goes: Vec<bool> =
            (0..=last).map(|n| n < last && (n == seed as usize % last || rng.chance(500))).collect();
        let of = |gone: bool| goes.iter().enumerate().filter(move |(_, goes)| **goes == gone).map(|(n, _)| n);
        let dropped: Vec<_> = of(true).map(|n| sids[n]).collect();
        run(forget(&bench.open(), &dropped, false)).unwrap();
        let dry = pruned(&bench, true);
        let report = pruned(&bench, false);
        assert!(report.lost.is_empty() && report.warnings.is_empty(), "seed {seed}: {report:?}");
        assert!(near(report.bytes_freed, dry.plan.bytes_condemned(), 2), "seed {seed}: {dry:?} {report:?}");
        assert!(
            near(report.bytes_repacked, dry.plan.bytes_to_repack(), 2),
            "seed {seed}: {dry:?} {report:?}"
        );
        // the same keys, hence the same cuts
        let fresh = Bench::new(300 + seed);
        for n in of(false) {
            backup(&fresh, &versions[n]);
        }
        let (after, ideal) = (stored(&bench), stored(&fresh));
        println!(
            "seed {seed}: {} of {} dropped, {after} bytes, {ideal} ideal",
            dropped.len(),
            versions.len()
        );
        assert!(after * 100 <= ideal * 103, "seed {seed}: {after} bytes are stored, {ideal} would be");
        for (entry, n) in bench.snapshots().iter().zip(of(false)) {
            assert!(bench.restore(entry, "v/one").unwrap() == versions[n], "seed {seed}");
        }
        assert_eq!(bench.check().unwrap().errors, vec![], "seed {seed}");
    }
}
