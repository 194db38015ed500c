//! What is lost of each snapshot, to the byte: all maps are walked, past what is missing.

use super::ground::{Ground, Lost};
use super::marks::lost_volume;
use super::recut::Piece;
use crate::error::Named;
use crate::vfs::Catalogue;
use crate::{Error, Result};
use repo_format::gc_record::LostVolume;
use repo_format::layout::ObjectName;
use repo_format::map::{Page, Place};
use repo_format::snapshot::{CatalogueRoot, Snapshot};
use repo_format::{Id, limits};
use std::collections::{BTreeSet, HashSet};

/// Pages read at a time.
const BATCH_COUNT: usize = 64;
/// Chunks read at a time: 8 MiB at their usual longest.
const CHUNK_COUNT: usize = 32;
/// In the place of paths: the table of contents is lost, or this key cannot read it.
pub(super) const ALL_MANIFESTS: &str = "*";

/// Rising, apart, none empty; beyond what a mark can list, the gaps are given up.
pub(crate) fn joined(mut ranges: Vec<(u64, u64)>) -> Vec<(u64, u64)> {
    ranges.sort_unstable();
    let mut out: Vec<(u64, u64)> = Vec::new();
    for (offset, len) in ranges.into_iter().filter(|(_, len)| *len > 0) {
        let end = offset.saturating_add(len);
        match out.last_mut() {
            Some((start, len)) if start.saturating_add(*len) >= offset => *len = (*len).max(end - *start),
            _ => out.push((offset, len)),
        }
    }
    out
}

/// Walks the maps of one snapshot after the other.
pub(super) struct Walker<'a> {
    pub(super) ground: &'a Ground<'a>,
    /// The key opens content.
    pub(super) can_read: bool,
    /// Pages that need no second visit, by short id; none if it is to be known what each lacks.
    pub(super) visited: Option<HashSet<[u8; 16]>>,
    /// Something lies only in packs that a prune may condemn any moment.
    pub(super) is_unsettled: bool,
    /// Collects what has to be copied, if that is asked for.
    pub(super) wanted: Option<BTreeSet<[u8; 16]>>,
    /// Collects what nobody holds, if that is asked for.
    pub(super) sought: Option<Vec<Sought>>,
}

/// A lost record, and what it covers.
pub(super) struct Sought {
    pub(super) piece: Piece,
    /// A page of the map, of any level.
    pub(super) is_page: bool,
}

/// What an earlier mark says of one stream of bytes, which is believed until it is read again.
#[derive(Clone, Copy)]
pub(super) struct Suspects<'a>(pub(super) &'a [(u64, u64)]);

impl Suspects<'_> {
    fn touch(self, offset: u64, len: u64) -> bool {
        let end = offset.saturating_add(len);
        let first = self.0.partition_point(|(start, len)| start.saturating_add(*len) <= offset);
        self.0.get(first).is_some_and(|(start, _)| *start < end)
    }
}

