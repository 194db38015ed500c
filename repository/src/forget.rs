//! Forget: a signed wish to drop a snapshot. Space comes back by prune.

use crate::{Error, Repository, Result};
use repo_format::SnapshotId;

/// What became of the snapshots that were named.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct ForgetReport {
    /// A marker was written.
    pub forgotten: Vec<SnapshotId>,
    /// They had one already.
    pub already: Vec<SnapshotId>,
}

/// Writes a marker for each snapshot; `last` allows prune to take even the last complete one of its group.
///
/// # Errors
/// [`Error::Role`] for a key that cannot sign; [`Error::Usage`] for a snapshot that is not there.
pub async fn forget(repository: &Repository, sids: &[SnapshotId], last: bool) -> Result<ForgetReport> {
    let _ = (repository, sids, last);
    Err(Error::internal("to come"))
}
