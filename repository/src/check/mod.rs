//! Checking a repository: what is damaged or missing, and which snapshots that hurts.
//!
//! Damage never ends a check, it is collected; an answer of the store that is no damage does.
//! Objects come first, then the index, then the packs, and the maps last: by then it is known
//! which packs and records are bad, so one walk says which snapshots need them.

mod catalogue;
mod chain;
mod confidence;
mod content;
mod deletion;
mod objects;
mod packs;
mod report;
mod runs;
mod scrub;
mod walk;

pub use confidence::Confidence;
pub(crate) use content::{Remains, remains};
pub use report::{CheckReport, Finding};
pub use scrub::scrub;

use crate::gc::{self, GcView};
use crate::index::{self, Entry, PackInfo};
use crate::progress::Progress;
use crate::reader::Reader;
use crate::{Error, Repository, Result};
use objects::Finals;
use repo_format::SnapshotId;
use report::Findings;
use std::collections::BTreeSet;
use std::sync::Arc;

/// How much of the packs is read whole.
#[derive(Debug, Clone, Copy, PartialEq, Default)]
pub enum ReadData {
    /// Only what structure needs: trailers and map pages.
    #[default]
    None,
    /// Every pack.
    All,
    /// Random packs: this share of their number, in percent.
    Percent(f64),
    /// Random packs until this many bytes are read.
    Bytes(u64),
}

/// What to check.
#[derive(Debug, Clone, Default)]
pub struct CheckOptions {
    /// How much of the packs is read whole.
    pub read_data: ReadData,
    /// Snapshots to walk; none for all.
    pub snapshots: Vec<SnapshotId>,
}

/// What all steps of a check share.
struct Check<'a> {
    repository: &'a Repository,
    progress: &'a Arc<Progress>,
    findings: Findings,
    /// Objects looked at.
    objects: u64,
    /// Findings that hurt every snapshot.
    hurt_all: Vec<usize>,
}

impl Check<'_> {
    /// True: what no key opens may belong to a domain that this key has no part in.
    fn has_foreign_domains(&self) -> bool {
        self.repository.config().domains.len() > 1
    }
}

/// Checks objects, index, packs and maps with the keys that opened the repository.
///
/// # Errors
/// Only what is no damage: the store's refusals, a cancelled run, a snapshot that is not there.
pub async fn check(
    repository: &Repository,
    options: CheckOptions,
    progress: &Arc<Progress>,
) -> Result<CheckReport> {
    let before = repository.store().stats().downloaded_bytes;
    let mut check =
        Check { repository, progress, findings: Findings::default(), objects: 0, hurt_all: Vec::new() };
    progress.phase("records");
    objects::check_slots(&mut check).await?;
    chain::check(&mut check).await?;
    deletion::check(&mut check).await?;
    objects::check_marks(&mut check).await?;
    let view = believed_view(repository).await?;
    let finals = objects::read_finals(&mut check, &view).await?;
    let wanted = select(&finals, &options.snapshots)?;

    progress.phase("index");
    let runs = runs::read(&mut check, &view).await?;
    let mut inventory = packs::list(&mut check, runs, &view, &finals).await?;
    progress.phase("packs");
    let (confidence, mut damage) = packs::check(&mut check, &inventory, options.read_data).await?;

    progress.phase("maps");
    let reader = Reader::new(repository.clone(), inventory.pages.clone());
    walk::check(&mut check, &reader, &mut damage, &inventory, &finals, &wanted).await?;
    let content_opened = repository.bundle().content_secret().is_some();
    if content_opened {
        progress.phase("manifests");
        let mut walked = wanted.iter().filter_map(|n| finals.snapshots.get(*n));
        if walked.any(|snapshot| snapshot.catalogue.is_some()) {
            let reader = content_reader(repository, &view, &mut inventory.adopted).await?;
            catalogue::check(&mut check, &reader, &finals, &wanted).await?;
        }
    }
    let sids: Vec<SnapshotId> = finals.names.iter().copied().collect();
    for n in std::mem::take(&mut check.hurt_all) {
        sids.iter().for_each(|sid| check.findings.hurt(n, *sid));
    }
    let mut errors = check.findings.finish();
    if options.snapshots.is_empty() {
        // what no run names and no snapshot misses is prune's to remove, whatever state it is in
        errors.retain(|found| !found.snapshots.is_empty() || !inventory.unlisted.contains(&found.object));
    }
    let missed: BTreeSet<&str> = errors.iter().map(|found| found.object.as_str()).collect();
    let unreferenced =
        inventory.unlisted.iter().filter(|name| !missed.contains(name.as_str())).count() as u64;
    Ok(CheckReport {
        errors,
        objects: check.objects,
        bytes_read: repository.store().stats().downloaded_bytes.saturating_sub(before),
        confidence,
        snapshots_checked: wanted.len() as u64,
        unreferenced,
        content_opened,
    })
}

/// Reads chunks, too, those in packs that are wrongly in no run included. What of the index cannot be read is reported
/// elsewhere.
async fn content_reader(
    repository: &Repository,
    view: &GcView,
    adopted: &mut (Vec<PackInfo>, Vec<Entry>),
) -> Result<Reader> {
    let listing = index::list_runs(repository).await?;
    let (known, _) = index::load(repository, &listing, view.floor, &view.dead, false).await?;
    let (packs, entries) = std::mem::take(adopted);
    Ok(Reader::new(repository.clone(), known.extended(packs, entries.into_iter())))
}

/// The state of deletion; none where its newest records are damaged, which is reported elsewhere.
async fn believed_view(repository: &Repository) -> Result<GcView> {
    match gc::view(repository).await {
        Err(error) if error.is_bad_copy() => Ok(GcView::default()),
        other => other,
    }
}

/// Numbers of the snapshots to walk.
fn select(finals: &Finals, asked: &[SnapshotId]) -> Result<Vec<usize>> {
    if asked.is_empty() {
        return Ok((0..finals.snapshots.len()).collect());
    }
    let mut wanted = Vec::new();
    for sid in asked {
        match finals.snapshots.iter().position(|snapshot| snapshot.sid == *sid) {
            Some(n) => wanted.push(n),
            // it is there and was found damaged, or is being deleted
            None if finals.names.contains(sid) => {}
            None => return Err(Error::Usage { what: format!("snapshot {sid}: not found") }),
        }
    }
    wanted.sort_unstable();
    wanted.dedup();
    Ok(wanted)
}
