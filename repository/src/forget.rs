//! Forget: a signed wish to drop a snapshot. Space comes back by prune.

use crate::env::Mutant;
use crate::snapshots::open_marker;
use crate::store::Put;
use crate::{Error, Repository, Result};
use repo_format::SnapshotId;
use repo_format::gc_record::ForgetMarker;
use repo_format::layout::ObjectName;
use repo_format::sealed::Class;

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
/// [`Error::Role`] for a key that cannot sign; [`Error::Usage`] for a snapshot that is not there; damage
/// if something that is no marker has a marker's name.
pub async fn forget(repository: &Repository, sids: &[SnapshotId], last: bool) -> Result<ForgetReport> {
    repository.require_writable()?;
    if !repository.role().can_delete() {
        return Err(repository.role_error("forget", "prune or owner"));
    }
    let mut report = ForgetReport::default();
    for sid in sids {
        let snapshot = ObjectName::Snapshot(*sid);
        if repository.store().head(&snapshot).await?.is_none() {
            return Err(Error::Usage { what: format!("snapshot {sid}: not found") });
        }
        if repository.env().breaks(Mutant::ForgetDeletes) {
            repository.store().delete(&snapshot).await?;
        }
        if mark(repository, *sid, last).await? {
            report.forgotten.push(*sid);
        } else {
            report.already.push(*sid);
        }
    }
    Ok(report)
}

/// False if the marker is there already.
async fn mark(repository: &Repository, sid: SnapshotId, last: bool) -> Result<bool> {
    let name = ObjectName::Forget { sid, last };
    let created_ms = repository.env().clock.now_ms();
    let body = ForgetMarker { sid, created_ms }.encode();
    let object = repository.seal_signed(Class::Forget, &name, &body)?;
    if repository.store().put(&name, object.into()).await? == Put::Created {
        return Ok(true);
    }
    let found = repository.store().get(&name).await?;
    let found = found.ok_or_else(|| Error::damage(name, "it is there and cannot be read"))?;
    open_marker(repository, &name, sid, &found)?;
    Ok(false)
}
