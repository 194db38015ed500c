//! Sealed copies on this machine: they save requests, and nothing that is done to them is worse than a miss.

use repository::backup::{BackupRequest, backup};
use repository::progress::Progress;
use repository::prune::{Pace, PruneOptions, prune};
use repository::restore::{RestoreRequest, RestoreVolume, restore};
use repository::store::fault::{Fault, FaultDriver, Verb};
use std::os::unix::fs::{MetadataExt, PermissionsExt, symlink};
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex};
use tests::data::bytes;
use tests::engine::{Bench, run, volume};

const COPIES_LEN: u64 = 64 << 20;

/// What a restore of everything read of index, map pages and their trailers, in requests.
fn restored(bench: &Bench, folder: &Path, contents: &[Vec<u8>]) -> u64 {
    let reads = Arc::new(AtomicU64::new(0));
    let count = reads.clone();
    // chunks are not copied
    let plan = move |_: u64, verb: Verb, name: &str| {
        let is_copied = name.starts_with("index/") || name.starts_with("packs/map/");
        if verb == Verb::Get && is_copied {
            count.fetch_add(1, Ordering::SeqCst);
        }
        Fault::None
    };
    let driver = Arc::new(FaultDriver::new(Arc::new(bench.store.clone()), plan));
    let opened = bench.open_on(driver, &bench.owner).unwrap();
    assert!(opened.keep_copies(folder, COPIES_LEN));
    let target = tempfile::tempdir().unwrap();
    for (n, entry) in bench.snapshots().iter().enumerate() {
        let path = target.path().join(n.to_string());
        let name = entry.snapshot.volumes[0].name.clone();
        let request = RestoreRequest {
            snapshot: entry.snapshot.clone(),
            volumes: vec![RestoreVolume { name, target: path.clone() }],
            force: false,
            verify: false,
            allow_damaged: false,
            in_place: false,
        };
        run(restore(&opened, request, &Arc::new(Progress::default()))).unwrap();
        assert!(std::fs::read(path).unwrap() == contents[n], "snapshot {n}");
    }
    reads.load(Ordering::SeqCst)
}

fn three(seed: u64, is_tiny: bool) -> (Bench, Vec<Vec<u8>>) {
    let bench = Bench::new(seed);
    let bench = if is_tiny { bench.with_tiny_index() } else { bench };
    let contents: Vec<Vec<u8>> = (0..3).map(|n| bytes(seed * 10 + n, 300_000)).collect();
    for (n, content) in contents.iter().enumerate() {
        let volumes = vec![volume(&format!("shop/v{n}"), content)];
        bench.backup(BackupRequest { volumes, ..Default::default() }).unwrap();
    }
    (bench, contents)
}

/// All files below a folder.
fn files(folder: &Path) -> Vec<PathBuf> {
    let mut found = Vec::new();
    let mut open = vec![folder.to_owned()];
    while let Some(folder) = open.pop() {
        for entry in std::fs::read_dir(folder).unwrap() {
            let path = entry.unwrap().path();
            if path.is_dir() { open.push(path) } else { found.push(path) }
        }
    }
    found.sort();
    found
}

#[test]
fn copies_save_requests_and_are_private() {
    for is_tiny in [false, true] {
        let (bench, contents) = three(920, is_tiny);
        let folder = tempfile::tempdir().unwrap();
        let cold = restored(&bench, folder.path(), &contents);
        let warm = restored(&bench, folder.path(), &contents);
        assert!(cold >= 6 && warm == 0, "{cold} reads of index and maps, then {warm}");
        for path in files(folder.path()) {
            assert_eq!(path.metadata().unwrap().permissions().mode() & 0o777, 0o600);
            let of_object = path.parent().unwrap();
            assert_eq!(of_object.metadata().unwrap().permissions().mode() & 0o777, 0o700);
            // the store's bytes, where there are any
            let id = path.file_name().unwrap().to_str().unwrap();
            let name = bench.store.names().into_iter().find(|name| name.ends_with(id)).unwrap();
            let (copy, object) = (std::fs::read(&path).unwrap(), bench.store.bytes(&name).unwrap());
            assert!(copy.iter().zip(object.iter()).all(|(copy, byte)| *copy == 0 || copy == byte), "{name}");
        }
    }
}