impl Walker<'_> {
    /// Everything of one snapshot that is lost. What `mark` says is lost is read, if the key allows,
    /// and lost still, if not.
    pub(super) async fn snapshot(&mut self, snapshot: &Snapshot, mark: Option<&super::Mark>) -> Result<Lost> {
        self.is_unsettled = false;
        let name = ObjectName::Snapshot(snapshot.sid);
        let mut lost = Lost::default();
        for volume in snapshot.volumes.iter().filter(|volume| !volume.root.is_zero() && volume.size > 0) {
            let place = match volume.chunker.segment_len() {
                Some(segment_len) => Place::volume_root(segment_len, volume.size),
                None => Place::stream_root(volume.size),
            };
            let suspects = Suspects(mark.map_or(&[], |mark| mark.ranges(&volume.name)));
            let ranges = self.map(volume.root, place.named(name)?, suspects).await?;
            lost.volumes.extend(lost_volume(&volume.name, ranges));
        }
        lost.volumes.sort_by(|a, b| a.name.cmp(&b.name));
        bound(&mut lost.volumes);
        if let Some(root) = &snapshot.catalogue {
            let marked = mark.map_or(&[][..], |mark| mark.manifests.as_slice());
            lost.manifests = self.manifests(snapshot, root, marked).await?;
        }
        lost.is_unsettled = self.is_unsettled;
        Ok(lost)
    }

    /// Paths of manifests that are lost.
    async fn manifests(
        &mut self,
        snapshot: &Snapshot,
        root: &CatalogueRoot,
        marked: &[String],
    ) -> Result<Vec<String>> {
        let all = [(0, root.size)];
        let suspects = Suspects(if marked.is_empty() { &[] } else { &all });
        let place = Place::stream_root(root.size).named(ObjectName::Snapshot(snapshot.sid))?;
        let ranges = joined(self.map(root.root, place, suspects).await?);
        if ranges.is_empty() {
            return Ok(Vec::new());
        }
        if !self.can_read {
            return Ok(if marked.is_empty() { vec![ALL_MANIFESTS.into()] } else { marked.to_vec() });
        }
        let Some(catalogue) = self.contents(snapshot).await? else { return Ok(vec![ALL_MANIFESTS.into()]) };
        let hit = |offset: u64, len: u64| Suspects(&ranges).touch(offset, len);
        let lost = catalogue.contents().filter(|entry| {
            let frame_len = u64::from(entry.len).saturating_add(entry.path.len() as u64 + 6);
            hit(entry.offset, frame_len)
        });
        Ok(lost.map(|entry| entry.path).collect())
    }

    /// The table of contents, wherever all of it can be read.
    async fn contents(&self, snapshot: &Snapshot) -> Result<Option<Catalogue>> {
        let beyond = self.ground.beyond.iter().flat_map(|beyond| beyond.readers().map(|(_, reader)| reader));
        for reader in [self.ground.reader].into_iter().chain(beyond) {
            match Catalogue::open(reader, snapshot).await {
                Ok(catalogue) => return Ok(Some(catalogue)),
                Err(error) if error.is_damage() => {}
                Err(error) => return Err(error),
            }
        }
        Ok(None)
    }

    /// Lost ranges of one map, in no order.
    pub(super) async fn map(
        &mut self,
        root: Id,
        place: Place,
        suspects: Suspects<'_>,
    ) -> Result<Vec<(u64, u64)>> {
        let mut lost = Vec::new();
        let mut open = vec![(root, place, 0u64)];
        while !open.is_empty() {
            self.ground.reader.repository().exec().check_cancelled()?;
            let mut batch = Vec::new();
            while batch.len() < BATCH_COUNT
                && let Some((id, place, offset)) = open.pop()
            {
                let is_new = |visited: &mut HashSet<[u8; 16]>| visited.insert(id.short());
                if !id.is_zero() && self.visited.as_mut().is_none_or(is_new) {
                    self.settle(&id);
                    batch.push((id, place, offset));
                }
            }
            let ids: Vec<Id> = batch.iter().map(|(id, ..)| *id).collect();
            let pages = self.read(&ids).await?;
            let mut chunks = Vec::new();
            for ((id, place, offset), page) in batch.iter().zip(pages) {
                let parsed = page.and_then(|page| place.parse(&page).ok());
                match parsed {
                    None => {
                        self.seek(true, Piece { offset: *offset, len: place.span(), id: *id });
                        lost.push((*offset, place.span()));
                    }
                    Some(Page::Inner(children)) => {
                        let mut at = *offset;
                        for child in children {
                            open.push((child.id, child.place, at));
                            at = at.saturating_add(child.place.span());
                        }
                    }
                    Some(Page::Leaf(entries)) => {
                        let mut at = *offset;
                        for entry in entries {
                            chunks.extend(entry.id.map(|id| (id, at, u64::from(entry.len))));
                            at = at.saturating_add(u64::from(entry.len));
                        }
                    }
                }
            }
            self.chunks(&chunks, suspects, &mut lost).await?;
        }
        Ok(lost)
    }

    async fn chunks(
        &mut self,
        chunks: &[(Id, u64, u64)],
        suspects: Suspects<'_>,
        lost: &mut Vec<(u64, u64)>,
    ) -> Result<()> {
        let mut to_read = Vec::new();
        // who only collects what is to be copied reads no content
        let reads = self.ground.read_data && self.wanted.is_none() && self.sought.is_none();
        for (id, offset, len) in chunks {
            self.seek(false, Piece { offset: *offset, len: *len, id: *id });
            let is_suspect = suspects.touch(*offset, *len);
            if !self.settle(id) || (is_suspect && !self.can_read) {
                lost.push((*offset, *len));
            } else if (is_suspect || reads) && !self.ground.copied.contains(&id.short()) {
                to_read.push((*id, *offset, *len));
            }
        }
        for part in to_read.chunks(CHUNK_COUNT) {
            let ids: Vec<Id> = part.iter().map(|(id, ..)| *id).collect();
            let plains = self.read(&ids).await?;
            for ((_, offset, len), plain) in part.iter().zip(plains) {
                if plain.is_none_or(|plain| plain.len() as u64 != *len) {
                    lost.push((*offset, *len));
                }
            }
        }
        Ok(())
    }

    /// Notes a record if nobody holds it.
    fn seek(&mut self, is_page: bool, piece: Piece) {
        if let Some(sought) = &mut self.sought
            && !self.ground.has(&piece.id)
        {
            sought.push(Sought { piece, is_page });
        }
    }

    /// Whether a record has or gets a place; notes if it is only one that may be condemned.
    fn settle(&mut self, id: &Id) -> bool {
        if self.ground.has(id) {
            return true;
        }
        let short = id.short();
        let is_there = !self.ground.reader.index().memory().find_all(&short).is_empty();
        self.is_unsettled |= is_there;
        if let Some(wanted) = &mut self.wanted {
            wanted.insert(short);
        }
        is_there
    }

    /// Records, or none for each that has no good copy.
    async fn read(&self, ids: &[Id]) -> Result<Vec<Option<Vec<u8>>>> {
        let (mut found, failures) = self.ground.reader.read(ids).await?;
        let mut open = numbers(failures)?;
        let may = |id: &Id| self.wanted.is_some() || self.ground.copied.contains(&id.short());
        open.retain(|n| ids.get(*n).is_some_and(may));
        for (_, reader) in self.ground.beyond.iter().flat_map(|beyond| beyond.readers()) {
            if open.is_empty() {
                break;
            }
            let wanted: Vec<Id> = open.iter().filter_map(|n| ids.get(*n).copied()).collect();
            let (more, failures) = reader.read(&wanted).await?;
            for (n, plain) in open.iter().zip(more) {
                if let (Some(slot), Some(plain)) = (found.get_mut(*n), plain) {
                    *slot = Some(plain);
                }
            }
            open = numbers(failures)?.into_iter().filter_map(|n| open.get(n).copied()).collect();
        }
        for n in open {
            let built = ids.get(n).and_then(|id| self.ground.built.get(&id.short()));
            if let (Some(slot), Some(built)) = (found.get_mut(n), built) {
                *slot = Some(built.to_vec());
            }
        }
        Ok(found)
    }
}

/// Numbers of records that are damaged or missing everywhere.
fn numbers(failures: Vec<(usize, Error)>) -> Result<Vec<usize>> {
    failures.into_iter().map(|(n, error)| if error.is_damage() { Ok(n) } else { Err(error) }).collect()
}

/// Keeps what is listed within the limit of a mark: a volume with too many ranges is one from its
/// first to its last lost byte.
fn bound(volumes: &mut [LostVolume]) {
    let count: usize = volumes.iter().map(|volume| volume.ranges.len()).sum();
    if count as u64 <= limits::DAMAGE_RANGE_COUNT_MAX {
        return;
    }
    for volume in volumes {
        if let (Some((first, _)), Some((last, len))) = (volume.ranges.first(), volume.ranges.last()) {
            let end = last.saturating_add(*len);
            volume.ranges = vec![(*first, end.saturating_sub(*first))];
        }
    }
}
