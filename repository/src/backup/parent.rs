//! Which earlier snapshot a volume is compared with, and the ids of its map's leaf pages.

use super::request::{BackupRequest, Parent};
use crate::error::Named;
use crate::gc::GcView;
use crate::index::Known;
use crate::reader::Reader;
use crate::snapshots::open_final;
use crate::{Error, Repository, Result};
use futures::future::{try_join, try_join3};
use futures::stream::{StreamExt, TryStreamExt, iter};
use repo_format::layout::{FORGET_PREFIX, ObjectName, SNAPSHOT_PREFIX};
use repo_format::map::{Child, Page, Place};
use repo_format::snapshot::Snapshot;
use repo_format::{Id, SnapshotId};
use std::collections::{HashMap, HashSet};
use std::sync::Arc;

/// Snapshots looked at for a parent, newest first: one that old is no help to an increment.
const LOOK_BACK: usize = 256;
/// Snapshots fetched at the same time, once the newest was not enough.
const READS_IN_FLIGHT: usize = 8;

/// Usable parents, by volume name.
#[derive(Default)]
pub(super) struct Parents {
    by_volume: HashMap<String, Arc<Snapshot>>,
}

impl Parents {
    /// The parent of a volume.
    pub(super) fn of(&self, volume: &str) -> Option<&Arc<Snapshot>> {
        self.by_volume.get(volume)
    }

    /// Step c1: the base of changed ranges, else the newest FINAL of each volume that has no forget marker and is not
    /// forgotten.
    pub(super) async fn find(
        repository: &Repository,
        gc: &GcView,
        request: &BackupRequest,
        volumes: &[&str],
    ) -> Result<Self> {
        let base = request.changed.as_ref().and_then(|changed| changed.base);
        let asked = if let Parent::Snapshot(sid) = request.parent { Some(sid) } else { None };
        if volumes.is_empty() && base.or(asked).is_none() {
            return Ok(Parents::default());
        }
        // with a base no other snapshot may be needed
        let list = async {
            if base.is_some() || asked.is_some() { Ok(None) } else { list_newest(repository).await.map(Some) }
        };
        let reads = try_join(read_optional(repository, base), read_optional(repository, asked));
        let (unusable, (base, read), newest) = try_join3(unusable(repository, gc), reads, list).await?;
        let usable = |snapshot: Option<Snapshot>| {
            snapshot.filter(|snapshot| !unusable.contains(&snapshot.sid)).map(Arc::new)
        };
        let mut parents = Parents::default();
        if let (Some(snapshot), Some(changed)) = (usable(base), &request.changed) {
            let names: Vec<&str> = changed.volumes.keys().map(String::as_str).collect();
            parents.take(&snapshot, &names);
        }
        if let Some(sid) = asked {
            let what = || format!("parent {sid}: no snapshot that a backup may build on");
            let snapshot = usable(read).ok_or_else(|| Error::Usage { what: what() })?;
            parents.take(&snapshot, volumes);
            return Ok(parents);
        }
        if parents.is_of(volumes) {
            return Ok(parents);
        }
        let newest = match newest {
            Some(newest) => newest,
            None => list_newest(repository).await?,
        };
        let mut sids = newest.into_iter().filter(|sid| !unusable.contains(sid)).take(LOOK_BACK);
        // most often the newest is the one
        let first: Vec<SnapshotId> = sids.by_ref().take(1).collect();
        let read = |sid| read_final(repository, sid);
        let mut reads =
            iter(first).map(read).buffered(1).chain(iter(sids).map(read).buffered(READS_IN_FLIGHT));
        while !parents.is_of(volumes)
            && let Some(snapshot) = reads.try_next().await?
        {
            if let Some(snapshot) = snapshot {
                parents.take(&Arc::new(snapshot), volumes);
            }
        }
        Ok(parents)
    }

    /// Makes `snapshot` the parent of those of `volumes` that it holds and that have none.
    fn take(&mut self, snapshot: &Arc<Snapshot>, volumes: &[&str]) {
        for volume in volumes.iter().filter(|name| snapshot.volumes.iter().any(|v| v.name == **name)) {
            self.by_volume.entry((*volume).to_owned()).or_insert_with(|| snapshot.clone());
        }
    }

    fn is_of(&self, volumes: &[&str]) -> bool {
        volumes.iter().all(|volume| self.by_volume.contains_key(*volume))
    }
}

