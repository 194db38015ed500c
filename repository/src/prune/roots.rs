//! What a prune must not touch: announced and committed snapshots, and which of them are forgotten.

use crate::gc::wait_delta;
use crate::inspect::open_pending;
use crate::snapshots::{maps, open_marker, open_snapshot};
use crate::store::ObjectMeta;
use crate::{Error, ErrorKind, Repository, Result};
use bytes::Bytes;
use futures::stream::{StreamExt, iter};
use repo_format::layout::{FORGET_PREFIX, ObjectName, PENDING_PREFIX, SNAPSHOT_PREFIX};
use repo_format::map::Place;
use repo_format::snapshot::SnapshotStatus;
use repo_format::{Id, SnapshotId};
use std::collections::{BTreeMap, BTreeSet};

/// Small objects fetched at the same time.
const READS_IN_FLIGHT: usize = 16;
/// Listings tried until nothing that is listed is missing.
const LISTINGS_MAX: usize = 8;

/// Maps of one snapshot.
#[derive(Debug, Clone)]
pub(super) struct Root {
    pub(super) sid: SnapshotId,
    pub(super) maps: Vec<(Id, Place)>,
}

/// A committed snapshot, as far as prune needs it.
#[derive(Debug, Clone)]
pub(super) struct Final {
    pub(super) root: Root,
    pub(super) group: String,
    pub(super) is_complete: bool,
    /// No writer's clock can put it later than the store did.
    pub(super) time_ms: u64,
}

/// Pending records.
#[derive(Debug, Default)]
pub(super) struct Pendings {
    pub(super) roots: Vec<Root>,
    /// Records that cannot be read: what they announce is not known.
    pub(super) unreadable: Vec<SnapshotId>,
}

/// Objects of `snapshots/`.
#[derive(Debug, Default)]
pub(super) struct Finals {
    pub(super) finals: Vec<Final>,
    pub(super) tombstones: BTreeSet<SnapshotId>,
    /// Objects that are neither a snapshot nor a tombstone of this repository.
    pub(super) unreadable: BTreeMap<SnapshotId, String>,
}

impl Finals {
    /// Whether anything is stored under the name.
    pub(super) fn exists(&self, sid: &SnapshotId) -> bool {
        self.tombstones.contains(sid)
            || self.unreadable.contains_key(sid)
            || self.finals.iter().any(|one| one.root.sid == *sid)
    }
}

/// Signed wishes to drop snapshots.
#[derive(Debug, Default)]
pub(super) struct Markers {
    pub(super) plain: BTreeSet<SnapshotId>,
    /// Even if it is the last complete one of its group.
    pub(super) last: BTreeSet<SnapshotId>,
    /// Markers that are not signed as they should be.
    pub(super) refused: Vec<String>,
}

/// Lists and reads everything below `prefix`. What is listed and cannot be found was removed, or is
/// not to be seen yet: it is listed again.
async fn read_all(
    repository: &Repository,
    prefix: &'static str,
    mut take: impl FnMut(ObjectName, ObjectMeta, Result<Bytes>) -> Result<()>,
) -> Result<()> {
    let mut done: BTreeSet<ObjectName> = BTreeSet::new();
    for _ in 0..LISTINGS_MAX {
        let listed = repository.store().list(prefix).await?;
        let names = listed.into_iter().filter(|(name, _)| !done.contains(name)).collect::<Vec<_>>();
        let mut reads = iter(names)
            .map(|(name, meta)| async move { (name, meta, repository.store().get(&name).await) })
            .buffered(READS_IN_FLIGHT);
        let mut missing = false;
        while let Some((name, meta, found)) = reads.next().await {
            repository.exec().check_cancelled()?;
            let object = match found {
                Ok(None) => {
                    missing = true;
                    continue;
                }
                Ok(Some(object)) => Ok(object),
                Err(error) if error.kind() == ErrorKind::Damage => Err(error),
                Err(error) => return Err(error),
            };
            take(name, meta, object)?;
            done.insert(name);
        }
        drop(reads);
        if !missing {
            return Ok(());
        }
        wait_delta(repository).await?;
    }
    Err(Error::damage(prefix, "objects are listed again and again that cannot be found"))
}

/// Reads all pending records.
pub(super) async fn read_pendings(repository: &Repository) -> Result<Pendings> {
    let mut pendings = Pendings::default();
    read_all(repository, PENDING_PREFIX, |name, _, object| {
        let ObjectName::Pending(sid) = name else { return Ok(()) };
        match object.and_then(|object| open_pending(repository, sid, &object)) {
            Ok(view) => pendings.roots.push(Root { sid, maps: maps(&view.snapshot)? }),
            Err(_) => pendings.unreadable.push(sid),
        }
        Ok(())
    })
    .await?;
    Ok(pendings)
}

/// Reads all snapshots and tombstones.
pub(super) async fn read_finals(repository: &Repository) -> Result<Finals> {
    let mut finals = Finals::default();
    read_all(repository, SNAPSHOT_PREFIX, |name, meta, object| {
        let ObjectName::Snapshot(sid) = name else { return Ok(()) };
        match object.and_then(|object| open_snapshot(repository, sid, &object)) {
            Ok(Some(snapshot)) => finals.finals.push(Final {
                root: Root { sid, maps: maps(&snapshot)? },
                is_complete: snapshot.status == SnapshotStatus::Success,
                time_ms: crate::snapshots::retention_time(snapshot.time, meta.modified_ms),
                group: snapshot.group,
            }),
            Ok(None) => drop(finals.tombstones.insert(sid)),
            Err(error) => drop(finals.unreadable.insert(sid, error.to_string())),
        }
        Ok(())
    })
    .await?;
    Ok(finals)
}

/// Reads all forget markers; those that nobody signed are refused, and named.
pub(super) async fn read_markers(repository: &Repository) -> Result<Markers> {
    let mut markers = Markers::default();
    read_all(repository, FORGET_PREFIX, |name, _, object| {
        let ObjectName::Forget { sid, last } = name else { return Ok(()) };
        match object.and_then(|object| open_marker(repository, &name, sid, &object)) {
            Ok(()) if last => drop(markers.last.insert(sid)),
            Ok(()) => drop(markers.plain.insert(sid)),
            Err(error) => markers.refused.push(error.to_string()),
        }
        Ok(())
    })
    .await?;
    Ok(markers)
}

/// Snapshots of which something is lost, by the newest signed mark of each.
pub(super) async fn read_damaged(repository: &Repository) -> Result<BTreeSet<SnapshotId>> {
    let (marks, _) = crate::repair::marks(repository).await?;
    Ok(marks.into_iter().filter(|(_, mark)| !mark.is_whole()).map(|(sid, _)| sid).collect())
}
