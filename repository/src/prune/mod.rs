//! Prune: what no snapshot needs is condemned, and deleted once it may be.
//!
//! Any number of prunes may run anywhere, beside any number of backups. The steps p0 to p9 are those
//! of `docs/design.md`: what is about to happen is written down first (a *plan*), then everything is
//! looked at again, and only what is still not needed is condemned (a *sweep*). Deletion comes last and
//! goes by the newest sweep alone.

mod choose;
mod condemn;
mod confirm;
mod copy;
mod delete;
mod duties;
mod forgotten;
mod inventory;
mod mark;
mod owner;
mod plan;
mod report;
pub(crate) mod roots;
mod sessions;
mod survey;
#[cfg(test)]
mod tests;

pub use report::{MaxUnused, PlannedPack, PrunePlan, PruneReport, Reason, RunsPlan};
pub(crate) use sessions::end_session;

use crate::env::Mutant;
use crate::gc;
use crate::index::{self, MergeLimits, MergePlan, RunInfo};
use crate::progress::Progress;
use crate::spill::SpillFolder;
use crate::{Error, Repository, Result};
use repo_format::ProcessId;
use repo_format::config::StoreMode;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

/// How a prune is to be done.
#[derive(Debug, Clone)]
pub struct PruneOptions {
    /// Plan only, write nothing.
    pub dry_run: bool,
    /// How much that nothing needs may stay in packs with something that is needed.
    pub max_unused: MaxUnused,
    /// Bytes of records copied at most.
    pub max_repack_bytes: Option<u64>,
    /// No repacking begins after this time.
    pub max_time: Option<Duration>,
    /// How long condemned packs can still be brought back.
    pub undelete_window: Duration,
    /// Merge index runs, nothing else.
    pub index_only: bool,
    /// Mode one: processes whose unfinished plans are taken over. Each must be dead, and for longer than a
    /// request of its may still land (15 minutes on S3).
    pub take_over: Vec<ProcessId>,
    /// Where large marks are sorted; the system's temporary directory by default.
    pub temp_dir: Option<PathBuf>,
    /// How far behind things are left alone.
    pub pace: Pace,
}

/// Distances that spare running backups work. Safety does not depend on them.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Pace {
    /// Packs of a session that has not ended stay for this time, by the store.
    pub session_age: Duration,
    /// A pending record this old is ended by a tombstone.
    pub pending_age: Duration,
    /// The floor stays this many generations behind...
    pub floor_generations: u64,
    /// ...and behind the newest generation that is this old.
    pub floor_age: Duration,
    /// More small index runs than this are merged.
    pub small_runs: usize,
}

/// A week: longer than any backup should take.
const WEEK: Duration = Duration::from_secs(7 * 24 * 60 * 60);

impl Default for Pace {
    fn default() -> Self {
        Pace { session_age: WEEK, pending_age: WEEK, floor_generations: 30, floor_age: WEEK, small_runs: 8 }
    }
}

impl Default for PruneOptions {
    fn default() -> Self {
        PruneOptions {
            dry_run: false,
            max_unused: MaxUnused::Percent(5.0),
            max_repack_bytes: None,
            max_time: None,
            undelete_window: Duration::from_secs(24 * 60 * 60),
            index_only: false,
            take_over: Vec::new(),
            temp_dir: None,
            pace: Pace::default(),
        }
    }
}

/// How often another prune may be faster.
const ROUNDS_MAX: usize = 16;
/// Entries of small and of old index runs that are merged in one go.
const MERGE_ENTRIES_MAX: u64 = 1 << 21;
/// More large runs than this that cover all ids are merged into runs split by id...
const WIDE_RUNS_MAX: usize = 8;
/// ...so many entries at a time: some eight runs, of which each names most packs of all.
const GROUP_ENTRIES: u64 = 1 << 23;
/// Runs with fewer entries are small.
const SMALL_RUN_ENTRIES: u64 = 1 << 17;

/// One prune.
pub(super) struct Prune<'a> {
    repository: &'a Repository,
    options: &'a PruneOptions,
    progress: &'a Arc<Progress>,
    report: PruneReport,
    folder: SpillFolder,
    /// Names this process where plans carry names.
    process: ProcessId,
    /// The store's time.
    now_ms: u64,
    started: Duration,
    /// What the runs said when they were last read.
    runs: Option<Vec<RunInfo>>,
    /// A sweep is on its way, or there: the plan may not be withdrawn any more.
    sweep_sent: bool,
}

/// What a round came to.
pub(super) enum Round {
    /// All that could be done was done.
    Done,
    /// Somebody else was faster, or an unfinished generation was ended first.
    Again,
}

/// Prunes the repository.
///
/// # Errors
/// [`Error::Role`] for a key that cannot sign; damage of what says what is needed: an index run, a
/// snapshot, a deletion record; [`Error::Conflict`] if other prunes keep being faster.
pub async fn prune(
    repository: &Repository,
    options: PruneOptions,
    progress: &Arc<Progress>,
) -> Result<PruneReport> {
    repository.require_deletable()?;
    if !repository.role().can_delete() {
        return Err(repository.role_error("prune", "prune or owner"));
    }
    if repository.config().domains.len() > 1 {
        let reason = "it has more than one domain, and this version prunes only one";
        return Err(Error::StoreUnfit { url: repository.store().url().to_owned(), reason: reason.into() });
    }
    let clock = &repository.env().clock;
    let (started, now_ms) = (clock.monotonic(), clock.now_ms());
    let mut prune = Prune {
        repository,
        options: &options,
        progress,
        report: PruneReport::default(),
        folder: SpillFolder::new(repository, options.temp_dir.as_deref())?,
        process: ProcessId(repository.env().random()?),
        now_ms,
        started,
        runs: None,
        sweep_sent: false,
    };
    prune.run().await?;
    Ok(prune.report)
}

