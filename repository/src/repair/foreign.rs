//! Plain bytes of a repository with other keys, by the name of a volume and a range. Nothing of it is
//! believed: what is read there counts only if our own keys give it the id that is missing here.

use crate::reader::Reader;
use crate::snapshots::{self, SnapshotEntry};
use crate::vfs::{self, Extent, MapWalker};
use crate::{Repository, Result};
use repo_format::snapshot::{CatalogueRoot, Volume};
use repo_format::{Id, SnapshotId};
use std::ops::Range;

/// Snapshots of the other repository that one record is looked for in, newest first.
const SNAPSHOTS_MAX: usize = 64;
/// Different contents that are read for one record.
const CONTENTS_MAX: usize = 16;

/// What a map describes, by what the other repository calls it.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Stream {
    Volume(String),
    Manifests,
}

/// A snapshot of the other repository that has the stream.
#[derive(Clone, Copy)]
pub(super) struct Holder<'a> {
    pub(super) sid: SnapshotId,
    kind: Kind<'a>,
}

#[derive(Clone, Copy)]
enum Kind<'a> {
    Volume(&'a Volume),
    Manifests(&'a CatalogueRoot),
}

impl Holder<'_> {
    /// Equal roots are equal contents.
    fn root(&self) -> Id {
        match self.kind {
            Kind::Volume(volume) => volume.root,
            Kind::Manifests(catalogue) => catalogue.root,
        }
    }

    fn len(&self) -> u64 {
        match self.kind {
            Kind::Volume(volume) => volume.size,
            Kind::Manifests(catalogue) => catalogue.size,
        }
    }
}

/// The other repository as it was when a round began.
pub(super) struct Foreign {
    reader: Reader,
    /// Newest first.
    entries: Vec<SnapshotEntry>,
}

impl Foreign {
    /// Reads its index and its snapshots, as far as they can be read.
    pub(super) async fn open(other: &Repository) -> Result<Self> {
        let (mut entries, _) = snapshots::list(other).await?;
        entries.reverse();
        let (reader, _) = vfs::reader(other).await?;
        Ok(Foreign { reader, entries })
    }

    /// Snapshots with this stream that reach to `end`, newest first, each content once.
    pub(super) fn holders(&self, stream: &Stream, end: u64) -> Vec<Holder<'_>> {
        let mut found: Vec<Holder<'_>> = Vec::new();
        let held = self.entries.iter().filter_map(|entry| holder(entry, stream));
        for holder in held.filter(|holder| holder.len() >= end).take(SNAPSHOTS_MAX) {
            if found.len() < CONTENTS_MAX && found.iter().all(|one| one.root() != holder.root()) {
                found.push(holder);
            }
        }
        found
    }

    /// The stream in that snapshot.
    pub(super) fn holder(&self, sid: &SnapshotId, stream: &Stream) -> Option<Holder<'_>> {
        let entry = self.entries.iter().find(|entry| entry.id == *sid)?;
        holder(entry, stream)
    }

    /// Where the bytes of `range` lie there; nothing if its map is damaged. Equal extents are equal bytes.
    pub(super) async fn extents(
        &self,
        holder: Holder<'_>,
        range: &Range<u64>,
    ) -> Result<Option<Vec<Extent>>> {
        let (reader, range) = (&self.reader, range.clone());
        let whose = format!("snapshot {} of the other repository", holder.sid);
        let walker = match holder.kind {
            Kind::Volume(volume) => MapWalker::volume_range(reader, &whose, volume, range),
            Kind::Manifests(root) => MapWalker::stream(reader, &whose, root.root, root.size, range),
        };
        let mut extents = Vec::new();
        match walker {
            Ok(mut walker) => loop {
                match walker.next_batch(&mut extents).await {
                    Ok(true) => {}
                    Ok(false) => return Ok(Some(extents)),
                    Err(error) => return unless_damage(error),
                }
            },
            Err(error) => unless_damage(error),
        }
    }

    /// The bytes of `range`, which the caller has bounded; nothing if some of them are damaged.
    pub(super) async fn bytes(&self, extents: &[Extent], range: &Range<u64>) -> Result<Option<Vec<u8>>> {
        let touches =
            |one: &&Extent| one.offset < range.end && one.offset.saturating_add(one.len) > range.start;
        let extents: Vec<Extent> = extents.iter().filter(touches).copied().collect();
        match vfs::read_extents(&self.reader, &extents, range).await {
            Ok(bytes) => Ok(Some(bytes).filter(|bytes| bytes.len() as u64 == range.end - range.start)),
            Err(error) => unless_damage(error),
        }
    }

    /// [`extents`](Self::extents) and [`bytes`](Self::bytes).
    pub(super) async fn read(&self, holder: Holder<'_>, range: &Range<u64>) -> Result<Option<Vec<u8>>> {
        match self.extents(holder, range).await? {
            Some(extents) => self.bytes(&extents, range).await,
            None => Ok(None),
        }
    }
}

fn unless_damage<T>(error: crate::Error) -> Result<Option<T>> {
    if error.is_bad_copy() { Ok(None) } else { Err(error) }
}

fn holder<'a>(entry: &'a SnapshotEntry, stream: &Stream) -> Option<Holder<'a>> {
    let snapshot = &entry.snapshot;
    let kind = match stream {
        Stream::Volume(name) => Kind::Volume(snapshot.volumes.iter().find(|v| v.name == *name)?),
        Stream::Manifests => Kind::Manifests(snapshot.catalogue.as_ref()?),
    };
    Some(Holder { sid: entry.id, kind })
}
