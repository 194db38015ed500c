//! An engine on one seeded thread over a store in memory: reproducible to the byte.

use repo_format::config::Chunking;
use repo_format::kdf::Secret;
use repository::backup::{BackupReport, BackupRequest, ManifestInput, VolumeInput, backup};
use repository::check::{CheckOptions, CheckReport, ReadData, check};
use repository::env::seeded::{ManualClock, env};
use repository::init::{InitOptions, Initialised, init};
use repository::progress::Progress;
use repository::restore::{RestoreReport, RestoreRequest, RestoreVolume, restore};
use repository::snapshots::SnapshotEntry;
use repository::source::{BlockSource, VolumeSource};
use repository::store::fault::{Fault, FaultDriver, Verb};
use repository::store::{Driver, MemoryDriver};
use repository::{CancelHandle, Credential, Env, Exec, Repository, Result};
use std::io;
use std::sync::Arc;

/// A repository in memory, with its environment.
pub struct Bench {
    /// Clock and randomness.
    pub env: Env,
    /// The clock, to move it.
    pub clock: Arc<ManualClock>,
    /// Everything inline.
    pub exec: Exec,
    /// The objects.
    pub store: MemoryDriver,
    /// Opens the repository as its owner.
    pub owner: Credential,
}

impl Bench {
    /// A fresh repository with content-defined cuts.
    pub fn new(seed: u64) -> Self {
        Self::with_chunking(seed, Chunking::blocks())
    }

    /// A fresh repository.
    pub fn with_chunking(seed: u64, chunking: Chunking) -> Self {
        let bench = Self::bare(seed);
        bench.init_on(Arc::new(bench.store.clone()), chunking).unwrap();
        bench
    }

    /// An empty store, no repository yet.
    pub fn bare(seed: u64) -> Self {
        let (env, clock) = env(seed);
        let store = MemoryDriver::new(env.clock.clone());
        let owner = Credential::KeyFile(Secret::new([0x0e; 32]));
        Bench { env, clock, exec: exec(), store, owner }
    }

    /// With an index that is looked up in its runs, whatever `ORLOP_TEST_INDEX_LEN` says.
    #[must_use]
    pub fn with_tiny_index(self) -> Self {
        Bench { exec: self.exec.with_index_len(0), ..self }
    }

    /// An empty store that ignores conditions, no repository yet.
    pub fn bare_one(seed: u64) -> Self {
        let bench = Self::bare(seed);
        let store = bench.store.clone().ignoring_conditions();
        Bench { store, ..bench }
    }

    /// A fresh repository of mode one.
    pub fn one(seed: u64) -> Self {
        let bench = Self::bare_one(seed);
        bench.init_on(Arc::new(bench.store.clone()), Chunking::blocks()).unwrap();
        bench
    }

    /// `init` on any driver, with the owner's key file.
    pub fn init_on(&self, driver: Arc<dyn Driver>, chunking: Chunking) -> Result<Initialised> {
        let options = InitOptions { credential: Some(self.owner.clone()), label: "owner".into(), chunking };
        run(init(driver, &self.exec, &self.env, options))
    }

    /// Opens the repository on any driver.
    pub fn open_on(&self, driver: Arc<dyn Driver>, credential: &Credential) -> Result<Repository> {
        run(Repository::open(driver, &self.exec, &self.env, credential))
    }

    /// Opens the repository as its owner.
    pub fn open(&self) -> Repository {
        self.open_on(Arc::new(self.store.clone()), &self.owner).unwrap()
    }

    /// Opens and backs up.
    pub fn backup(&self, request: BackupRequest) -> Result<BackupReport> {
        run(backup(&self.open(), request, &Arc::new(Progress::default())))
    }
}

/// Everything inline. `ORLOP_TEST_INDEX_LEN` bounds the index in memory, so that all tests can be run with one that is
/// looked up in its runs.
fn exec() -> Exec {
    match std::env::var("ORLOP_TEST_INDEX_LEN") {
        Ok(len) => Exec::inline().with_index_len(len.parse().expect("ORLOP_TEST_INDEX_LEN is a number")),
        Err(_) => Exec::inline(),
    }
}

/// Runs a piece of the engine to its end on this thread.
pub fn run<T>(work: impl Future<Output = T>) -> T {
    futures::executor::block_on(work)
}

/// A volume in memory.
pub struct MemoryVolume(pub Vec<u8>);

impl BlockSource for MemoryVolume {
    fn byte_len(&self) -> u64 {
        self.0.len() as u64
    }

    fn read_at(&self, offset: u64, buf: &mut [u8]) -> io::Result<()> {
        let start = usize::try_from(offset).map_err(io::Error::other)?;
        let found = self.0.get(start..start + buf.len()).ok_or(io::ErrorKind::UnexpectedEof)?;
        buf.copy_from_slice(found);
        Ok(())
    }
}

