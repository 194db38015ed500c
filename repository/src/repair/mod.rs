//! Repair: the index anew from what packs say of themselves, and signed marks on what is lost.
//!
//! It goes as a session does (docs/adr/0020): the deletion records are read first, then snapshots,
//! runs and packs are listed. It names every pack that is not dead, and relies on none that a prune
//! is about to condemn. Everything it writes is an object more; runs are removed last, after the
//! wait, so that a crash at any point leaves what the next repair goes on from.

mod index;
mod marks;
mod publish;
mod report;
mod walk;

pub use marks::{Mark, marks};
pub use report::{LostPack, NamedPack, PlannedMark, RepairPlan, RepairReport};
pub(crate) use walk::joined;

use crate::gc::{self, GcView};
use crate::progress::Progress;
use crate::reader::Reader;
use crate::snapshots::{self, SnapshotEntry};
use crate::{Error, Repository, Result};
use index::Gathered;
use repo_format::layout::SNAPSHOT_PREFIX;
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
    if !options.dry_run {
        repository.require_writable()?;
        if !repository.role().can_delete() {
            return Err(repository.role_error("repair", "prune or owner"));
        }
    }
    if options.read_data {
        repository.content_secret("reading content")?;
        repository.identity("reading content")?;
    }
    let mut repair = Repair { repository, options, progress, report: RepairReport::default() };
    for _ in 0..STARTS_MAX {
        if repair.round().await? {
            return Ok(repair.report);
        }
    }
    let what = format!("prunes have overtaken this repair {STARTS_MAX} times; run it again");
    Err(Error::Conflict { what })
}

struct Repair<'a> {
    repository: &'a Repository,
    options: RepairOptions,
    progress: &'a Arc<Progress>,
    report: RepairReport,
}

impl Repair<'_> {
    /// True if it came to its end; false if a prune went on meanwhile.
    async fn round(&mut self) -> Result<bool> {
        self.progress.phase("reading the index");
        let view = gc::view(self.repository).await?;
        // before the runs: what a snapshot needs was listed before it was committed
        let (entries, unread) = snapshots::list(self.repository).await?;
        let mut gathered = Gathered::read(self.repository, &view).await?;
        self.progress.phase("reading trailers");
        gathered.compare_with_packs(self.repository, &view).await?;
        self.plan_index(&gathered);
        let unread = unread.iter().map(ToString::to_string);
        (self.report.unreadable, self.report.warnings) =
            unread.partition(|text| text.starts_with(SNAPSHOT_PREFIX));
        let mut obsolete = Vec::new();
        if !self.options.dry_run {
            self.progress.phase("writing the index");
            obsolete = self.publish(&gathered, &view).await?;
            if self.is_overtaken(&view).await? {
                return Ok(false);
            }
        }
        let index = Arc::new(gathered.into_index());
        let reader = Reader::new(self.repository.clone(), index);
        self.progress.phase("walking maps");
        let kept: Vec<SnapshotEntry> =
            entries.into_iter().filter(|entry| !view.forgotten.contains(&entry.id)).collect();
        let marked = marks::read(self.repository).await?;
        let found = walk::find_lost(&reader, &kept, &marked, &view, self.options.read_data).await?;
        // what was deleted or moved meanwhile is no loss
        if !self.options.dry_run && self.is_overtaken(&view).await? {
            return Ok(false);
        }
        self.mark(&marked, found).await?;
        self.remove_runs(&obsolete).await?;
        Ok(true)
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