/// A store that has stopped to keep its promises must not be pruned, nor get tombstones.
pub(crate) async fn probe(repository: &Repository) -> Result<()> {
    let store = repository.store();
    let report = store.probe().await?;
    let unfit = |reason: &str| Error::StoreUnfit { url: store.url().to_owned(), reason: reason.into() };
    if !report.read_after_write && repository.config().store.delta_ms == 0 {
        return Err(unfit("what was just written was not read or listed; nothing can be ended safely here"));
    }
    if !report.put_if_absent && repository.config().store.mode == StoreMode::Many {
        let reason = "put-if-absent had several winners, though it had one when the repository was made \
                      (mode many): only a repository made on such a store can be pruned on it; \
                      nothing was changed";
        return Err(unfit(reason));
    }
    Ok(())
}

impl Prune<'_> {
    async fn run(&mut self) -> Result<()> {
        if !self.options.dry_run {
            self.progress.phase("testing the store");
            probe(self.repository).await?;
            self.now_ms = delete::store_now(self.repository).await?;
            if self.is_one() && !self.options.index_only {
                // whoever is at work is left alone
                self.stop_unless_dead(&gc::state(self.repository).await?)?;
                self.own().await?;
            }
        }
        if !self.options.index_only {
            let mut rounds = 0;
            while let Round::Again = self.round().await? {
                rounds += 1;
                if rounds >= ROUNDS_MAX {
                    let what = "other prunes keep being faster; nothing is lost, run it again later";
                    return Err(Error::Conflict { what: what.into() });
                }
            }
        }
        self.merge().await
    }

    /// p0 to p7.
    async fn round(&mut self) -> Result<Round> {
        self.progress.phase("reading deletion records");
        let state = gc::state(self.repository).await?;
        if !self.options.dry_run {
            self.end_stale_sessions().await?;
        }
        if let Some(plan) = state.unfinished() {
            if self.options.dry_run {
                let what =
                    if self.is_one() { "it may have to be taken over" } else { "a prune ends it first" };
                let text = format!("{} is unfinished: {what}; only then it plans anew", plan.name);
                self.report.warnings.push(text);
                return Ok(Round::Done);
            }
            if self.withdraw_dead(&state).await? {
                return Ok(Round::Again);
            }
            return self.resume(&state, plan.clone()).await;
        }
        self.delete_due(&state).await?;
        self.plan_and_condemn(&state).await
    }

    /// p9, and the end of runs and records that nobody reads any more.
    async fn merge(&mut self) -> Result<()> {
        self.progress.phase("merging the index");
        let state = gc::state(self.repository).await?;
        let infos = match self.runs.take() {
            Some(infos) => infos,
            None => index::run_infos(self.repository).await?,
        };
        let limits = MergeLimits {
            small_entries: SMALL_RUN_ENTRIES,
            small_runs: self.options.pace.small_runs,
            entries_max: MERGE_ENTRIES_MAX,
            wide_runs: WIDE_RUNS_MAX,
            group_entries: GROUP_ENTRIES,
            generations: self.options.pace.floor_generations,
        };
        let runs = infos.len() as u64;
        let view = state.view();
        let plans = MergePlan::all(infos, view.sweeps, view.floor, limits);
        let sum = |of: fn(&MergePlan) -> usize| plans.iter().map(of).sum::<usize>() as u64;
        let (merged, removed) = (sum(|plan| plan.inputs.len()), sum(|plan| plan.below_floor.len()));
        self.report.plan.runs = RunsPlan { runs, merged, removed };
        if self.options.dry_run {
            return Ok(());
        }
        for plan in plans {
            let merged = index::merge(self.repository, &plan, &view, &self.folder).await?;
            self.report.runs_written += merged.written;
            self.report.runs_deleted += merged.deleted;
        }
        self.delete_old_records(&state).await
    }

    pub(super) fn window_ms(&self) -> u64 {
        u64::try_from(self.options.undelete_window.as_millis()).unwrap_or(u64::MAX)
    }

    /// Whether something stored at `stored_ms` is older than `age` by the store.
    pub(super) fn is_older(&self, stored_ms: u64, age: Duration) -> bool {
        let age_ms = u64::try_from(age.as_millis()).unwrap_or(u64::MAX);
        stored_ms.saturating_add(age_ms) <= self.now_ms
    }

    pub(super) fn breaks(&self, mutant: Mutant) -> bool {
        self.repository.env().breaks(mutant)
    }

    /// Bytes of memory that a set of ids may take: `parts` of 16.
    pub(super) fn memory(&self, parts: u64) -> usize {
        usize::try_from(self.repository.exec().memory_len() / 16 * parts).unwrap_or(usize::MAX)
    }

    /// Until what was written is seen by everybody, unless `mutant` leaves the wait out.
    pub(super) async fn wait_unless(&self, mutant: Mutant) -> Result<()> {
        if self.breaks(mutant) { Ok(()) } else { gc::wait_delta(self.repository).await }
    }
}
