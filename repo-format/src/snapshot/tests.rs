use super::*;
use crate::cbor::{Map, Value};
use crate::golden;
use proptest::prelude::*;

/// A snapshot with every field set.
fn full() -> Snapshot {
    let volume = Volume {
        name: "shop/db".into(),
        uid: Some("b7d4".into()),
        size: 1 << 40,
        mode: VolumeMode::Block,
        storage_class: Some("fast".into()),
        chunker: Chunker::Blocks { min: 2, avg: 8, max: 32 },
        root: Id([4; 32]),
        changed: Some(ChangedSource { driver: "csi.example".into(), handle: "vol-1".into(), id: vec![1, 2] }),
        stats: VolumeStats {
            bytes_read: 1,
            bytes_new: 2,
            bytes_stored: 3,
            chunks_new: 4,
            chunks_reused: 5,
            scan: Some("changed".into()),
            reason: Some("parent is final".into()),
            partial_scans: 0,
        },
    };
    let stream = Volume {
        name: "stdin".into(),
        uid: None,
        size: 0,
        mode: VolumeMode::Stream,
        storage_class: None,
        chunker: Chunker::FastCdc,
        root: Id::ZERO,
        changed: None,
        stats: VolumeStats::default(),
    };
    Snapshot {
        kind: SnapshotKind::Backup,
        sid: SnapshotId([1; 16]),
        domain: "main".into(),
        time: 1_795_000_000_000,
        name: Some("nightly".into()),
        group: "shop/daily".into(),
        labels: [("tier", "gold"), ("a-much-longer-key", "")].map(|(k, v)| (k.into(), v.into())).into(),
        cluster: Some(Cluster { uid: "c1".into(), name: "prod".into() }),
        application: Some(Application {
            namespaces: vec!["shop".into()],
            selector: Some("app in (web, db)".into()),
            hooks: vec!["freeze".into()],
            consistency: Some("application".into()),
        }),
        volumes: vec![volume, stream],
        catalogue: Some(CatalogueRoot { size: 1234, root: Id([5; 32]) }),
        parent: Some(SnapshotId([2; 16])),
        errors: vec![ItemError { item: "shop/cache".into(), message: "not ready".into() }],
        status: SnapshotStatus::Partial,
        tool: "orlop 0.1.0".into(),
    }
}

fn least() -> Snapshot {
    Snapshot::new(SnapshotId([1; 16]), "main", 0)
}

#[test]
fn round_trips_and_omits_what_is_absent() {
    for snapshot in [full(), least()] {
        assert_eq!(Snapshot::parse(&snapshot.encode().unwrap()), Ok(snapshot));
    }
    let keys = Value::parse(&least().encode().unwrap()).unwrap().into_map("").unwrap();
    let keys: Vec<&str> = keys.entries().iter().map(|(key, _)| key.as_str()).collect();
    assert_eq!(keys, ["sid", "kind", "time", "tool", "group", "domain", "status"]);
}

#[test]
fn a_count_of_partial_scans_is_there_or_absent() {
    let mut snapshot = full();
    for count in [1, 29, u32::MAX] {
        snapshot.volumes[0].stats.partial_scans = count;
        assert_eq!(Snapshot::parse(&snapshot.encode().unwrap()), Ok(snapshot.clone()));
    }
    for (count, is_large) in [(0_u64, false), (1 << 32, true)] {
        let mut stats = Map::new();
        for name in ["bytes_read", "bytes_new", "bytes_stored", "chunks_new", "chunks_reused"] {
            stats.set(name, 0_u64);
        }
        stats.set("partial_scans", count);
        let error = codec::parse_stats(stats).unwrap_err();
        assert_eq!(matches!(error, crate::Error::TooLarge { .. }), is_large, "{error}");
    }
}

#[test]
fn golden_snapshots() {
    golden::check("snapshot_full", &full().encode().unwrap());
    golden::check("snapshot_least", &least().encode().unwrap());
    assert_eq!(Snapshot::parse(&golden::read("snapshot_full")), Ok(full()));
    let pending = Pending { snapshot: vec![1, 2, 3], parent: Some(SnapshotId([2; 16])), g0: 7 };
    golden::check("pending", &pending.encode().unwrap());
    assert_eq!(Pending::parse(&golden::read("pending")), Ok(pending));
}

#[test]
fn every_cut_is_refused_and_no_flip_panics() {
    let bytes = full().encode().unwrap();
    for len in 0..bytes.len() {
        assert!(Snapshot::parse(&bytes[..len]).is_err(), "cut at {len}");
    }
    for bit in 0..bytes.len() * 8 {
        let mut flipped = bytes.clone();
        flipped[bit / 8] ^= 1 << (bit % 8);
        // Objects are sealed; a flip that parses must at least be another value, or an unknown
        // field's name.
        if let Ok(snapshot) = Snapshot::parse(&flipped) {
            assert_ne!(snapshot, full(), "bit {bit}");
        }
    }
}

#[test]
fn unknown_fields_are_left_alone() {
    let mut map = Value::parse(&full().encode().unwrap()).unwrap().into_map("").unwrap();
    map.set("from_the_future", 1);
    assert_eq!(Snapshot::parse(&Value::Map(map).encode()), Ok(full()));
}

fn refused(change: impl FnOnce(&mut Snapshot)) -> bool {
    let mut snapshot = full();
    change(&mut snapshot);
    snapshot.encode().is_err()
}

#[test]
fn what_cannot_be_is_not_written() {
    assert!(!refused(|_| ()));
    assert!(refused(|s| s.domain.clear()));
    assert!(refused(|s| s.domain = "d".repeat(65)));
    assert!(refused(|s| s.name = Some("n".repeat(1025))));
    assert!(refused(|s| drop(s.labels.insert("k".repeat(1025), String::new()))));
    assert!(refused(|s| s.volumes[1].name = s.volumes[0].name.clone()));
    assert!(refused(|s| s.volumes[1].size = 1));
    assert!(refused(|s| s.volumes[1].root = Id([1; 32])));
    assert!(refused(|s| s.catalogue = Some(CatalogueRoot { size: 11, root: Id([5; 32]) })));
    assert!(refused(|s| s.catalogue = Some(CatalogueRoot { size: 12, root: Id::ZERO })));
    assert!(refused(|s| s.errors = vec![ItemError::default(); 65_537]));
    for (min, avg, max) in
        [(0, 8, 32), (2, 1, 32), (9, 8, 32), (2, 33, 32), (2, 8, 1025), (1, 1, 1), (2, 33, 64)]
    {
        assert!(refused(|s| s.volumes[0].chunker = Chunker::Blocks { min, avg, max }), "{min} {avg} {max}");
    }
    assert!(!refused(|s| s.volumes[0].chunker = Chunker::Blocks { min: 16, avg: 16, max: 16 }));
    let long = Pending { snapshot: vec![0; (64 << 20) + 1], parent: None, g0: 0 };
    assert!(long.encode().is_err());
}

#[test]
fn segments_follow_the_average() {
    assert_eq!(Chunker::Blocks { min: 2, avg: 8, max: 32 }.segment_len(), Some(4 << 20));
    assert_eq!(Chunker::FastCdc.segment_len(), None);
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(64))]
    #[test]
    fn hostile_bytes_never_panic(at in 0usize..400, with in prop::collection::vec(any::<u8>(), 0..9)) {
        let mut bytes = full().encode().unwrap();
        let at = at.min(bytes.len());
        let end = (at + with.len()).min(bytes.len());
        bytes.splice(at..end, with);
        let _ = Snapshot::parse(&bytes);
        let _ = Pending::parse(&bytes);
    }
}
