//! An index of which nothing is in memory: every path that looks ids up in runs, and that a look-up which passes over a
//! run is noticed on each.

use repository::backup::{BackupReport, BackupRequest, backup};
use repository::env::Mutant;
use repository::forget::forget;
use repository::progress::Progress;
use repository::prune::{Pace, PruneOptions, prune};
use repository::store::fault::{Fault, FaultDriver, Verb};
use repository::{ErrorKind, Exec, Repository, Result};
use std::collections::BTreeSet;
use std::sync::{Arc, Mutex};
use tests::data::bytes;
use tests::engine::{Bench, run, stream, volume};

const LEN: usize = 400_000;

/// Four backups of different volumes, a run each, and what they hold.
fn four(seed: u64) -> (Bench, Vec<Vec<u8>>) {
    let bench = Bench::new(seed).with_tiny_index();
    let contents: Vec<Vec<u8>> = (0..4).map(|n| bytes(seed * 10 + n, LEN)).collect();
    for (n, content) in contents.iter().enumerate() {
        bench.backup(request(&format!("shop/v{n}"), content)).unwrap();
    }
    (bench, contents)
}

fn request(name: &str, content: &[u8]) -> BackupRequest {
    BackupRequest { volumes: vec![volume(name, content)], ..Default::default() }
}

fn open(bench: &Bench, mutant: Option<Mutant>) -> Repository {
    let mut env = bench.env.clone();
    env.mutant = mutant;
    let driver = Arc::new(bench.store.clone());
    run(Repository::open(driver, &bench.exec, &env, &bench.owner)).unwrap()
}

fn backed_up(repository: &Repository, request: BackupRequest) -> Result<BackupReport> {
    run(backup(repository, request, &Arc::new(Progress::default())))
}

/// All contents side by side under a name that has no parent.
fn all_again(contents: &[Vec<u8>], is_stream: bool) -> BackupRequest {
    let volumes = contents.iter().enumerate();
    let input =
        |name: &str, content: &[u8]| if is_stream { stream(name, content) } else { volume(name, content) };
    let volumes = volumes.map(|(n, content)| input(&format!("again/v{n}"), content)).collect();
    BackupRequest { volumes, ..Default::default() }
}

/// Chunks stored again of what is there.
fn stored_again(mutant: Option<Mutant>, is_stream: bool) -> u64 {
    let bench = Bench::new(901).with_tiny_index();
    let contents: Vec<Vec<u8>> = (0..4).map(|n| bytes(9010 + n, LEN)).collect();
    for content in &contents {
        backed_up(&open(&bench, None), all_again(std::slice::from_ref(content), is_stream)).unwrap();
    }
    let report = backed_up(&open(&bench, mutant), all_again(&contents, is_stream)).unwrap();
    assert!(report.chunks_reused > 0);
    report.chunks_new
}

#[test]
fn a_backup_stores_nothing_that_is_there() {
    for is_stream in [false, true] {
        assert_eq!(stored_again(None, is_stream), 0);
        assert!(
            stored_again(Some(Mutant::LookupSkipsRun), is_stream) > 0,
            "the run that is passed over is missed"
        );
    }
}

#[test]
fn a_restore_finds_everything() {
    let (bench, contents) = four(902);
    for (n, entry) in bench.snapshots().iter().enumerate() {
        assert_eq!(bench.restore(entry, &format!("shop/v{n}")).unwrap(), contents[n]);
    }
    assert!(bench.check().unwrap().errors.is_empty());
    let mut broken = bench.fork();
    broken.env.mutant = Some(Mutant::LookupSkipsRun);
    let entries = bench.snapshots();
    let is_lost = |n: &usize| broken.restore(&entries[*n], &format!("shop/v{n}")).is_err();
    let lost = (0..entries.len()).filter(is_lost);
    assert_eq!(lost.count(), 1, "one run is passed over");
}

