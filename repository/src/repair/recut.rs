//! Records that no pack holds any more, cut again from the plain bytes of a repository with other keys. An
//! equal id says that it is the lost record, so nothing there has to be trusted.

use super::foreign::{Foreign, Holder, Stream};
use super::ground::Ground;
use super::rebuild::{Built, Room, Rule, build};
use super::walk::Sought;
use crate::error::Named;
use crate::snapshots::SnapshotEntry;
use crate::vfs::Extent;
use crate::{Error, Repository, Result};
use bytes::Bytes;
use chunker::blocks::BlockParams;
use chunker::chunk_id;
use repo_format::layout::ObjectName;
use repo_format::map::Place;
use repo_format::snapshot::{Chunker, Snapshot};
use repo_format::{Id, SnapshotId};
use std::collections::{BTreeMap, BTreeSet};
use std::ops::Range;

/// Plain bytes read in one go for chunks that lie near each other.
const GROUP_LEN: u64 = 8 << 20;
/// Unneeded bytes read between two of them at most.
const GAP_LEN: u64 = 256 << 10;
/// Chunks of one round: some 100 bytes each are held until they are written.
const CHUNKS_MAX: usize = 1 << 20;
/// Bytes of pages of one round, which are held, too.
const PAGES_LEN_MAX: usize = 64 << 20;
/// What one round takes in the inline mode: little, so that tests have several.
const INLINE_ROOM: Room = Room { chunks: 256, pages_len: 16 << 10 };
/// Extents of longer ranges are not compared before they are read.
const COMPARED_LEN_MAX: u64 = 64 << 20;

/// A chunk by its place in a stream.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Piece {
    pub(super) offset: u64,
    pub(super) len: u64,
    pub(super) id: Id,
}

impl Piece {
    fn range(&self) -> Range<u64> {
        self.offset..self.offset.saturating_add(self.len)
    }
}

/// Records to take from one stream of one snapshot of the other repository.
#[derive(Debug)]
pub(super) struct Recut {
    pub(super) sid: SnapshotId,
    pub(super) stream: Stream,
    /// In the order in which they were found.
    pub(super) chunks: Vec<Piece>,
    /// Their ids were compared when they were built.
    pub(super) pages: Vec<(Id, Bytes)>,
}

/// A map of a snapshot of ours.
struct Map {
    stream: Stream,
    root: Id,
    place: Place,
    /// None if it was cut by a rule that there is not.
    rule: Option<Rule>,
}

/// Looks for everything that snapshots need and nobody holds. True if there may be more than fits into
/// one round. What was found counts as copied from here on.
pub(super) async fn seek(
    ground: &mut Ground<'_>,
    foreign: &Foreign,
    entries: &[SnapshotEntry],
) -> Result<(Vec<Recut>, bool)> {
    let is_inline = ground.reader.repository().exec().is_inline();
    let room = Room { chunks: CHUNKS_MAX, pages_len: PAGES_LEN_MAX };
    let room = if is_inline { INLINE_ROOM } else { room };
    let (found, tried) = (BTreeMap::new(), BTreeMap::new());
    let mut seeker = Seeker { foreign, found, tried, room, is_short: false };
    for entry in entries.iter().rev() {
        for map in maps(&entry.snapshot)? {
            if seeker.is_full() {
                break;
            }
            let sought = ground.sought(map.root, map.place).await?;
            seeker.find(ground, &map, sought).await?;
        }
    }
    let has_more = seeker.is_full() || seeker.is_short;
    Ok((seeker.found.into_values().collect(), has_more))
}

/// Maps of a snapshot with their names.
fn maps(snapshot: &Snapshot) -> Result<Vec<Map>> {
    let name = ObjectName::Snapshot(snapshot.sid);
    let mut maps = Vec::new();
    for volume in snapshot.volumes.iter().filter(|volume| !volume.root.is_zero() && volume.size > 0) {
        let (place, rule) = match volume.chunker {
            Chunker::Blocks { min, avg, max } => {
                let segment_len = volume.chunker.segment_len().unwrap_or_default();
                let rule = BlockParams::new(min, avg, max).ok().map(Rule::Blocks);
                (Place::volume_root(segment_len, volume.size), rule)
            }
            Chunker::FastCdc => (Place::stream_root(volume.size), Some(Rule::Stream)),
        };
        let stream = Stream::Volume(volume.name.clone());
        maps.push(Map { stream, root: volume.root, place: place.named(name)?, rule });
    }
    if let Some(catalogue) = &snapshot.catalogue {
        let place = Place::stream_root(catalogue.size).named(name)?;
        let rule = Some(Rule::Stream);
        maps.push(Map { stream: Stream::Manifests, root: catalogue.root, place, rule });
    }
    Ok(maps)
}

