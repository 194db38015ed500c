//! What a machine does: one engine operation per job, and which of its errors are documented.

use super::content::{LABEL, Spec};
use super::profile::Chore;
use repo_format::SnapshotId;
use repository::backup::{BackupRequest, ChangedRanges, backup};
use repository::progress::Progress;
use repository::prune::{MaxUnused, Pace, PruneOptions, prune};
use repository::repair::{RepairOptions, repair};
use repository::store::{DriverError, StoreError};
use repository::{Error, ErrorKind, Repository, Result, forget, pending, snapshots, undelete};
use std::sync::Arc;
use std::time::Duration;

/// A job, with all its choices made.
#[derive(Debug, Clone)]
pub(super) enum Job {
    /// A backup; by changed ranges where the snapshot of one of the others is there to build on.
    Backup(Arc<Spec>, Vec<Arc<Spec>>),
    /// Something else; the number picks among what is there, and the window is a prune's.
    Chore {
        /// What.
        chore: Chore,
        /// Picks.
        choice: u64,
        /// The undelete window, in milliseconds.
        window_ms: u64,
        /// How far behind a prune leaves things alone.
        pace: Pace,
    },
    /// Forgets all but the newest snapshot and prunes twice: what no snapshot needs must go.
    Tidy,
}

/// What a job came to.
pub(super) enum Outcome {
    /// A snapshot was committed, says the engine, with so many volumes by changed ranges.
    Committed(SnapshotId, u64),
    /// Done, in words.
    Done(String),
    /// There was nothing to do it to.
    Nothing,
}

impl Job {
    /// For people.
    pub(super) fn text(&self) -> String {
        match self {
            Job::Backup(spec, _) => format!("Backup {}", spec.text()),
            Job::Chore { chore, window_ms, .. } => format!("{chore:?} window {window_ms} ms"),
            Job::Tidy => "Tidy".into(),
        }
    }

    /// Does it.
    pub(super) async fn run(self, repository: Repository) -> Result<Outcome> {
        let progress = Arc::new(Progress::default());
        let (chore, choice, window_ms, pace) = match self {
            Job::Backup(spec, earlier) => {
                let changed = changed_since(&repository, &spec, &earlier).await?;
                let request = BackupRequest { changed, ..spec.request() };
                let report = backup(&repository, request, &progress).await?;
                if let Some(note) = report.notes.iter().find(|note| note.is_fault) {
                    let (object, detail) = (note.volume.clone(), note.text.clone());
                    return Err(Error::Damage { object, detail });
                }
                let sid = report.snapshot_id;
                let count = report.volumes_by_ranges;
                return Ok(sid.map_or(Outcome::Nothing, |sid| Outcome::Committed(sid, count)));
            }
            Job::Chore { chore, choice, window_ms, pace } => (chore, choice, window_ms, pace),
            Job::Tidy => return tidy(&repository, &progress).await,
        };
        match chore {
            Chore::Forget | Chore::ForgetLast => {
                let Some(sid) = pick_snapshot(&repository, choice, false).await? else {
                    return Ok(Outcome::Nothing);
                };
                let report = forget::forget(&repository, &[sid], chore == Chore::ForgetLast).await?;
                Ok(Outcome::Done(format!("{report:?}")))
            }
            Chore::Prune | Chore::Merge => {
                let options = PruneOptions {
                    max_unused: if choice % 2 == 0 {
                        MaxUnused::Percent(0.0)
                    } else {
                        MaxUnused::Percent(5.0)
                    },
                    undelete_window: Duration::from_millis(window_ms),
                    index_only: chore == Chore::Merge,
                    pace,
                    ..PruneOptions::default()
                };
                Ok(Outcome::Done(format!("{:?}", prune(&repository, options, &progress).await?)))
            }
            Chore::Undelete => {
                let Some(sid) = pick_snapshot(&repository, choice, true).await? else {
                    return Ok(Outcome::Nothing);
                };
                let report = undelete::undelete(&repository, sid, &progress).await?;
                Ok(Outcome::Committed(report.snapshot_id, 0))
            }
            Chore::Drop => {
                let (sessions, problems) = pending::list(&repository).await?;
                first_problem(problems)?;
                let open: Vec<_> = sessions.iter().filter(|session| !session.committed).collect();
                let Some(session) = pick(&open, choice) else { return Ok(Outcome::Nothing) };
                pending::drop_session(&repository, session.sid).await?;
                Ok(Outcome::Done(format!("dropped {}", session.sid)))
            }
            Chore::Repair => {
                let options = RepairOptions { read_data: choice % 4 == 0, ..RepairOptions::default() };
                Ok(Outcome::Done(format!("{:?}", repair(&repository, options, &progress).await?)))
            }
            Chore::Backup => Ok(Outcome::Nothing),
        }
    }

