//! Which snapshots have lost something, and which records have to be copied so that they have not.

use super::marks::Marks;
use super::sources::Beyond;
use super::walk::{Sought, Suspects, Walker};
use crate::Result;
use crate::reader::Reader;
use crate::snapshots::{SnapshotEntry, maps};
use bytes::Bytes;
use repo_format::gc_record::LostVolume;
use repo_format::map::Place;
use repo_format::{Id, PackId, SnapshotId};
use std::collections::{BTreeMap, BTreeSet, HashSet};

/// What is lost of one snapshot.
#[derive(Debug, Default, PartialEq, Eq)]
pub(super) struct Lost {
    pub(super) volumes: Vec<LostVolume>,
    pub(super) manifests: Vec<String>,
    /// Something lies only in packs that a prune may condemn any moment.
    pub(super) is_unsettled: bool,
}

impl Lost {
    pub(super) fn is_nothing(&self) -> bool {
        *self == Lost::default()
    }
}

/// What there is to walk on.
pub(super) struct Ground<'a> {
    /// Over all packs that are not dead.
    pub(super) reader: &'a Reader,
    /// Packs that nothing may rely on.
    pub(super) condemned: &'a HashSet<PackId>,
    /// Records of which a good copy is about to be written.
    pub(super) copied: BTreeSet<[u8; 16]>,
    /// Those of them that are pages built from plain bytes, by short id.
    pub(super) built: BTreeMap<[u8; 16], Bytes>,
    /// Dead packs and those of another place, once something is missing.
    pub(super) beyond: Option<&'a Beyond>,
    /// Content is read, too.
    pub(super) read_data: bool,
}

impl Ground<'_> {
    fn walker(&self) -> Walker<'_> {
        let can_read = self.reader.repository().content_secret("reading content").is_ok();
        Walker { ground: self, can_read, visited: None, is_unsettled: false, wanted: None, sought: None }
    }

    /// Whether a record has or gets a place that may be relied on.
    pub(super) fn has(&self, id: &Id) -> bool {
        let (index, short) = (self.reader.index().memory(), id.short());
        let mut packs =
            index.find_all(&short).iter().filter_map(|entry| index.packs().get(entry.pack as usize));
        self.copied.contains(&short) || packs.any(|pack| !self.condemned.contains(&pack.pack_id))
    }

    /// What of one map nobody holds, as far as pages tell.
    pub(super) async fn sought(&self, root: Id, place: Place) -> Result<Vec<Sought>> {
        let mut walker = Walker { sought: Some(Vec::new()), ..self.walker() };
        walker.map(root, place, Suspects(&[])).await?;
        Ok(walker.sought.unwrap_or_default())
    }

    /// Whether every record that a snapshot needs is where it may be relied on. A page that snapshots
    /// share is visited once.
    pub(super) async fn is_whole(&self, entries: &[SnapshotEntry]) -> Result<bool> {
        let mut walker = Walker { visited: Some(HashSet::new()), ..self.walker() };
        for entry in entries {
            if !walker.snapshot(&entry.snapshot, None).await?.is_nothing() {
                return Ok(false);
            }
        }
        Ok(true)
    }

    /// Records that snapshots need and that lie where nothing may be relied on, if anywhere.
    pub(super) async fn wanted(&self, entries: &[SnapshotEntry]) -> Result<BTreeSet<[u8; 16]>> {
        let mut walker =
            Walker { visited: Some(HashSet::new()), wanted: Some(BTreeSet::new()), ..self.walker() };
        for entry in entries {
            for (root, place) in maps(&entry.snapshot)? {
                walker.map(root, place, Suspects(&[])).await?;
            }
        }
        Ok(walker.wanted.unwrap_or_default())
    }

    /// What is lost of each snapshot that has lost something or is marked. Each is walked by itself,
    /// since it is to be known whom a loss hurts.
    pub(super) async fn find_lost(
        &self,
        entries: &[SnapshotEntry],
        marked: &Marks,
        is_whole: bool,
    ) -> Result<BTreeMap<SnapshotId, Lost>> {
        let mut walker = self.walker();
        let mut found = BTreeMap::new();
        for entry in entries {
            let mark = marked.newest.get(&entry.id);
            if is_whole && mark.is_none() {
                continue;
            }
            let lost = walker.snapshot(&entry.snapshot, mark).await?;
            if mark.is_some() || !lost.is_nothing() {
                found.insert(entry.id, lost);
            }
        }
        Ok(found)
    }
}
