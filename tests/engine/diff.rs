//! `diff` against a comparison byte by byte, and what it reads for that.

use proptest::prelude::*;
use repo_format::config::Chunking;
use repository::backup::{BackupRequest, ManifestInput};
use repository::diff::{ManifestChange, MapDiff, Modifier, manifests};
use repository::reader::Reader;
use repository::vfs;
use std::ops::Range;
use tests::engine::{Bench, run, stream, volume};

fn reader(bench: &Bench) -> Reader {
    run(vfs::reader(&bench.open())).unwrap().0
}

/// Where volume `name` differs between the first two snapshots.
fn ranges(bench: &Bench, name: &str) -> Vec<Range<u64>> {
    let snapshots = bench.snapshots();
    let of = |n: usize| snapshots[n].snapshot.volumes.iter().find(|volume| volume.name == name).unwrap();
    let mut diff = MapDiff::new(&reader(bench), ["a", "b"], of(0), of(1)).unwrap();
    std::iter::from_fn(|| run(diff.next()).unwrap()).collect()
}

/// Every byte outside the ranges is equal, and no range is without a reason.
fn explain(old: &[u8], new: &[u8], ranges: &[Range<u64>]) -> Result<(), TestCaseError> {
    let len = old.len().max(new.len());
    let is_equal = |range: Range<usize>| range.into_iter().all(|n| old.get(n) == new.get(n));
    let mut at = 0;
    for range in ranges {
        let (start, end) = (range.start as usize, range.end as usize);
        prop_assert!((at == 0 || start > at) && start < end && end <= len, "{:?}", ranges);
        prop_assert!(is_equal(at..start), "{}..{} is left out", at, start);
        prop_assert!(!is_equal(start..end), "{:?} is equal", range);
        at = end;
    }
    prop_assert!(is_equal(at..len), "{}..{} is left out", at, len);
    Ok(())
}

type Changes = Vec<(u8, usize)>;

fn versions() -> impl Strategy<Value = (u64, usize, Changes)> {
    let sizes = prop_oneof![Just(0usize), 1usize..300_000, (4usize << 20)..(18 << 20)];
    (any::<u64>(), sizes, prop::collection::vec((0u8..5, any::<usize>()), 0..4))
}

/// A volume, and what became of it.
fn build((seed, size, changes): (u64, usize, Changes)) -> (Vec<u8>, Vec<u8>) {
    let old = tests::data::mixed(seed, size);
    let mut new = old.clone();
    for (kind, at) in changes {
        let at = if new.is_empty() { 0 } else { at % new.len() };
        let end = (at + 20_000).min(new.len());
        match kind {
            0 => new[at..end].copy_from_slice(&tests::data::bytes(seed ^ 1, end - at)),
            1 => new[at..end].fill(0),
            2 => new.extend(tests::data::mixed(seed ^ 2, 5_000_001)),
            3 => new.truncate(at),
            _ => new.extend(vec![0; 9_000_000]),
        }
    }
    (old, new)
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 40, ..ProptestConfig::default() })]

    #[test]
    fn ranges_are_what_differs(versions in versions(), fixed in any::<bool>(), seed in any::<u64>()) {
        let (old, new) = build(versions);
        let chunking = if fixed { Chunking::fixed(16).unwrap() } else { Chunking::blocks() };
        let bench = Bench::with_chunking(seed, chunking);
        for data in [&old, &new] {
            let volumes = vec![volume("v/blocks", data), stream("v/stream", data)];
            bench.backup(BackupRequest { volumes, ..Default::default() }).unwrap();
        }
        for name in ["v/blocks", "v/stream"] {
            explain(&old, &new, &ranges(&bench, name))?;
        }
    }
}

#[test]
fn a_small_change_reads_few_pages() {
    let bench = Bench::new(7);
    let mut data = tests::data::bytes(7, 80 << 20);
    for _ in 0..2 {
        bench.backup(BackupRequest { volumes: vec![volume("v/a", &data)], ..Default::default() }).unwrap();
        data[50 << 20] ^= 1;
    }
    let snapshots = bench.snapshots();
    let of = |n: usize| &snapshots[n].snapshot.volumes[0];
    let repository = bench.open();
    let (reader, _) = run(vfs::reader(&repository)).unwrap();
    let before = repository.store().stats().requests;
    let mut diff = MapDiff::new(&reader, ["a", "b"], of(0), of(1)).unwrap();
    let range = run(diff.next()).unwrap().unwrap();
    assert!(range.contains(&(50 << 20)) && range.end - range.start <= 256 << 10, "{range:?}");
    assert_eq!(run(diff.next()).unwrap(), None);
    // two roots, and one leaf of twenty of each map: a trailer and a range for each pack
    let requests = repository.store().stats().requests - before;
    assert!(requests <= 8, "{requests} requests");
}

fn entry(name: &str, json: &str) -> ManifestInput {
    ManifestInput { path: format!("/ConfigMap/shop/{name}"), json: json.as_bytes().to_vec().into() }
}

#[test]
fn manifests_are_compared_by_content() {
    let bench = Bench::new(8);
    let filler: Vec<ManifestInput> = (0..3000)
        .map(|n| entry(&format!("m{n:04}"), &format!("{{\"n\":{n},\"x\":\"{:x}\"}}", n * 7919)))
        .collect();
    let mut old = filler.clone();
    old.push(entry("n-gone", "{}"));
    old.push(entry("n-same", "{\"a\":1}"));
    old.push(entry("n-touched", "{\"a\":1}"));
    let mut new = filler;
    new[1500] = entry("m1500", "{\"n\":1500,\"x\":\"other\"}");
    new.push(entry("n-new", "{}"));
    new.push(entry("n-same", "{\"a\":1}"));
    new.push(entry("n-touched", "{\"a\":2}"));
    for manifests in [&old, &new] {
        let request = BackupRequest { manifests: manifests.as_slice().into(), ..Default::default() };
        bench.backup(request).unwrap();
    }
    let snapshots = bench.snapshots();
    let (a, b) = (&snapshots[0].snapshot, &snapshots[1].snapshot);
    let changes = run(manifests(&reader(&bench), a, b)).unwrap();
    let change = |name: &str, modifier| ManifestChange { path: format!("/ConfigMap/shop/{name}"), modifier };
    let expected = [
        change("m1500", Modifier::Changed),
        change("n-gone", Modifier::Removed),
        change("n-new", Modifier::Added),
        change("n-touched", Modifier::Changed),
    ];
    assert_eq!(changes, expected);
    assert_eq!(run(manifests(&reader(&bench), a, a)).unwrap(), []);
}