/// A volume of a request.
pub fn volume(name: &str, data: &[u8]) -> VolumeInput {
    let source = VolumeSource::Blocks(Arc::new(MemoryVolume(data.to_vec())));
    VolumeInput { name: name.to_owned(), source }
}

/// A stream of a request.
pub fn stream(name: &str, data: &[u8]) -> VolumeInput {
    let source = VolumeSource::Stream(Box::new(io::Cursor::new(data.to_vec())));
    VolumeInput { name: name.to_owned(), source }
}

/// A manifest of a request.
pub fn manifest(name: &str, json: &str) -> ManifestInput {
    ManifestInput { path: format!("/ConfigMap/shop/{name}"), json: json.as_bytes().to_vec().into() }
}

impl Bench {
    /// A bench over another store with the same environment and owner.
    pub fn over(&self, store: MemoryDriver) -> Self {
        Bench {
            env: self.env.clone(),
            clock: self.clock.clone(),
            exec: Exec::inline().with_index_len(self.exec.index_len()),
            store,
            owner: self.owner.clone(),
        }
    }

    /// A bench over a copy of the store that shares nothing with it.
    pub fn fork(&self) -> Self {
        self.over(self.store.fork())
    }

    /// The store as a process sees it that is dead right after it has put an object with this end of a name.
    pub fn dead_after_put(&self, end: &'static str) -> Arc<FaultDriver> {
        let plan = move |_, verb, name: &str| {
            if verb == Verb::Put && name.ends_with(end) { Fault::CrashAfter } else { Fault::None }
        };
        Arc::new(FaultDriver::new(Arc::new(self.store.clone()), plan))
    }

    /// `check --read-data` as the owner.
    pub fn check(&self) -> Result<CheckReport> {
        let driver = Arc::new(self.store.clone());
        run(check(&self.open_on(driver, &self.owner)?, all_data(), &Arc::new(Progress::default())))
    }

    /// Restores a volume of a snapshot, by way of a file.
    pub fn restore(&self, entry: &SnapshotEntry, name: &str) -> Result<Vec<u8>> {
        let folder = tempfile::tempdir().unwrap();
        let target = folder.path().join("image");
        let volumes = vec![RestoreVolume { name: name.to_owned(), target: target.clone() }];
        let request = RestoreRequest {
            snapshot: entry.snapshot.clone(),
            volumes,
            force: false,
            verify: false,
            allow_damaged: false,
            in_place: false,
        };
        run(restore(&self.open(), request, &Arc::new(Progress::default())))?;
        Ok(std::fs::read(target).unwrap())
    }

    /// As [`restore`](Self::restore), past what is lost, and says what is.
    pub fn restore_damaged(&self, entry: &SnapshotEntry, name: &str) -> Result<(Vec<u8>, RestoreReport)> {
        let folder = tempfile::tempdir().unwrap();
        let target = folder.path().join("image");
        let volumes = vec![RestoreVolume { name: name.to_owned(), target: target.clone() }];
        let snapshot = entry.snapshot.clone();
        let request = RestoreRequest {
            snapshot,
            volumes,
            force: false,
            verify: true,
            allow_damaged: true,
            in_place: false,
        };
        let report = run(restore(&self.open(), request, &Arc::new(Progress::default())))?;
        Ok((std::fs::read(target).unwrap(), report))
    }

    /// All snapshots, oldest first; every one of them can be read.
    pub fn snapshots(&self) -> Vec<SnapshotEntry> {
        let (entries, problems) = run(repository::snapshots::list(&self.open())).unwrap();
        assert!(problems.is_empty(), "{problems:?}");
        entries
    }
}

/// Everything is read.
pub fn all_data() -> CheckOptions {
    CheckOptions { read_data: ReadData::All, snapshots: Vec::new() }
}

/// A volume that cancels its own backup once it is read at or beyond an offset.
pub struct CancellingVolume {
    inner: MemoryVolume,
    at: u64,
    cancel: CancelHandle,
}

impl CancellingVolume {
    /// Cancels when `at` is reached.
    pub fn new(inner: MemoryVolume, at: u64, cancel: CancelHandle) -> Self {
        CancellingVolume { inner, at, cancel }
    }

    /// As a volume of a request.
    pub fn into_input(self, name: &str) -> VolumeInput {
        VolumeInput { name: name.to_owned(), source: VolumeSource::Blocks(Arc::new(self)) }
    }
}

impl BlockSource for CancellingVolume {
    fn byte_len(&self) -> u64 {
        self.inner.byte_len()
    }

    fn read_at(&self, offset: u64, buf: &mut [u8]) -> io::Result<()> {
        if offset >= self.at {
            self.cancel.cancel();
        }
        self.inner.read_at(offset, buf)
    }
}
