//! Backups that read only what changed: they make the snapshot that a full read makes, notice whoever is wrong about
//! what changed, and fall back to a full read wherever the base is not what it has to be.

use super::by_hand::{data_packs, of, put_plan, put_sweep};
use proptest::prelude::*;
use repo_format::SnapshotId;
use repo_format::config::Chunking;
use repo_format::layout::ObjectName;
use repo_format::snapshot::{SnapshotStatus, Volume};
use repository::backup::{BackupReport, BackupRequest, ChangedRanges, backup};
use repository::env::Mutant;
use repository::forget::forget;
use repository::progress::Progress;
use repository::store::fault::{Fault, FaultDriver, Verb};
use repository::{Repository, Result};
use std::collections::BTreeMap;
use std::ops::Range;
use std::sync::{Arc, Mutex};
use tests::engine::{Bench, run};

const NAME: &str = "shop/data";
const BLOCK_LEN: usize = 4096;

fn request(data: &[u8], base: Option<SnapshotId>, ranges: &[Range<u64>]) -> BackupRequest {
    let volumes = BTreeMap::from([(NAME.to_owned(), ranges.to_vec())]);
    let changed = ChangedRanges { base, volumes, audit_blocks: ChangedRanges::AUDIT_BLOCKS };
    BackupRequest { changed: Some(changed), ..of(NAME, data) }
}

/// The volume of the newest snapshot, and whether that is complete.
fn newest(bench: &Bench) -> (Volume, bool) {
    let snapshot = bench.snapshots().pop().unwrap().snapshot;
    (snapshot.volumes[0].clone(), snapshot.status == SnapshotStatus::Success)
}

/// The volume restores to `data`, and nothing is wrong with the repository.
fn is_sound(bench: &Bench, report: &BackupReport, data: &[u8]) -> bool {
    let snapshots = bench.snapshots();
    let entry = snapshots.iter().find(|entry| Some(entry.id) == report.snapshot_id).unwrap();
    bench.restore(entry, NAME).is_ok_and(|found| found == data) && bench.check().unwrap().errors.is_empty()
}

/// Blocks that are overwritten: where, how many, and with what.
type Edit = (prop::sample::Index, usize, u8);

fn edited(data: &[u8], edits: &[Edit], seed: u64) -> (Vec<u8>, Vec<Range<u64>>) {
    let (mut data, mut ranges) = (data.to_vec(), Vec::new());
    for (n, (at, count, kind)) in edits.iter().enumerate() {
        let start = at.index(data.len().div_ceil(BLOCK_LEN)) * BLOCK_LEN;
        let range = start..data.len().min(start + count * BLOCK_LEN);
        match kind {
            0 => data[range.clone()].fill(0),
            1 => data[range.clone()].copy_from_slice(&tests::data::bytes(seed + n as u64, range.len())),
            // said to have changed, and has not
            _ => {}
        }
        // not on the grid of blocks
        ranges.push(range.start as u64 + u64::from(*kind % 2)..range.end as u64);
    }
    (data, ranges)
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 48, ..ProptestConfig::default() })]

    #[test]
    fn what_changed_is_enough(
        (seed, fixed, tiny) in (0u64..1 << 32, any::<bool>(), any::<bool>()),
        size in prop_oneof![1usize..300_000, (4usize << 20)..(18 << 20)],
        edits in prop::collection::vec((any::<prop::sample::Index>(), 1usize..40, 0u8..3), 0..6),
        more in prop::collection::vec((any::<prop::sample::Index>(), 1usize..40, 0u8..3), 0..3),
    ) {
        let chunking = if fixed { Chunking::fixed(16).unwrap() } else { Chunking::blocks() };
        let bench = Bench::with_chunking(seed, chunking);
        let bench = if tiny { bench.with_tiny_index() } else { bench };
        let mut data = tests::data::mixed(seed, size);
        let mut base = bench.backup(of(NAME, &data)).unwrap().snapshot_id;
        for (n, edits) in [edits, more].iter().enumerate() {
            let (newer, ranges) = edited(&data, edits, seed);
            data = newer;
            let report = bench.backup(request(&data, base, &ranges)).unwrap();
            prop_assert!(report.notes.is_empty() && report.volumes_by_ranges == 1, "{:?}", report.notes);
            base = report.snapshot_id;
            let (by_ranges, is_complete) = newest(&bench);
            prop_assert!(is_complete && by_ranges.stats.partial_scans as usize == n + 1);
            prop_assert!(is_sound(&bench, &report, &data));
            let full = bench.fork();
            full.backup(of(NAME, &data)).unwrap();
            prop_assert_eq!(by_ranges.root, newest(&full).0.root);
        }
    }
}