/// All snapshots of all domains, newest first, tombstones included.
async fn list_newest(repository: &Repository) -> Result<Vec<SnapshotId>> {
    let listed = repository.store().list(SNAPSHOT_PREFIX).await?;
    let sid = |(name, _)| if let ObjectName::Snapshot(sid) = name { Some(sid) } else { None };
    Ok(listed.into_iter().rev().filter_map(sid).collect())
}

/// Snapshots with a forget marker, signed or not (a forged one only costs an increment), or forgotten;
/// and those that have lost something: their maps must not be inherited unread.
async fn unusable(repository: &Repository, gc: &GcView) -> Result<HashSet<SnapshotId>> {
    let mut sids = gc.forgotten.clone();
    let marks = crate::repair::marks(repository);
    let ((marks, _), listed) = try_join(marks, repository.store().list(FORGET_PREFIX)).await?;
    sids.extend(marks.into_iter().filter(|(_, mark)| !mark.is_whole()).map(|(sid, _)| sid));
    for (name, _) in listed {
        if let ObjectName::Forget { sid, .. } = name {
            sids.insert(sid);
        }
    }
    Ok(sids)
}

async fn read_optional(repository: &Repository, sid: Option<SnapshotId>) -> Result<Option<Snapshot>> {
    match sid {
        Some(sid) => read_final(repository, sid).await,
        None => Ok(None),
    }
}

/// A FINAL of this domain; nothing for a tombstone, another domain's, or one gone meanwhile.
///
/// A damaged one is no parent either: `check` reports it.
pub(super) async fn read_final(repository: &Repository, sid: SnapshotId) -> Result<Option<Snapshot>> {
    let name = ObjectName::Snapshot(sid);
    let Some(object) = repository.store().get(&name).await? else { return Ok(None) };
    Ok(open_final(repository, sid, &object).ok())
}

/// Ids of a parent volume's leaf pages, segment by segment, in memory of one page per level.
pub(super) struct LeafIds {
    reader: Option<Reader>,
    stack: Vec<std::vec::IntoIter<Child>>,
    segment_len: u64,
    /// Segments of a hole that is being gone through.
    holes: u64,
}

impl LeafIds {
    /// Of no parent.
    pub(super) fn none() -> Self {
        LeafIds { reader: None, stack: Vec::new(), segment_len: 1, holes: 0 }
    }

    /// Of the map `root` of a volume of `volume_len` bytes.
    pub(super) fn of(
        repository: &Repository,
        index: &Known,
        root: Id,
        segment_len: u64,
        volume_len: u64,
    ) -> Result<Self> {
        if volume_len == 0 {
            return Ok(Self::none());
        }
        let place = Place::volume_root(segment_len, volume_len).named("map of the parent")?;
        let reader = Some(Reader::new(repository.clone(), index.clone()));
        let stack = vec![vec![Child { id: root, place }].into_iter()];
        Ok(LeafIds { reader, stack, segment_len, holes: 0 })
    }

    /// The page of the next segment; nothing beyond the parent's end.
    pub(super) async fn next(&mut self) -> Result<Option<Id>> {
        let Some(reader) = &self.reader else { return Ok(None) };
        loop {
            if self.holes > 0 {
                self.holes -= 1;
                return Ok(Some(Id::ZERO));
            }
            let Some(level) = self.stack.last_mut() else { return Ok(None) };
            let Some(child) = level.next() else {
                self.stack.pop();
                continue;
            };
            if child.id.is_zero() {
                self.holes = child.place.span().div_ceil(self.segment_len);
            } else if child.place.span() <= self.segment_len {
                return Ok(Some(child.id));
            } else {
                // not in the index: committed after it was read, or condemned; claim chunk by chunk then
                if reader.index().find(&[child.id.short()]).await? == [None] {
                    self.reader = None;
                    return Ok(None);
                }
                let page = reader.pages(&[child.id]).await?;
                let bytes = page.first().map(Vec::as_slice).unwrap_or_default();
                match child.place.parse(bytes).named(format!("map page {}", child.id))? {
                    Page::Inner(children) => self.stack.push(children.into_iter()),
                    Page::Leaf(_) => return Err(Error::internal("a leaf that spans several segments")),
                }
            }
        }
    }
}
