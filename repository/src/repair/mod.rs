//! Repair: the index anew from what packs say of themselves, records that exist anywhere still, and
//! signed marks on what is lost.
//!
//! It goes as a session does (docs/adr/0012, 0020): the deletion records are read first, then snapshots,
//! runs and packs are listed. It names every pack that is not dead, and relies on none that a prune
//! is about to condemn: what only such a pack holds is copied. First all is looked at, then a plan is made,
//! then it is executed. Everything it writes is an object more; removals come last, after the
//! wait, so that a crash at any point leaves what the next repair goes on from.

mod chain;
mod execute;
mod flawed;
mod foreign;
mod ground;
mod index;
mod marks;
mod packs;
mod plan;
mod rebuild;
mod records;
mod recut;
mod report;
mod reseal;
mod sources;
mod walk;

pub use marks::{Mark, marks};
pub use report::{
    BadRecord, FlawedPack, LostPack, NamedPack, Origin, PlannedCopy, PlannedMark, PlannedRecut, Remedy,
    RepairPlan, RepairReport,
};
pub(crate) use walk::joined;

use crate::gc::{self, GcView};
use crate::progress::Progress;
use crate::reader::Reader;
use crate::snapshots::{self, SnapshotEntry};
use crate::{Error, Repository, Result};
use foreign::Foreign;
use ground::Ground;
use index::Gathered;
use packs::Depth;
use plan::{Seen, plan};
use sources::Beyond;
use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

/// Starts before a repair gives up: each means that a prune has gone on meanwhile.
const STARTS_MAX: u32 = 8;

/// What to repair, and how thoroughly to look.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct RepairOptions {
    /// Nothing is written or removed.
    pub dry_run: bool,
    /// Content is read, too: what does not open is lost. Needs a key that can read.
    pub read_data: bool,
}

/// Mends the index and marks what is lost. A second run in a row changes nothing.
///
/// # Errors
/// [`Error::Role`] for a key that cannot sign (unless `dry_run`) or, with `read_data`, not read
/// content; [`Error::Conflict`] if prunes overtake it again and again; damage of the deletion
/// records, without which nobody can say which packs count; the store's refusals.
pub async fn repair(
    repository: &Repository,
    options: RepairOptions,
    progress: &Arc<Progress>,
) -> Result<RepairReport> {
    repair_from(repository, None, options, progress).await
}

/// As [`repair`], and what no pack here holds any more comes out of `other`.
///
/// A replica of this very repository in another place, made by whatever copies objects, gives its records;
/// its packs are enough. Of a repository with other keys the plain bytes are read, where its snapshots have
/// volumes of the same names, and cut with our keys: an equal id is what was lost.
///
/// # Errors
/// [`Error::Role`] if `other` has other keys and one of both cannot read content.
pub async fn repair_from(
    repository: &Repository,
    other: Option<&Repository>,
    options: RepairOptions,
    progress: &Arc<Progress>,
) -> Result<RepairReport> {
    if !options.dry_run {
        repository.require_deletable()?;
        if !repository.role().can_delete() {
            return Err(repository.role_error("repair", "prune or owner"));
        }
    }
    if options.read_data {
        repository.content_secret("reading content")?;
        repository.identity("reading content")?;
    }
    let is_replica = |other: &&Repository| other.repo_id() == repository.repo_id();
    let (replica, stranger) = (other.filter(is_replica), other.filter(|other| !is_replica(other)));
    if let Some(stranger) = stranger {
        repository.content_secret("repair from a repository with other keys")?;
        stranger.content_secret("reading the repository of --from, which has other keys,")?;
    }
    let done = RepairReport::default();
    let mut repair = Repair { repository, replica, stranger, foreign: None, options, progress, done };
    let mut starts = 0;
    while starts < STARTS_MAX {
        match repair.round().await? {
            Round::Done => return Ok(repair.done),
            Round::Overtaken => starts += 1,
            // each of these has written something that was missing
            Round::More => {}
        }
    }
    let what = format!("prunes have overtaken this repair {STARTS_MAX} times; run it again");
    Err(Error::Conflict { what })
}

/// How a round ended.
enum Round {
    Done,
    /// A prune went on meanwhile.
    Overtaken,
    /// Something was written, and there is more than fits into one round.
    More,
}

struct Repair<'a> {
    repository: &'a Repository,
    replica: Option<&'a Repository>,
    /// A repository with other keys, and what of it this round goes by.
    stranger: Option<&'a Repository>,
    foreign: Option<Foreign>,
    options: RepairOptions,
    progress: &'a Arc<Progress>,
    /// What was done so far, and by which plans.
    done: RepairReport,
}