    /// True for an error that the operation's documentation allows on a store that may fail.
    pub(super) fn may_fail_with(&self, error: &Error) -> bool {
        let chore = match self {
            Job::Backup(..) => Chore::Backup,
            Job::Chore { chore, .. } => *chore,
            Job::Tidy => return false,
        };
        match error {
            // outlasts three minutes of tries
            Error::Store(StoreError { cause: DriverError::Transient(_), .. }) => true,
            _ => match (chore, error.kind()) {
                (Chore::Forget | Chore::ForgetLast | Chore::Drop, ErrorKind::Conflict) => false,
                (_, ErrorKind::Conflict) => true,
                // picked a moment ago, gone or changed now
                (Chore::Forget | Chore::ForgetLast | Chore::Undelete | Chore::Drop, ErrorKind::Usage) => true,
                (Chore::Undelete, ErrorKind::Damage) => true,
                _ => false,
            },
        }
    }
}

/// What changed since the newest snapshot of one of `earlier` that can be built on, if any is there.
async fn changed_since(
    repository: &Repository,
    spec: &Spec,
    earlier: &[Arc<Spec>],
) -> Result<Option<ChangedRanges>> {
    if earlier.is_empty() {
        return Ok(None);
    }
    let (entries, _) = snapshots::list(repository).await?;
    let base = entries.iter().rev().find_map(|entry| {
        let no = entry.snapshot.labels.get(LABEL)?;
        let base = earlier.iter().find(|base| base.no.to_string() == *no && spec.can_build_on(base))?;
        Some(spec.changed_since(entry.id, base))
    });
    Ok(base)
}

async fn tidy(repository: &Repository, progress: &Arc<Progress>) -> Result<Outcome> {
    let (mut entries, problems) = snapshots::list(repository).await?;
    first_problem(problems)?;
    let kept = entries.iter().rposition(|entry| !entry.forgotten).map(|n| entries.remove(n));
    let rest: Vec<_> = entries.iter().map(|entry| entry.id).collect();
    forget::forget(repository, &rest, true).await?;
    let mut said = String::new();
    for _ in 0..2 {
        let options = PruneOptions {
            max_unused: MaxUnused::Percent(0.0),
            undelete_window: Duration::ZERO,
            ..PruneOptions::default()
        };
        let report = prune(repository, options, progress).await?;
        if let Some((sid, record)) = report.lost.first() {
            return Err(Error::Damage { object: sid.to_string(), detail: format!("lost {record}") });
        }
        said.push_str(&format!(" {report:?}"));
    }
    Ok(Outcome::Done(format!("kept {:?}{said}", kept.map(|entry| entry.id))))
}

fn pick<T>(of: &[T], choice: u64) -> Option<&T> {
    of.get(usize::try_from(choice % (of.len() as u64).max(1)).ok()?)
}

fn first_problem(problems: Vec<Error>) -> Result<()> {
    problems.into_iter().next().map_or(Ok(()), Err)
}

async fn pick_snapshot(repository: &Repository, choice: u64, forgotten: bool) -> Result<Option<SnapshotId>> {
    let (entries, problems) = snapshots::list(repository).await?;
    first_problem(problems)?;
    let fit: Vec<_> = entries.iter().filter(|entry| entry.forgotten == forgotten).collect();
    Ok(pick(&fit, choice).map(|entry| entry.id))
}