/// A base of 24 segments, and one block that changed.
fn base(seed: u64) -> (Bench, Vec<u8>, Option<SnapshotId>, Range<u64>) {
    let bench = Bench::new(seed);
    let data = tests::data::bytes(seed, 96 << 20);
    let base = bench.backup(of(NAME, &data)).unwrap().snapshot_id;
    let at = (50 << 20) + 5 * BLOCK_LEN as u64;
    (bench, data, base, at..at + BLOCK_LEN as u64)
}

fn changed(data: &[u8], range: &Range<u64>) -> Vec<u8> {
    let mut data = data.to_vec();
    data[range.start as usize..range.end as usize].fill(7);
    data
}

#[test]
fn only_what_changed_is_read_and_stored() {
    let (bench, data, base, range) = base(1201);
    let data = changed(&data, &range);
    let mut request = request(&data, base, &[range]);
    request.changed.as_mut().unwrap().audit_blocks = 0;
    let report = bench.backup(request).unwrap();
    assert!(report.bytes_read <= 512 << 10 && report.chunks_new <= 3, "{report:?}");
    assert!(report.bytes_stored <= 160 << 10, "{report:?}");
    assert!(is_sound(&bench, &report, &data));
}

/// What was a hole and is none any more has blocks of zeros that nobody reads, in buffers that were used before.
#[test]
fn zeros_of_a_former_hole_are_zeros() {
    for chunking in [Chunking::fixed(16).unwrap(), Chunking::blocks()] {
        let bench = Bench::with_chunking(1208, chunking);
        let mut data = tests::data::bytes(1208, 64 << 20);
        data[32 << 20..].fill(0);
        let base = bench.backup(of(NAME, &data)).unwrap().snapshot_id;
        let mut ranges = Vec::new();
        for at in (0..64 << 20).step_by(1 << 20).flat_map(|at| [at, at + 2 * BLOCK_LEN]) {
            data[at..at + BLOCK_LEN].fill(3);
            ranges.push(at as u64..(at + BLOCK_LEN) as u64);
        }
        let report = bench.backup(request(&data, base, &ranges)).unwrap();
        assert_eq!(report.volumes_by_ranges, 1);
        assert!(is_sound(&bench, &report, &data));
    }
}

#[test]
fn who_is_wrong_about_changes_is_found_out() {
    let (bench, data, base, range) = base(1202);
    // a sixteenth of the volume changes, and nothing is said of it
    let mut data = data;
    data[..6 << 20].fill(9);
    let report = bench.backup(request(&data, base, &[range])).unwrap();
    assert!(report.notes.iter().any(|note| note.is_fault && note.volume == NAME), "{report:?}");
    let (volume, is_complete) = newest(&bench);
    assert!(!is_complete && volume.stats.scan.as_deref() == Some("full") && volume.stats.partial_scans == 0);
    assert!(volume.stats.reason.is_some_and(|reason| reason.contains("changed ranges are wrong")));
    assert!(is_sound(&bench, &report, &data));
}

#[test]
fn a_hole_that_is_none_any_more_is_found_out() {
    let bench = Bench::new(1203);
    let mut data = vec![0; 300 << 20];
    data[..1 << 20].copy_from_slice(&tests::data::bytes(3, 1 << 20));
    let base = bench.backup(of(NAME, &data)).unwrap().snapshot_id;
    data[100 << 20..120 << 20].fill(1);
    let report = bench.backup(request(&data, base, &[])).unwrap();
    assert!(report.notes.iter().any(|note| note.is_fault), "{report:?}");
    assert!(is_sound(&bench, &report, &data));
}