/// A snapshot that was forgotten, whose records lie in packs that are condemned or dead.
fn brought_back(mutant: Option<Mutant>) -> Result<()> {
    let (bench, contents) = four(903);
    let sid = bench.snapshots()[1].id;
    run(forget(&bench.open(), &[sid], true)).unwrap();
    let pace = Pace { session_age: std::time::Duration::ZERO, ..Pace::default() };
    let options = PruneOptions { pace, ..PruneOptions::default() };
    run(prune(&bench.open(), options, &Arc::default())).unwrap();
    let back = run(repository::undelete::undelete(&open(&bench, mutant), sid, &Arc::default()))?.snapshot_id;
    let entries = bench.snapshots();
    let entry = entries.iter().find(|entry| entry.id == back).unwrap();
    assert_eq!(bench.restore(entry, "shop/v1").unwrap(), contents[1]);
    Ok(())
}

#[test]
fn undelete_brings_back_what_no_run_names_any_more() {
    brought_back(None).unwrap();
}

/// Runs merged in the middle of a restore and of a backup, before each of their store calls in turn.
#[test]
fn runs_that_are_merged_under_a_lookup_are_found_again() {
    let (base, contents) = four(904);
    let merge = |bench: &Bench| {
        let options = PruneOptions {
            index_only: true,
            pace: Pace { small_runs: 0, ..Pace::default() },
            ..Default::default()
        };
        run(prune(&bench.open(), options, &Arc::default())).unwrap()
    };
    let mut at = 0;
    let mut with_mutant = 0;
    loop {
        let mut was_merged = false;
        for mutant in [None, Some(Mutant::LookupWithoutReload)] {
            let bench = base.fork();
            let other = Mutex::new(Some(bench.over(bench.store.clone())));
            let merged = Arc::new(Mutex::new(false));
            let done = merged.clone();
            let plan = move |n: u64, _: Verb, _: &str| {
                if n == at
                    && let Some(other) = other.lock().unwrap().take()
                {
                    std::thread::spawn(move || merge(&other)).join().unwrap();
                    *done.lock().unwrap() = true;
                }
                Fault::None
            };
            let mut env = bench.env.clone();
            env.mutant = mutant;
            let driver = Arc::new(FaultDriver::new(Arc::new(bench.store.clone()), plan));
            let opened = run(Repository::open(driver, &bench.exec, &env, &bench.owner)).unwrap();
            let report = backed_up(&opened, all_again(&contents, false)).unwrap();
            was_merged |= *merged.lock().unwrap();
            if mutant.is_none() {
                assert_eq!(report.chunks_new, 0, "merged before call {at}");
            } else {
                with_mutant += report.chunks_new;
            }
        }
        if !was_merged {
            break;
        }
        at += 1;
    }
    assert!(at > 30 && with_mutant > 0, "{at} calls; {with_mutant} chunks are missed without a reload");
}

#[test]
fn a_store_that_miscounts_is_damage_and_no_panic() {
    let (bench, contents) = four(907);
    for fault in [Fault::Shorter, Fault::Longer] {
        let plan = move |_: u64, verb: Verb, name: &str| {
            if verb == Verb::Get && name.starts_with("index/") { fault } else { Fault::None }
        };
        let driver = Arc::new(FaultDriver::new(Arc::new(bench.store.clone()), plan));
        let repository = bench.open_on(driver, &bench.owner).unwrap();
        let error = backed_up(&repository, request("shop/v0", &contents[0])).unwrap_err();
        assert!(error.kind() == ErrorKind::Damage && error.to_string().contains("bytes read"), "{error}");
    }
}

/// What of packs and runs is read by a process that starts afresh, in order.
fn noting(bench: &Bench, exec: &Exec) -> (Repository, Arc<Mutex<Vec<String>>>) {
    let noted: Arc<Mutex<Vec<String>>> = Arc::default();
    let notes = noted.clone();
    let plan = move |_: u64, verb: Verb, name: &str| {
        if verb == Verb::Get && ["packs/", "index/"].iter().any(|folder| name.starts_with(folder)) {
            notes.lock().unwrap().push(name.to_owned());
        }
        Fault::None
    };
    let driver = Arc::new(FaultDriver::new(Arc::new(bench.store.clone()), plan));
    (run(Repository::open(driver, exec, &bench.env, &bench.owner)).unwrap(), noted)
}

