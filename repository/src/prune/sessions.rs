//! Sessions that will not come back (step p8): their pending records would keep packs for ever.

use super::Prune;
use crate::env::Mutant;
use crate::{Repository, Result};
use repo_format::SnapshotId;
use repo_format::config::StoreMode;
use repo_format::gc_record::Tombstone;
use repo_format::layout::{ObjectName, PENDING_PREFIX};
use repo_format::sealed::Class;

impl Prune<'_> {
    /// Removes announcements of what is committed, and ends sessions that have not moved for a week.
    pub(super) async fn end_stale_sessions(&mut self) -> Result<()> {
        let store = self.repository.store();
        for (name, meta) in store.list(PENDING_PREFIX).await? {
            let ObjectName::Pending(sid) = name else { continue };
            if store.head(&ObjectName::Snapshot(sid)).await?.is_some() {
                // committed, or ended before
                store.delete(&name).await?;
            } else if self.is_older(meta.modified_ms, self.options.pace.pending_age)
                && self.repository.config().store.mode == StoreMode::Many
            {
                end_session(self.repository, sid).await?;
                self.report.sessions_ended += 1;
            }
            self.repository.exec().check_cancelled()?;
        }
        Ok(())
    }
}

/// A tombstone takes the name that the session would commit, unless it was faster; then its pending goes.
///
/// Without put-if-absent there are no tombstones: the caller knows that the session is dead.
pub(crate) async fn end_session(repository: &Repository, sid: SnapshotId) -> Result<()> {
    let has_tombstones = repository.config().store.mode == StoreMode::Many;
    if has_tombstones && !repository.env().breaks(Mutant::NoTombstone) {
        let name = ObjectName::Snapshot(sid);
        let body = Tombstone { sid, created_ms: repository.env().clock.now_ms() }.encode();
        let object = repository.seal_signed(Class::Tombstone, &name, &body)?;
        // taken: it is committed after all
        repository.store().put(&name, object.into()).await?;
    }
    repository.store().delete(&ObjectName::Pending(sid)).await
}
