//! Sessions that have announced a snapshot and not committed it yet.

use crate::inspect::open_pending;
use crate::prune::{end_session, probe};
use crate::{Error, ErrorKind, Repository, Result};
use repo_format::SnapshotId;
use repo_format::config::StoreMode;
use repo_format::layout::{ObjectName, PENDING_PREFIX, SNAPSHOT_PREFIX};
use repo_format::snapshot::Snapshot;
use std::collections::BTreeSet;

/// An announced snapshot.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct PendingEntry {
    /// Its name.
    pub sid: SnapshotId,
    /// What it would commit; none if the record cannot be read.
    pub snapshot: Option<Snapshot>,
    /// When the store says that it was written, in Unix milliseconds.
    pub stored_ms: u64,
    /// The snapshot is committed: only the announcement was not removed.
    pub committed: bool,
}

/// All pending records, oldest first, and why some could not be read.
pub async fn list(repository: &Repository) -> Result<(Vec<PendingEntry>, Vec<Error>)> {
    let store = repository.store();
    let listed = store.list(PENDING_PREFIX).await?;
    let snapshots = store.list(SNAPSHOT_PREFIX).await?;
    let names: BTreeSet<ObjectName> = snapshots.into_iter().map(|(name, _)| name).collect();
    let (mut entries, mut problems) = (Vec::new(), Vec::new());
    for (name, meta) in listed {
        let ObjectName::Pending(sid) = name else { continue };
        repository.exec().check_cancelled()?;
        // one that has ended since the listing is no session
        let Some(object) = store.get(&name).await? else { continue };
        let snapshot = match open_pending(repository, sid, &object) {
            Ok(view) => Some(view.snapshot),
            Err(error) => {
                problems.push(error);
                None
            }
        };
        let committed = names.contains(&ObjectName::Snapshot(sid));
        entries.push(PendingEntry { sid, snapshot, stored_ms: meta.modified_ms, committed });
    }
    entries.sort_by_key(|entry| (entry.stored_ms, entry.sid));
    Ok((entries, problems))
}

/// Ends a session: it cannot commit under this name any more, and what only it needs may go. A
/// session that still runs notices, and takes another name.
///
/// In mode *one* there are no tombstones: the session must be dead, for longer than a request of its may
/// still land (15 minutes on S3), or what it commits afterwards may lack what was pruned meanwhile.
///
/// # Errors
/// [`Error::Usage`] if there is no such session; [`Error::Role`] for a key that cannot sign;
/// [`Error::StoreUnfit`] where the store has stopped to keep its promises.
pub async fn drop_session(repository: &Repository, sid: SnapshotId) -> Result<()> {
    repository.require_deletable()?;
    if !repository.role().can_delete() {
        return Err(repository.role_error("session drop", "prune or owner"));
    }
    let name = ObjectName::Pending(sid);
    let found = repository.store().head(&name).await;
    if repository.config().store.mode == StoreMode::Many {
        // where the condition were ignored, the tombstone would replace a committed snapshot
        probe(repository).await?;
    }
    match found {
        Ok(Some(_)) => end_session(repository, sid).await,
        Ok(None) => Err(Error::Usage { what: format!("session {sid}: not found; it may have ended") }),
        Err(error) if error.kind() == ErrorKind::Damage => end_session(repository, sid).await,
        Err(error) => Err(error),
    }
}