/// Blocks of which little is left once they are compressed: many chunks to a pack.
fn thin(seed: u64, len: usize) -> Vec<u8> {
    let mut content = bytes(seed, len);
    content.chunks_mut(4096).for_each(|block| block[64..].fill(1));
    content
}

/// That the first hit of each kind of pack costs a look into a block is all there is beside the trailers.
#[test]
fn hits_in_order_cost_a_request_a_pack() {
    let bench = Bench::new(908);
    let content = thin(9080, 128 << 20);
    bench.backup(request("shop/v0", &content)).unwrap();
    let index_len = 48 << 10;
    let (repository, noted) = noting(&bench, &Exec::inline().with_index_len(index_len));
    let report = backed_up(&repository, request("again/v0", &content)).unwrap();
    assert_eq!(report.chunks_new, 0);
    let noted = noted.lock().unwrap();
    let runs: BTreeSet<&String> = noted.iter().filter(|name| name.starts_with("index/")).collect();
    let packs: BTreeSet<&String> = noted.iter().filter(|name| name.starts_with("packs/")).collect();
    assert!(packs.len() > 20, "{} packs of hits", packs.len());
    let of_runs = noted.iter().filter(|name| name.starts_with("index/")).count();
    // inline nothing is kept on a disk: beside its end, the filter of a run is read as well
    let expected = packs.len() + 2 * runs.len() + 2;
    assert!(
        noted.len() <= expected,
        "{} requests, {of_runs} of them to {} runs, for {} packs: {noted:?}",
        noted.len(),
        runs.len(),
        packs.len()
    );
}

/// With threads, and filters that lie in a temporary file since none of them fits into memory.
#[test]
fn filters_on_a_disk_miss_nothing() {
    let bench = Bench::new(909);
    let contents: Vec<Vec<u8>> = (0..4).map(|n| thin(9090 + n, 8 << 20)).collect();
    for content in &contents[..3] {
        bench.backup(request("shop/v0", content)).unwrap();
    }
    let exec = Exec::threads(2).unwrap().with_index_len(0);
    let (repository, noted) = noting(&bench, &exec);
    let again = |n: usize| {
        let request = all_again(&contents[..n], false);
        with_threads(backup(&repository, request, &Arc::default())).unwrap()
    };
    assert_eq!(again(3).chunks_new, 0);
    let before = noted.lock().unwrap().len();
    let report = again(4);
    assert!(report.chunks_new > 100 && report.chunks_reused > 2 * report.chunks_new, "{report:?}");
    assert!(before > 0);
}

/// A session that keeps hardly any of its own ids in memory knows them all the same.
#[test]
fn a_session_stores_nothing_twice_whatever_its_memory() {
    let (a, b) = (thin(9100, 8 << 20), thin(9101, 8 << 20));
    let content = [a.as_slice(), &b, &a, &b].concat();
    for tiny_index in [false, true] {
        for exec in [Exec::inline(), Exec::threads(2).unwrap()] {
            let bench = Bench::new(910);
            let exec = if tiny_index { exec.with_index_len(0) } else { exec };
            let (repository, _) = noting(&bench, &exec.with_memory(0));
            let request = BackupRequest {
                volumes: vec![volume("shop/v0", &content), stream("shop/s0", &content)],
                ..Default::default()
            };
            let report = with_threads(backup(&repository, request, &Arc::default())).unwrap();
            // what is cut as a stream differs
            let twice = backed_up(&bench.open(), all_again(&[a.clone(), b.clone()], false)).unwrap();
            assert_eq!(twice.chunks_new, 0);
            assert!(report.chunks_new < report.chunks_reused + 20, "{report:?}");
            let entries = bench.snapshots();
            assert!(bench.restore(&entries[0], "shop/v0").unwrap() == content);
            assert!(bench.check().unwrap().errors.is_empty());
        }
    }
}

/// With threads.
fn with_threads<T>(work: impl Future<Output = T>) -> T {
    tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build().unwrap().block_on(work)
}
