//! The engine as the command line runs it, timed.

use crate::report::Rate;
use anyhow::{Context, Result, ensure};
use repo_format::config::Chunking;
use repo_format::keys::keyfile;
use repository::backup::{BackupReport, BackupRequest, VolumeInput, backup};
use repository::init::{InitOptions, init};
use repository::progress::Progress;
use repository::restore::{RestoreRequest, RestoreVolume, restore};
use repository::snapshots;
use repository::source::{FileSource, VolumeSource};
use repository::store::{Driver, MemoryDriver};
use repository::{Credential, Env, Exec, Repository};
use std::path::Path;
use std::sync::Arc;
use std::time::Instant;
use tokio::runtime::{Builder, Runtime};

/// Threads that do asynchronous work; the command line has no more either.
const ASYNC_THREADS_MAX: usize = 4;

/// An engine, ready to run.
pub struct Engine {
    runtime: Runtime,
    exec: Exec,
    env: Env,
}

/// What one backup did.
pub struct Run {
    /// Bytes read, and the time from before the repository is opened until the snapshot is committed.
    pub rate: Rate,
    /// The engine's own account.
    pub report: BackupReport,
}

impl Engine {
    /// With so many CPU threads, and another bound on memory than the default if one is given.
    pub fn new(threads: usize, memory_len: Option<u64>) -> Result<Self> {
        let runtime = Builder::new_multi_thread()
            .worker_threads(threads.min(ASYNC_THREADS_MAX))
            .enable_all()
            .build()?;
        let exec = Exec::threads(threads)?;
        let exec = memory_len.map_or(exec.clone(), |len| exec.clone().with_memory(len));
        Ok(Engine { runtime, exec, env: Env::system() })
    }

    /// An empty store in memory.
    pub fn memory_store(&self) -> Arc<dyn Driver> {
        Arc::new(MemoryDriver::new(self.env.clock.clone()))
    }

    /// Makes a repository, and gives the text of the key that opens it.
    pub fn init(&self, driver: &Arc<dyn Driver>) -> Result<String> {
        let options = InitOptions { credential: None, label: String::new(), chunking: Chunking::blocks() };
        let made = self.runtime.block_on(init(driver.clone(), &self.exec, &self.env, options))?;
        Ok(made.recovery_key.to_string())
    }

    /// Opens the repository by its key and backs the image up as one volume, read even if it has not changed.
    pub fn backup(&self, driver: &Arc<dyn Driver>, key: &str, image: &Path) -> Result<Run> {
        let credential = Credential::KeyFile(keyfile::parse(key)?);
        let progress = Arc::new(Progress::default());
        let start = Instant::now();
        let report = self.runtime.block_on(async {
            let repository = Repository::open(driver.clone(), &self.exec, &self.env, &credential).await?;
            let source = VolumeSource::Blocks(Arc::new(FileSource::open(image)?));
            let request = BackupRequest {
                volumes: vec![VolumeInput { name: "bench/image".into(), source }],
                force_read: true,
                tool: concat!("benches ", env!("CARGO_PKG_VERSION")).into(),
                ..BackupRequest::default()
            };
            anyhow::Ok(backup(&repository, request, &progress).await?)
        })?;
        let time = start.elapsed();
        ensure!(
            report.snapshot_id.is_some() && report.volumes_unchanged == 0,
            "a backup that read everything expected"
        );
        Ok(Run { rate: Rate { bytes: report.bytes_read, time }, report })
    }

    /// Opens the repository by its key and restores the newest snapshot's volume to a new file.
    pub fn restore(&self, driver: &Arc<dyn Driver>, key: &str, target: &Path) -> Result<Rate> {
        let credential = Credential::KeyFile(keyfile::parse(key)?);
        let progress = Arc::new(Progress::default());
        let start = Instant::now();
        let report = self.runtime.block_on(async {
            let repository = Repository::open(driver.clone(), &self.exec, &self.env, &credential).await?;
            let (entries, _) = snapshots::list(&repository).await?;
            let snapshot = entries.into_iter().next_back().context("no snapshot")?.snapshot;
            let request = RestoreRequest {
                snapshot,
                volumes: vec![RestoreVolume { name: "bench/image".into(), target: target.to_owned() }],
                force: false,
                verify: false,
                allow_damaged: false,
                in_place: false,
            };
            anyhow::Ok(restore(&repository, request, &progress).await?)
        })?;
        Ok(Rate { bytes: report.bytes_written, time: start.elapsed() })
    }
}
