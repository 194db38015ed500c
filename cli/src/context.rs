//! What every command needs: options, output, the engine's surroundings, the open repository.

use crate::args::{FromArgs, Global, Rate, Size};
use crate::credential;
use crate::display::Display;
use crate::exit::Failure;
use crate::output::Output;
use repository::progress::Progress;
use repository::store::{Driver, StoreUrl, connect};
use repository::{Credential, Env, Exec, Rates, Repository};
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Instant;

/// Threads that wait for the store: they only move bytes.
pub(crate) const ASYNC_THREADS_MAX: usize = 4;
/// Threads that wait for the kernel at once.
pub(crate) const BLOCKING_THREADS_MAX: usize = 64;

/// Copies kept of one repository, in bytes.
const CACHE_LEN_MAX: u64 = 1 << 30;

/// One run of the program.
pub(crate) struct Context {
    /// Options of every verb.
    pub(crate) global: Global,
    /// How answers are given.
    pub(crate) output: Output,
    /// Where the engine's work runs.
    pub(crate) exec: Exec,
    /// The engine's clock and randomness.
    pub(crate) env: Env,
    started: Instant,
}

impl Context {
    /// Starts the threads that compute.
    pub(crate) fn new(global: Global, output: Output) -> Result<Self, Failure> {
        let mut exec = Exec::threads(threads(&global))?;
        if let Some(Size(bytes)) = global.memory {
            exec = exec.with_memory(bytes);
        }
        let bound = |rate: Option<Rate>| rate.and_then(|Rate(rate)| rate);
        exec = exec.with_rates(Rates::new(bound(global.limit_upload), bound(global.limit_download)));
        Ok(Context { global, output, exec, env: Env::system(), started: Instant::now() })
    }

    /// Threads that compute.
    pub(crate) fn threads(&self) -> usize {
        threads(&self.global)
    }

    /// The repository's URL.
    pub(crate) fn url(&self) -> Result<StoreUrl, Failure> {
        let url = self.global.repo.as_deref().filter(|url| !url.is_empty());
        let missing = || Failure::usage("no repository given: use -r URL or set ORLOP_REPOSITORY");
        Ok(StoreUrl::parse(url.ok_or_else(missing)?)?)
    }

    /// The store behind the URL. `create` makes a local directory that is missing.
    pub(crate) fn driver(&self, create: bool) -> Result<Arc<dyn Driver>, Failure> {
        Ok(connect(&self.url()?, create)?)
    }

    /// Opens the repository with the credential that the user gives.
    pub(crate) async fn open(&self) -> Result<Repository, Failure> {
        let driver = self.driver(false)?;
        let credential = credential::existing(&self.global, self.output, driver.url())?;
        self.open_with(driver, &credential).await
    }

    /// Opens the repository that `--from` names, if it is given.
    pub(crate) async fn open_other(&self, args: &FromArgs) -> Result<Option<Repository>, Failure> {
        let Some(url) = args.from.as_deref() else { return Ok(None) };
        let driver = connect(&StoreUrl::parse(url)?, false)?;
        let credential = credential::other(args, &self.global, self.output, driver.url())?;
        self.open_with(driver, &credential).await.map(Some)
    }

    async fn open_with(
        &self,
        driver: Arc<dyn Driver>,
        credential: &Credential,
    ) -> Result<Repository, Failure> {
        let folder = self.cache_folder();
        let work = Repository::open_near(driver, &self.exec, &self.env, credential, folder.as_deref());
        let repository = self.exec.unless_cancelled(work).await?;
        if let Some(folder) = folder
            && !repository.keep_copies(&folder, CACHE_LEN_MAX)
        {
            // no copies cost requests, nothing else
            self.output.detail(&format!("no copies are kept: {} cannot be used", folder.display()));
        }
        self.output.detail(&format!(
            "opened repository {} at {} as {}",
            repository.repo_id(),
            repository.store().url(),
            repository.role()
        ));
        Ok(repository)
    }

    /// Where copies are kept, if they may be.
    fn cache_folder(&self) -> Option<PathBuf> {
        if self.global.no_cache {
            return None;
        }
        let of = |name| std::env::var_os(name).map(PathBuf::from).filter(|path| path.is_absolute());
        let default = || of("XDG_CACHE_HOME").or_else(|| Some(of("HOME")?.join(".cache")));
        self.global.cache_dir.clone().or_else(|| Some(default()?.join("orlop")))
    }

    /// Counters, and a display of them that ends when it is dropped.
    pub(crate) fn progress(&self) -> (Arc<Progress>, Display) {
        let progress = Arc::new(Progress::default());
        let display = Display::start(self.output, &progress);
        (progress, display)
    }

    /// Since the program began, in milliseconds' precision.
    pub(crate) fn duration_seconds(&self) -> f64 {
        (self.started.elapsed().as_secs_f64() * 1000.0).round() / 1000.0
    }
}

fn threads(global: &Global) -> usize {
    let cpus = || std::thread::available_parallelism().map_or(1, usize::from);
    global.threads.map_or_else(cpus, usize::from)
}