#[test]
fn a_base_that_does_not_fit_means_a_full_read() {
    let (bench, data, base, range) = base(1204);
    let newer = changed(&data, &range);
    let told = std::slice::from_ref(&range);
    // what is done to the copy of the repository, the request, and what the reason says
    type Case = (fn(&Bench, SnapshotId), BackupRequest, &'static str);
    let cases: [Case; 5] = [
        (|_, _| {}, request(&newer, None, told), "not there"),
        (|_, _| {}, request(&newer, Some(SnapshotId([9; 16])), told), "no such volume"),
        (|_, _| {}, request(&newer[..newer.len() - 1], base, told), "bytes"),
        (
            |bench, sid| drop(run(forget(&bench.open(), &[sid], true))),
            request(&newer, base, told),
            "no such volume",
        ),
        (|bench, _| bench.store.lose(&first_map_pack(bench)), request(&newer, base, told), "packs/"),
    ];
    for (damage, request, reason) in cases {
        let bench = bench.fork();
        damage(&bench, base.unwrap());
        let result = bench.backup(request);
        if reason == "packs/" {
            // a full read needs the parent's pages, too
            assert!(result.is_err() || result.is_ok_and(|report| report.volumes_by_ranges == 0));
            continue;
        }
        let report = result.unwrap();
        assert!(report.volumes_by_ranges == 0 && report.bytes_read >= 95 << 20, "{report:?}");
        assert!(!report.notes[0].is_fault && report.notes[0].text.contains(reason), "{:?}", report.notes);
        let (volume, is_complete) = newest(&bench);
        assert!(is_complete && volume.stats.reason.unwrap().contains(reason));
    }
}

fn first_map_pack(bench: &Bench) -> String {
    let names = super::by_hand::packs(&bench.store);
    let data = data_packs(&bench.store);
    let id = names.into_iter().find(|id| !data.contains(id)).unwrap();
    ObjectName::MapPack(id).to_string()
}

#[test]
fn an_empty_volume_is_nothing_to_speak_of() {
    let bench = Bench::new(77);
    let base = bench.backup(of(NAME, &[])).unwrap().snapshot_id;
    let report = bench.backup(request(&[], base, &[])).unwrap();
    assert!(report.notes.is_empty(), "{:?}", report.notes);
    assert!(newest(&bench).1 && is_sound(&bench, &report, &[]));
}

#[test]
fn every_thirtieth_backup_reads_all() {
    let bench = Bench::new(1205);
    let data = tests::data::bytes(5, 300_000);
    let mut base = bench.backup(of(NAME, &data)).unwrap().snapshot_id;
    for n in 1..=31 {
        let report = bench.backup(request(&data, base, &[])).unwrap();
        base = report.snapshot_id;
        assert_eq!(report.volumes_by_ranges, u64::from(n != 30), "backup {n}");
    }
}

/// A chunk that the index has lost is stored anew, though nobody says that it changed: in a segment that is looked at.
#[test]
fn what_the_index_has_lost_is_stored_anew() {
    let (bench, data, base, range) = base(1206);
    let lost = data_packs(&bench.store);
    let repository = bench.open();
    put_plan(&repository, &bench.store, lost, vec![], 0);
    let newer = changed(&data, &range);
    let mut request = request(&newer, base, std::slice::from_ref(&range));
    request.changed.as_mut().unwrap().audit_blocks = 0;
    let report = bench.backup(request).unwrap();
    let read = report.bytes_read;
    assert!((4 << 20..5 << 20).contains(&read), "the segment around the change is read, {read} bytes");
}

/// The base goes while the backup runs: what was kept of it unread is looked at again before the commit.
#[test]
fn what_is_kept_unread_is_looked_at_again() {
    let is_sound_with = |mutant: Option<Mutant>| {
        let bench = Bench::new(1207);
        let data = tests::data::bytes(1207, 9 << 20);
        let base = bench.backup(of(NAME, &data)).unwrap().snapshot_id;
        let (old, owner, store) = (data_packs(&bench.store), bench.open(), bench.store.clone());
        let (condemned, first) = (old.clone(), base.unwrap());
        let done = Mutex::new(false);
        let plan = move |_, verb, name: &str| {
            let mut done = done.lock().unwrap();
            if verb == Verb::Put && name.starts_with("pending/") && !*done {
                *done = true;
                put_plan(&owner, &store, condemned.clone(), vec![first], 0);
            }
            Fault::None
        };
        let range = 5 << 20..(5 << 20) + BLOCK_LEN as u64;
        let newer = changed(&data, &range);
        let mut env = bench.env.clone();
        env.mutant = mutant;
        let driver = Arc::new(FaultDriver::new(Arc::new(bench.store.clone()), plan));
        let repository: Result<Repository> = run(Repository::open(driver, &bench.exec, &env, &bench.owner));
        let asked = request(&newer, base, &[range]);
        let report = run(backup(&repository.unwrap(), asked, &Arc::new(Progress::default()))).unwrap();
        assert_eq!(report.volumes_by_ranges, 1);
        bench.store.lose(&ObjectName::Snapshot(base.unwrap()).to_string());
        put_sweep(&bench.open(), &bench.store, old, 0);
        is_sound(&bench, &report, &newer)
    };
    assert!(is_sound_with(None));
    assert!(!is_sound_with(Some(Mutant::NoParentCheckAtC4)), "a rule that nothing needs");
}
