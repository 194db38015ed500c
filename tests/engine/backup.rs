//! What a second backup finds of the first.

use repository::backup::BackupRequest;
use tests::engine::{Bench, volume};

#[test]
fn an_unchanged_volume_costs_a_snapshot_and_nothing_else() {
    let bench = Bench::new(1);
    let data = tests::data::bytes(7, 3_000_001);
    let first =
        bench.backup(BackupRequest { volumes: vec![volume("a/b", &data)], ..Default::default() }).unwrap();
    assert!(first.chunks_new > 20 && first.bytes_new >= 3_000_001, "{first:?}");
    let again =
        bench.backup(BackupRequest { volumes: vec![volume("a/b", &data)], ..Default::default() }).unwrap();
    assert_eq!((again.chunks_new, again.bytes_new), (0, 0));
    assert_eq!(again.bytes_read, 3_000_001);
    assert!(again.bytes_stored < 4096, "{again:?}");
    assert_eq!(again.parent_id, first.snapshot_id);
    let stored: Vec<u64> =
        bench.snapshots().iter().map(|entry| entry.snapshot.volumes[0].stats.bytes_stored).collect();
    // content that does not compress, and what sealing adds; less than all objects together
    assert!(stored[0] > 3_000_001 && stored[0] < first.bytes_stored, "{stored:?}, {first:?}");
    assert_eq!(stored[1], 0);
}