struct Seeker<'a> {
    foreign: &'a Foreign,
    found: BTreeMap<(SnapshotId, Stream), Recut>,
    /// Offset and short id of what was looked for already.
    tried: BTreeMap<Stream, BTreeSet<(u64, [u8; 16])>>,
    /// What still fits into this round.
    room: Room,
    /// Something did not fit.
    is_short: bool,
}

impl Seeker<'_> {
    fn is_full(&self) -> bool {
        self.room.chunks == 0 || self.room.pages_len == 0
    }

    /// Looks for the lost records of one map, pages first: they say what chunks there are.
    async fn find(&mut self, ground: &mut Ground<'_>, map: &Map, mut sought: Vec<Sought>) -> Result<()> {
        let tried = self.tried.entry(map.stream.clone()).or_default();
        sought.retain(|one| tried.insert((one.piece.offset, one.piece.id.short())));
        sought.sort_by_key(|one| one.piece.offset);
        for page in sought.iter().filter(|one| one.is_page) {
            if !self.is_full() && !ground.has(&page.piece.id) {
                self.page(ground, map, &page.piece).await?;
            }
        }
        let chunks = sought.iter().filter(|one| !one.is_page && !ground.has(&one.piece.id));
        let chunks: Vec<Piece> = chunks.map(|one| one.piece).collect();
        for group in groups(&chunks) {
            if !self.is_full() {
                self.chunks(ground, map, group).await?;
            }
        }
        Ok(())
    }

    async fn page(&mut self, ground: &mut Ground<'_>, map: &Map, page: &Piece) -> Result<()> {
        let (range, Some(rule)) = (page.range(), map.rule) else { return Ok(()) };
        let mut seen = Vec::new();
        for holder in self.foreign.holders(&map.stream, range.end) {
            if page.len <= COMPARED_LEN_MAX {
                match self.foreign.extents(holder, &range).await? {
                    Some(extents) if !seen.contains(&extents) => seen.push(extents),
                    _ => continue,
                }
            }
            let built = build(ground, self.foreign, holder, rule, page, self.room).await?;
            let Some(built) = built else { continue };
            self.is_short |= built.is_over;
            self.take(ground, holder.sid, &map.stream, built);
            return Ok(());
        }
        Ok(())
    }

    async fn chunks(&mut self, ground: &mut Ground<'_>, map: &Map, group: &[Piece]) -> Result<()> {
        let (Some(first), mut open, mut seen) = (group.first(), group.to_vec(), Vec::new()) else {
            return Ok(());
        };
        let range = span(group);
        for holder in self.foreign.holders(&map.stream, first.range().end) {
            if open.is_empty() {
                break;
            }
            let Some(extents) = self.foreign.extents(holder, &range).await? else { continue };
            if seen.contains(&extents) {
                continue;
            }
            let mut built = Built::default();
            for read in read_good(ground.reader.repository(), self.foreign, &extents, &open).await? {
                built.chunks.extend(read.good);
            }
            open.retain(|piece| !built.chunks.contains(piece));
            self.take(ground, holder.sid, &map.stream, built);
            seen.push(extents);
        }
        Ok(())
    }

    fn take(&mut self, ground: &mut Ground<'_>, sid: SnapshotId, stream: &Stream, mut built: Built) {
        built.chunks.retain(|piece| !ground.has(&piece.id) && ground.copied.insert(piece.id.short()));
        built.pages.retain(|page| !ground.has(&page.id) && ground.copied.insert(page.id.short()));
        if built.chunks.is_empty() && built.pages.is_empty() {
            return;
        }
        self.room.chunks = self.room.chunks.saturating_sub(built.chunks.len());
        let pages: Vec<(Id, Bytes)> =
            built.pages.into_iter().map(|page| (page.id, Bytes::from(page.bytes))).collect();
        for (id, bytes) in &pages {
            self.room.pages_len = self.room.pages_len.saturating_sub(bytes.len());
            ground.built.insert(id.short(), bytes.clone());
        }
        let key = (sid, stream.clone());
        let new = || Recut { sid, stream: stream.clone(), chunks: Vec::new(), pages: Vec::new() };
        let recut = self.found.entry(key).or_insert_with(new);
        recut.chunks.append(&mut built.chunks);
        recut.pages.extend(pages);
    }
}

