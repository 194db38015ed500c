//! Restoring over what is there: the target becomes the volume, whatever it was, and what was right is neither
//! fetched nor written.

use proptest::prelude::*;
use repo_format::config::Chunking;
use repository::Result;
use repository::backup::BackupRequest;
use repository::progress::Progress;
use repository::restore::{RestoreReport, RestoreRequest, RestoreVolume, restore};
use std::path::Path;
use std::sync::Arc;
use tests::engine::{Bench, run, stream, volume};

fn in_place(bench: &Bench, name: &str, target: &Path) -> Result<RestoreReport> {
    let request = RestoreRequest {
        snapshot: bench.snapshots().pop().unwrap().snapshot,
        volumes: vec![RestoreVolume { name: name.into(), target: target.to_owned() }],
        force: false,
        verify: true,
        allow_damaged: false,
        in_place: true,
    };
    run(restore(&bench.open(), request, &Arc::new(Progress::default())))
}

/// What the target held before: nothing, the volume, or the volume after some accident.
fn accident(data: &[u8], kind: u8, at: usize, seed: u64) -> Vec<u8> {
    let mut old = data.to_vec();
    let at = if data.is_empty() { 0 } else { at % data.len() };
    let end = (at + 30_000).min(data.len());
    match kind {
        0 => old.clear(),
        1 => old[at..end].copy_from_slice(&tests::data::bytes(seed, end - at)),
        2 => old[at..end].fill(0),
        3 => old.truncate(at),
        4 => old.extend(tests::data::bytes(seed, 100_003)),
        5 => old = tests::data::bytes(seed, data.len()),
        _ => {}
    }
    old
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 40, ..ProptestConfig::default() })]

    #[test]
    fn a_target_becomes_the_volume(
        (seed, fixed) in (any::<u64>(), any::<bool>()),
        size in prop_oneof![Just(0usize), 1usize..300_000, (4usize << 20)..(18 << 20)],
        (kind, at) in (0u8..7, any::<usize>()),
    ) {
        let chunking = if fixed { Chunking::fixed(16).unwrap() } else { Chunking::blocks() };
        let bench = Bench::with_chunking(seed, chunking);
        let data = tests::data::mixed(seed, size);
        let volumes = vec![volume("v/blocks", &data), stream("v/stream", &data)];
        bench.backup(BackupRequest { volumes, ..Default::default() }).unwrap();
        let folder = tempfile::tempdir().unwrap();
        let target = folder.path().join("image");
        for name in ["v/blocks", "v/stream"] {
            std::fs::write(&target, accident(&data, kind, at, !seed)).unwrap();
            let report = in_place(&bench, name, &target).unwrap();
            prop_assert!(std::fs::read(&target).unwrap() == data, "{} differs", name);
            prop_assert!(report.bytes_kept <= size as u64);
            if kind == 6 {
                prop_assert_eq!((report.bytes_kept, report.bytes_written), (size as u64, 0));
            }
            let again = in_place(&bench, name, &target).unwrap();
            prop_assert_eq!((again.bytes_kept, again.bytes_written), (size as u64, 0));
        }
    }
}

#[test]
fn a_small_difference_fetches_little() {
    let bench = Bench::new(11);
    let data = tests::data::bytes(11, 24 << 20);
    bench.backup(BackupRequest { volumes: vec![volume("v/a", &data)], ..Default::default() }).unwrap();
    let folder = tempfile::tempdir().unwrap();
    let target = folder.path().join("image");
    let mut there = data.clone();
    there[10 << 20] ^= 1;
    std::fs::write(&target, &there).unwrap();
    let report = in_place(&bench, "v/a", &target).unwrap();
    assert!(std::fs::read(&target).unwrap() == data);
    assert!(report.bytes_written <= 128 << 10 && report.bytes_fetched < 1 << 20, "{report:?}");
    assert_eq!(report.bytes_kept + report.bytes_written, data.len() as u64);
}

#[test]
fn what_should_be_a_hole_becomes_one() {
    use std::os::unix::fs::MetadataExt;
    let bench = Bench::new(12);
    let mut data = tests::data::bytes(12, 1 << 20);
    data.resize(16 << 20, 0);
    bench.backup(BackupRequest { volumes: vec![volume("v/a", &data)], ..Default::default() }).unwrap();
    let folder = tempfile::tempdir().unwrap();
    let target = folder.path().join("image");
    std::fs::write(&target, tests::data::bytes(13, 20 << 20)).unwrap();
    in_place(&bench, "v/a", &target).unwrap();
    assert!(std::fs::read(&target).unwrap() == data);
    let blocks = std::fs::metadata(&target).unwrap().blocks() * 512;
    assert!(blocks < 4 << 20, "{blocks} bytes on disk");
}
