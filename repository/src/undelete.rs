//! Undelete: what was forgotten and is not deleted yet becomes a snapshot again, under a new name.

use crate::backup::undelete::commit_again;
use crate::progress::Progress;
use crate::snapshots::open_snapshot;
use crate::{Error, ErrorKind, Repository, Result, gc};
use repo_format::SnapshotId;
use repo_format::layout::ObjectName;
use std::sync::Arc;

/// What an undelete did.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct UndeleteReport {
    /// The forgotten snapshot.
    pub forgotten_id: SnapshotId,
    /// The new one, with the same content.
    pub snapshot_id: SnapshotId,
    /// Bytes uploaded, all objects: what was copied out of condemned packs, and a little structure.
    pub bytes_stored: u64,
}

/// Makes a new snapshot of the content of a forgotten one.
///
/// # Errors
/// [`Error::Usage`] if it is gone, going or not forgotten; damage if a record of it is lost that no prune had a
/// reason to delete; [`Error::Role`] for a key that cannot write.
pub async fn undelete(
    repository: &Repository,
    sid: SnapshotId,
    progress: &Arc<Progress>,
) -> Result<UndeleteReport> {
    repository.require_writable()?;
    if !repository.role().can_write_data() {
        return Err(repository.role_error("undelete", "backup or owner"));
    }
    let usage = |why: &str| Error::Usage { what: format!("snapshot {sid}: {why}") };
    let name = ObjectName::Snapshot(sid);
    let object = repository.store().get(&name).await?;
    let object = object.ok_or_else(|| usage("not found; if it was forgotten, its time has run out"))?;
    let snapshot = open_snapshot(repository, sid, &object)?;
    let snapshot = snapshot.ok_or_else(|| usage("its session was ended; there is nothing to bring back"))?;
    if !is_forgotten(repository, sid).await? {
        return Err(usage("it is not forgotten"));
    }
    let before = repository.store().stats().uploaded_bytes;
    let snapshot_id = match commit_again(repository, &snapshot, progress).await {
        // a prune has it in its plan: what is missing was deleted, not lost
        Err(error) if error.kind() == ErrorKind::Damage && is_planned(repository, sid).await => {
            return Err(usage(&format!("its time has run out, it is being deleted ({error})")));
        }
        committed => committed?,
    };
    let bytes_stored = repository.store().stats().uploaded_bytes.saturating_sub(before);
    Ok(UndeleteReport { forgotten_id: sid, snapshot_id, bytes_stored })
}

/// Whether the newest plan counts it among the forgotten.
async fn is_planned(repository: &Repository, sid: SnapshotId) -> bool {
    gc::view(repository).await.is_ok_and(|view| view.forgotten.contains(&sid))
}

async fn is_forgotten(repository: &Repository, sid: SnapshotId) -> Result<bool> {
    if gc::view(repository).await?.forgotten.contains(&sid) {
        return Ok(true);
    }
    for last in [false, true] {
        if repository.store().head(&ObjectName::Forget { sid, last }).await?.is_some() {
            return Ok(true);
        }
    }
    Ok(false)
}