/// From the first to the last byte of what lies in one group.
pub(super) fn span(group: &[Piece]) -> Range<u64> {
    let start = group.first().map_or(0, |piece| piece.offset);
    start..group.iter().map(|piece| piece.range().end).max().unwrap_or(start)
}

/// Neighbours that are read in one go.
pub(super) fn groups(pieces: &[Piece]) -> Vec<&[Piece]> {
    let (mut groups, mut start) = (Vec::new(), 0);
    for (n, pair) in pieces.windows(2).enumerate() {
        let [last, next] = pair else { continue };
        let first = pieces.get(start).map_or(0, |piece| piece.offset);
        let is_near = next.offset >= last.offset && next.offset <= last.range().end.saturating_add(GAP_LEN);
        if !is_near || next.range().end.saturating_sub(first) > GROUP_LEN {
            groups.extend(pieces.get(start..=n));
            start = n + 1;
        }
    }
    groups.extend(pieces.get(start..).filter(|rest| !rest.is_empty()));
    groups
}

/// Bytes that were read, and the chunks within whose ids are as they should be.
pub(super) struct Read {
    pub(super) start: u64,
    pub(super) bytes: Vec<u8>,
    pub(super) good: Vec<Piece>,
}

impl Read {
    /// The content of one of the chunks.
    pub(super) fn content(&self, piece: &Piece) -> Option<&[u8]> {
        let start = usize::try_from(piece.offset.checked_sub(self.start)?).ok()?;
        let len = usize::try_from(piece.len).ok()?;
        self.bytes.get(start..start.checked_add(len)?)
    }
}

/// Reads a group by its extents, or chunk by chunk where something of it is damaged there.
pub(super) async fn read_good(
    repository: &Repository,
    foreign: &Foreign,
    extents: &[Extent],
    group: &[Piece],
) -> Result<Vec<Read>> {
    repository.exec().check_cancelled()?;
    let end = extents.last().map_or(0, |extent| extent.offset.saturating_add(extent.len));
    let whole = span(group);
    let whole = whole.start..whole.end.min(end).max(whole.start);
    if let Some(bytes) = foreign.bytes(extents, &whole).await? {
        return Ok(vec![compare(repository, whole.start, bytes, group.to_vec()).await?]);
    }
    let mut reads = Vec::new();
    for piece in group.iter().filter(|piece| piece.range().end <= end) {
        if let Some(bytes) = foreign.bytes(extents, &piece.range()).await? {
            reads.push(compare(repository, piece.offset, bytes, vec![*piece]).await?);
        }
    }
    Ok(reads)
}

async fn compare(repository: &Repository, start: u64, bytes: Vec<u8>, group: Vec<Piece>) -> Result<Read> {
    let worker = repository.clone();
    let work = move || -> Result<Read> {
        let keys = &worker.identity("comparing ids")?.block_keys;
        let mut read = Read { start, bytes, good: Vec::new() };
        let is_good = |piece: &Piece| {
            read.content(piece).is_some_and(|content| Id(chunk_id(keys, content)) == piece.id)
        };
        let good: Vec<Piece> = group.into_iter().filter(is_good).collect();
        read.good = good;
        Ok(read)
    };
    repository.exec().cpu(work).await?
}

/// The holder that a plan names.
pub(super) fn holder<'a>(foreign: &'a Foreign, recut: &Recut) -> Result<Holder<'a>> {
    let gone = || Error::internal("a snapshot of the other repository that was not listed");
    foreign.holder(&recut.sid, &recut.stream).ok_or_else(gone)
}