/// Whatever lies in the place of a copy: everything restores, and nothing else is touched.
#[test]
fn damage_is_a_miss() {
    let away = tempfile::tempdir().unwrap();
    let precious = away.path().join("precious");
    std::fs::write(&precious, b"not a copy").unwrap();
    type Harm<'a> = &'a dyn Fn(&Path);
    let flip = |path: &Path| {
        let mut bytes = std::fs::read(path).unwrap();
        let len = bytes.len();
        for at in (0..len).step_by(17) {
            bytes[at] ^= 1;
        }
        std::fs::write(path, bytes).unwrap();
    };
    let end = |path: &Path| {
        let len = path.metadata().unwrap().len();
        let mut bytes = std::fs::read(path).unwrap();
        bytes[usize::try_from(len).unwrap() - 100] ^= 1;
        std::fs::write(path, bytes).unwrap();
    };
    let cut = |path: &Path| {
        let file = std::fs::OpenOptions::new().write(true).open(path).unwrap();
        file.set_len(path.metadata().unwrap().len() / 2).unwrap();
    };
    let empty = |path: &Path| std::fs::write(path, b"").unwrap();
    let long = |path: &Path| {
        let file = std::fs::OpenOptions::new().write(true).open(path).unwrap();
        file.set_len(1 << 40).unwrap();
    };
    let link = |path: &Path| {
        std::fs::remove_file(path).unwrap();
        symlink(&precious, path).unwrap();
    };
    let pipe = |path: &Path| {
        std::fs::remove_file(path).unwrap();
        let made = std::process::Command::new("mkfifo").arg(path).status().unwrap();
        assert!(made.success());
    };
    let folder_there = |path: &Path| {
        std::fs::remove_file(path).unwrap();
        std::fs::create_dir(path).unwrap();
    };
    let harms: [(&str, Harm); 8] = [
        ("flipped", &flip),
        ("end", &end),
        ("cut", &cut),
        ("empty", &empty),
        ("long", &long),
        ("link", &link),
        ("pipe", &pipe),
        ("folder", &folder_there),
    ];
    for is_tiny in [false, true] {
        let (bench, contents) = three(921, is_tiny);
        for (what, harm) in harms {
            let folder = tempfile::tempdir().unwrap();
            restored(&bench, folder.path(), &contents);
            let copies = files(folder.path());
            assert!(copies.len() > 3);
            copies.iter().for_each(|path| harm(path));
            let read = restored(&bench, folder.path(), &contents);
            assert!(read > 0 || what == "long", "{what}: nothing was read again");
            assert_eq!(std::fs::read(&precious).unwrap(), b"not a copy");
        }
        // copies of each other
        let folder = tempfile::tempdir().unwrap();
        restored(&bench, folder.path(), &contents);
        let copies = files(folder.path());
        let first = std::fs::read(&copies[0]).unwrap();
        copies.iter().for_each(|path| std::fs::write(path, &first).unwrap());
        restored(&bench, folder.path(), &contents);
    }
}

#[test]
fn what_the_store_has_no_more_is_dropped() {
    let (bench, contents) = three(922, true);
    let folder = tempfile::tempdir().unwrap();
    restored(&bench, folder.path(), &contents);
    let runs =
        |folder: &Path| files(folder).iter().filter(|path| path.parent().unwrap().ends_with("runs")).count();
    assert_eq!(runs(folder.path()), 3);
    let pace = Pace { small_runs: 0, ..Pace::default() };
    let options = PruneOptions { index_only: true, pace, ..PruneOptions::default() };
    run(prune(&bench.open(), options, &Arc::default())).unwrap();
    std::fs::write(folder.path().join(bench.open().repo_id().to_string()).join("runs/stray"), b"x").unwrap();
    restored(&bench, folder.path(), &contents);
    assert_eq!(runs(folder.path()), 1, "one run is left, and nothing that has no name of a run");
}

#[test]
fn the_folder_is_bounded() {
    let (bench, contents) = three(923, true);
    let folder = tempfile::tempdir().unwrap();
    restored(&bench, folder.path(), &contents);
    let len =
        |folder: &Path| files(folder).iter().map(|path| path.metadata().unwrap().blocks() * 512).sum::<u64>();
    let whole = len(folder.path());
    let bound = whole / 2;
    let bounded = |bench: &Bench| {
        let opened = bench.open();
        assert!(opened.keep_copies(folder.path(), bound));
        let request = BackupRequest { volumes: vec![volume("other", &contents[0])], ..Default::default() };
        let report = run(backup(&opened, request, &Arc::new(Progress::default()))).unwrap();
        assert_eq!(report.chunks_new, 0);
    };
    bounded(&bench);
    assert!(len(folder.path()) <= bound, "{} of {whole} bytes are left of {bound}", len(folder.path()));
    bounded(&bench);
    assert!(len(folder.path()) <= bound);
}

/// Two sessions on one folder, the second in the middle of the first, at each of its store calls.
#[test]
fn several_processes_share_a_folder() {
    let (base, contents) = three(924, true);
    let folder = tempfile::tempdir().unwrap();
    let again = |bench: &Bench, driver: Arc<FaultDriver>, folder: &Path| {
        let opened = bench.open_on(driver, &bench.owner).unwrap();
        assert!(opened.keep_copies(folder, COPIES_LEN));
        let volumes =
            contents.iter().enumerate().map(|(n, content)| volume(&format!("again/{n}"), content)).collect();
        let request = BackupRequest { volumes, ..Default::default() };
        run(backup(&opened, request, &Arc::new(Progress::default()))).unwrap().chunks_new
    };
    for at in (0..40).step_by(5) {
        let path = folder.path().join(at.to_string());
        let (bench, other) = (base.fork(), Mutex::new(Some(base.fork())));
        let (theirs, contents) = (path.clone(), contents.clone());
        let plan = move |n: u64, _: Verb, _: &str| {
            if n == at
                && let Some(other) = other.lock().unwrap().take()
            {
                let (theirs, contents) = (theirs.clone(), contents.clone());
                std::thread::spawn(move || restored(&other, &theirs, &contents)).join().unwrap();
            }
            Fault::None
        };
        let driver = Arc::new(FaultDriver::new(Arc::new(bench.store.clone()), plan));
        assert_eq!(again(&bench, driver, &path), 0, "call {at}");
    }
}