impl Repair<'_> {
    /// Looks, plans and executes.
    async fn round(&mut self) -> Result<Round> {
        self.progress.phase("reading the index");
        let state = match gc::state(self.repository).await {
            Ok(state) => state,
            Err(error) if error.is_damage() => return self.mend_chain(error).await,
            Err(error) => return Err(error),
        };
        let seen = self.look(&state).await?;
        let (view, is_dry) = (seen.view.clone(), self.options.dry_run);
        // what was deleted or moved meanwhile is no loss
        if self.is_overtaken(&view).await? {
            return Ok(Round::Overtaken);
        }
        let (steps, report) = plan(seen)?;
        self.done.absorb(report);
        if is_dry {
            return Ok(Round::Done);
        }
        let mut obsolete = steps.remove.clone();
        if steps.has_runs() {
            self.progress.phase("writing the index");
            match self.publish(&steps).await? {
                Some(runs) => obsolete = runs,
                None => return Ok(Round::Overtaken),
            }
            if self.is_overtaken(&view).await? {
                return Ok(Round::Overtaken);
            }
            if steps.has_more {
                return Ok(Round::More);
            }
        }
        self.finish(&steps, &obsolete).await?;
        Ok(Round::Done)
    }

    /// Everything that the plan is made from. Writes nothing.
    async fn look(&mut self, state: &gc::GcState) -> Result<Seen> {
        let (repository, view) = (self.repository, state.view());
        // before the runs: what a snapshot needs was listed before it was committed
        let (entries, _) = snapshots::list(repository).await?;
        let kept: Vec<SnapshotEntry> =
            entries.into_iter().filter(|entry| !view.forgotten.contains(&entry.id)).collect();
        let mut gathered = Gathered::read(repository, &view).await?;
        self.progress.phase("reading trailers");
        let marked = marks::read(repository).await?;
        let records = records::look(repository, state, &marked).await?;
        // with no run and no mark left nothing can have been left out on purpose
        let unnamed = !gathered.runs.is_empty() || !marked.newest.is_empty();
        let depth = Depth { data: self.options.read_data, unnamed };
        gathered.compare_with_packs(repository, &view, depth).await?;
        let reader = Reader::new(repository.clone(), Arc::new(gathered.take_index()));
        self.progress.phase("walking maps");
        let copied: BTreeSet<[u8; 16]> = gathered.flawed.iter().flat_map(|one| one.copied.clone()).collect();
        let condemned = &view.condemned;
        let read_data = self.options.read_data;
        let mut ground =
            Ground { reader: &reader, condemned, copied, beyond: None, built: BTreeMap::new(), read_data };
        let is_whole = ground.is_whole(&kept).await?;
        let (beyond, mut copies) = (self.beyond(is_whole, &gathered).await?, Vec::new());
        if let Some(beyond) = &beyond {
            ground.beyond = Some(beyond);
            let wanted = ground.wanted(&kept).await?;
            copies = sources::choose(wanted, &reader, condemned, beyond).await?;
            ground.copied.extend(copies.iter().flat_map(|copy| copy.ids.iter().copied()));
        }
        let (mut recuts, mut has_more) = (Vec::new(), false);
        if let Some(stranger) = self.stranger.filter(|_| !is_whole) {
            let foreign = self.foreign.insert(Foreign::open(stranger).await?);
            (recuts, has_more) = recut::seek(&mut ground, foreign, &kept).await?;
        }
        let lost = ground.find_lost(&kept, &marked, is_whole).await?;
        // which manifests are lost can be told only once their table of contents is written
        has_more |= lost.values().any(|lost| lost.manifests == [walk::ALL_MANIFESTS]);
        drop(ground);
        Ok(Seen { view, gathered, copies, recuts, has_more, lost, marked, records })
    }

    /// Packs that do not count, if something is missing in those that do.
    async fn beyond(&self, is_whole: bool, gathered: &Gathered) -> Result<Option<Beyond>> {
        if is_whole {
            return Ok(None);
        }
        self.progress.phase("looking for copies");
        Beyond::read(self.repository, &gathered.dead, self.replica).await.map(Some)
    }

    /// The newest plan or sweep cannot be read: nothing else can be looked at before that is mended.
    async fn mend_chain(&mut self, error: Error) -> Result<Round> {
        gc::wait_delta(self.repository).await?;
        let (name, record, way_out) = chain::look(self.repository).await?;
        let Some(end) = way_out else {
            // by now it may have been read all the same
            return match gc::state(self.repository).await {
                Ok(_) => Ok(Round::Overtaken),
                Err(_) => Err(Error::damage(name, format!("{error}; {}", record.why))),
            };
        };
        let mut report = RepairReport::default();
        report.plan.records.insert(name.to_string(), record);
        self.done.absorb(report);
        if self.options.dry_run {
            return Ok(Round::Done);
        }
        chain::execute(self.repository, end).await?;
        self.done.records_settled += 1;
        Ok(Round::Overtaken)
    }

    /// Whether a prune has gone on since `view` was read, so that nothing may be said by it.
    async fn is_overtaken(&self, view: &GcView) -> Result<bool> {
        gc::wait_delta(self.repository).await?;
        let now = gc::view(self.repository).await?;
        Ok(now.newest_floor > view.sweeps
            || now.sweeps != view.sweeps
            || now.condemned != view.condemned
            || now.forgotten != view.forgotten)
    }
}
