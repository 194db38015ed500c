//! Every backup restores bit-identical: holes, odd sizes, all chunkers and levels, streams,
//! increments, interrupted and concurrent sessions.

use proptest::prelude::*;
use repo_format::config::Chunking;
use repository::backup::{BackupRequest, CompressionLevel, backup};
use repository::progress::Progress;
use repository::{Exec, Repository};
use std::sync::Arc;
use tests::engine::{Bench, stream, volume};

fn chunkings() -> impl Strategy<Value = Chunking> {
    prop_oneof![Just(Chunking::blocks()), (2u32..40).prop_map(|blocks| Chunking::fixed(blocks).unwrap())]
}

fn levels() -> impl Strategy<Value = CompressionLevel> {
    use CompressionLevel::{Auto, Level, Off};
    prop_oneof![Just(Auto), Just(Off), (-7i32..=9).prop_map(Level)]
}

fn sizes() -> impl Strategy<Value = usize> {
    prop_oneof![
        prop::sample::select(vec![0, 1, 4095, 4096, 4097, 8192, 32_768, 131_072, 4 << 20]),
        0usize..900_000,
        (4usize << 20)..(9 << 20),
    ]
}

/// A change somewhere: overwritten, zeroed, grown, cut or shifted.
fn change(data: &[u8], kind: u8, at: usize, seed: u64) -> Vec<u8> {
    let mut new = data.to_vec();
    let at = if data.is_empty() { 0 } else { at % data.len() };
    let end = (at + 20_000).min(data.len());
    match kind % 5 {
        0 => new[at..end].copy_from_slice(&tests::data::bytes(seed, end - at)),
        1 => new[at..end].fill(0),
        2 => new.extend(tests::data::mixed(seed, 70_001)),
        3 => new.truncate(at),
        _ => new.splice(at..at, tests::data::bytes(seed, 4097)).for_each(drop),
    }
    new
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 40, ..ProptestConfig::default() })]

    #[test]
    fn two_versions_restore(
        (seed, size, chunking, level) in (any::<u64>(), sizes(), chunkings(), levels()),
        (kind, at) in (any::<u8>(), any::<usize>()),
    ) {
        let bench = Bench::with_chunking(seed, chunking);
        let old = tests::data::mixed(seed, size);
        let new = change(&old, kind, at, seed);
        for data in [&old, &new] {
            let request = BackupRequest {
                volumes: vec![volume("v/blocks", data), stream("v/stream", data)],
                compression: level,
                ..Default::default()
            };
            let report = bench.backup(request).unwrap();
            prop_assert_eq!(report.bytes_scanned, 2 * data.len() as u64);
        }
        let snapshots = bench.snapshots();
        for (entry, data) in snapshots.iter().zip([&old, &new]) {
            for name in ["v/blocks", "v/stream"] {
                prop_assert!(bench.restore(entry, name).unwrap() == **data, "{} differs", name);
            }
        }
        prop_assert_eq!(bench.check().unwrap().errors.len(), 0);
        let again = bench.backup(BackupRequest {
            volumes: vec![volume("v/other-name", &new)],
            compression: level,
            ..Default::default()
        }).unwrap();
        prop_assert_eq!((again.chunks_new, again.bytes_new), (0, 0), "the same content under another name");
        let snapshots = bench.snapshots();
        prop_assert_eq!(
            snapshots[1].snapshot.volumes[0].root,
            snapshots[2].snapshot.volumes[0].root,
            "an incremental map equals a full scan's"
        );
    }
}

/// Sessions of several threads at once on one store; each commits, each restores.
#[test]
fn concurrent_sessions() {
    let bench = Bench::new(41);
    let versions: Vec<Vec<u8>> = (0..4)
        .map(|n| [tests::data::mixed(7, 2_000_000), tests::data::mixed(n, 1_000_000)].concat())
        .collect();
    std::thread::scope(|scope| {
        for (n, data) in versions.iter().enumerate() {
            let bench = &bench;
            scope.spawn(move || {
                let runtime = tokio::runtime::Builder::new_multi_thread()
                    .worker_threads(1)
                    .enable_time()
                    .build()
                    .unwrap();
                runtime.block_on(async {
                    let (exec, driver) = (Exec::threads(2).unwrap(), Arc::new(bench.store.clone()));
                    let repository = Repository::open(driver, &exec, &bench.env, &bench.owner).await.unwrap();
                    for round in 0..3 {
                        let volumes = vec![volume(&format!("v/{n}"), data)];
                        let request =
                            BackupRequest { volumes, name: format!("{round}"), ..Default::default() };
                        backup(&repository, request, &Arc::new(Progress::default())).await.unwrap();
                    }
                });
            });
        }
    });
    let snapshots = bench.snapshots();
    assert_eq!(snapshots.len(), 12);
    for entry in &snapshots {
        let name = &entry.snapshot.volumes[0].name;
        let n: usize = name[2..].parse().unwrap();
        assert!(bench.restore(entry, name).unwrap() == versions[n], "{name} differs");
    }
    assert_eq!(bench.check().unwrap().errors.len(), 0);
}

/// What a session that was cancelled had uploaded is not uploaded again.
#[test]
fn an_interrupted_backup_is_continued() {
    let bench = Bench::new(42);
    let data = tests::data::bytes(9, 24 << 20);
    let repository = bench.open();
    let cancel = bench.exec.cancel_handle();
    let whole = tests::engine::MemoryVolume(data.clone());
    let source = tests::engine::CancellingVolume::new(whole, 12 << 20, cancel);
    let request = BackupRequest { volumes: vec![source.into_input("v/data")], ..Default::default() };
    let error = tests::engine::run(backup(&repository, request, &Arc::new(Progress::default()))).unwrap_err();
    assert!(matches!(error, repository::Error::Cancelled), "{error}");
    let bench = bench.fork();
    let report =
        bench.backup(BackupRequest { volumes: vec![volume("v/data", &data)], ..Default::default() }).unwrap();
    assert!(report.bytes_new < (14 << 20), "{report:?}");
    assert!(report.chunks_reused > 0);
    assert!(bench.restore(&bench.snapshots()[0], "v/data").unwrap() == data);
}
