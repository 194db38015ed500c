//! Undelete: what was forgotten and is not deleted yet becomes a snapshot again, under a new name.

use crate::progress::Progress;
use crate::{Error, Repository, Result};
use repo_format::SnapshotId;
use std::sync::Arc;

/// What an undelete did.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct UndeleteReport {
    /// The forgotten snapshot.
    pub forgotten_id: SnapshotId,
    /// The new one, with the same content.
    pub snapshot_id: SnapshotId,
    /// Sealed bytes copied out of condemned packs.
    pub bytes_copied: u64,
    /// Bytes uploaded, all objects.
    pub bytes_stored: u64,
}

/// Makes a new snapshot of the content of a forgotten one.
///
/// # Errors
/// [`Error::Usage`] if it is gone or not forgotten; damage if a record of it is gone.
pub async fn undelete(
    repository: &Repository,
    sid: SnapshotId,
    progress: &Arc<Progress>,
) -> Result<UndeleteReport> {
    let _ = (repository, sid, progress);
    Err(Error::internal("to come"))
}
