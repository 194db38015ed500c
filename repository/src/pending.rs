//! Sessions that have announced a snapshot and not committed it yet.

use crate::{Error, Repository, Result};
use repo_format::SnapshotId;
use repo_format::snapshot::Snapshot;

/// An announced snapshot.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct PendingEntry {
    /// Its name.
    pub sid: SnapshotId,
    /// What it would commit.
    pub snapshot: Snapshot,
    /// Its parent.
    pub parent: Option<SnapshotId>,
    /// When the store says that it was written, in Unix milliseconds.
    pub stored_ms: u64,
    /// The snapshot is committed: only the announcement was not removed.
    pub committed: bool,
}

/// All pending records, oldest first, and what could not be read.
pub async fn list(repository: &Repository) -> Result<(Vec<PendingEntry>, Vec<Error>)> {
    let _ = repository;
    Err(Error::internal("to come"))
}

/// Ends a session: it cannot commit under this name any more, and what only it needs may go.
///
/// # Errors
/// [`Error::Usage`] if there is no such session; [`Error::Role`] for a key that cannot sign.
pub async fn drop_session(repository: &Repository, sid: SnapshotId) -> Result<()> {
    let _ = (repository, sid);
    Err(Error::internal("to come"))
}
