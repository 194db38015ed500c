//! A lost page of a map, with all that is below it, built again from plain bytes by the rules of a backup.

use super::foreign::{Foreign, Holder};
use super::ground::Ground;
use super::recut::Piece;
use crate::backup::unit_len;
use crate::error::Named;
use crate::{Error, Repository, Result};
use chunker::blocks::{BlockParams, Scratch, cut_segment};
use chunker::chunk_id;
use chunker::stream::{MAX_LEN, StreamChunker};
use repo_format::Id;
use repo_format::limits::VOLUME_FANOUT;
use repo_format::map::{EncodedPage, LeafEntry, StreamMapBuilder, VolumeMapBuilder};

const MAP: &str = "map that is built again";
/// Bytes of a stream cut in one go.
const UNIT_LEN: usize = 4 << 20;
/// Levels above the topmost branching at the end of a large volume's map.
const CHAIN_MAX: u8 = 4;

/// How a stream was cut.
#[derive(Debug, Clone, Copy)]
pub(super) enum Rule {
    Blocks(BlockParams),
    Stream,
}

/// What was built, as far as it is missing.
#[derive(Debug, Default)]
pub(super) struct Built {
    pub(super) chunks: Vec<Piece>,
    pub(super) pages: Vec<EncodedPage>,
    pages_len: usize,
    /// Some pages did not fit into what the caller has room for, the uppermost one among them.
    pub(super) is_over: bool,
}

/// What a caller has room for. What is beyond it is left for a later round, when what was taken first is not
/// missing any more.
#[derive(Debug, Clone, Copy)]
pub(super) struct Room {
    pub(super) chunks: usize,
    pub(super) pages_len: usize,
}

impl Built {
    fn add_entries(&mut self, ground: &Ground<'_>, mut at: u64, entries: &[LeafEntry], room: Room) {
        for entry in entries {
            let len = u64::from(entry.len);
            let missing = entry.id.filter(|id| self.chunks.len() < room.chunks && !ground.has(id));
            self.chunks.extend(missing.map(|id| Piece { offset: at, len, id }));
            at = at.saturating_add(len);
        }
    }

    fn add_pages(&mut self, ground: &Ground<'_>, pages: Vec<EncodedPage>, room: Room) {
        for page in pages.into_iter().filter(|page| !ground.has(&page.id)) {
            // children come before their parents: none is kept without all below it
            self.is_over |= self.pages_len + page.bytes.len() > room.pages_len;
            if !self.is_over {
                self.pages_len += page.bytes.len();
                self.pages.push(page);
            }
        }
    }
}

/// Reads what a lost page covered and builds it again, a segment at a time. Nothing if that gives another
/// id.
pub(super) async fn build(
    ground: &Ground<'_>,
    foreign: &Foreign,
    holder: Holder<'_>,
    rule: Rule,
    page: &Piece,
    room: Room,
) -> Result<Option<Built>> {
    match rule {
        Rule::Blocks(params) => volume(ground, foreign, holder, params, page, room).await,
        Rule::Stream => stream(ground, foreign, holder, page, room).await,
    }
}

async fn volume(
    ground: &Ground<'_>,
    foreign: &Foreign,
    holder: Holder<'_>,
    params: BlockParams,
    page: &Piece,
    room: Room,
) -> Result<Option<Built>> {
    let repository = ground.reader.repository();
    let (key, segment_len) = (repository.page_key().clone(), params.segment_len());
    let mut map = VolumeMapBuilder::new(key.clone(), segment_len, page.len).named(MAP)?;
    let (mut built, mut at) = (Built::default(), page.offset);
    while map.next_span() > 0 {
        let end = at.saturating_add(map.next_span());
        let mut segment = Vec::new();
        while at < end {
            repository.exec().check_cancelled()?;
            let part = at..end.min(at.saturating_add(unit_len(params)));
            let Some(bytes) = foreign.read(holder, &part).await? else { return Ok(None) };
            let worker = repository.clone();
            let cut = repository.exec().cpu(move || cut_blocks(&worker, params, &bytes)).await??;
            built.add_entries(ground, at, &cut, room);
            segment.extend(cut);
            at = part.end;
        }
        built.add_pages(ground, map.push_segment(&segment).named(MAP)?, room);
    }
    let (mut root, pages) = map.finish().named(MAP)?;
    built.add_pages(ground, pages, room);
    // the last page of a level may have one child only
    let mut level = height(page.len.div_ceil(segment_len));
    for _ in 0..CHAIN_MAX {
        if root == page.id || root.is_zero() {
            break;
        }
        level = level.saturating_add(1);
        let above = key.page_over(level, page.len, root).named(MAP)?;
        root = above.id;
        built.add_pages(ground, vec![above], room);
    }
    Ok(Some(built).filter(|_| root == page.id))
}

/// The level of the topmost page over so many segments.
fn height(mut pages: u64) -> u8 {
    let mut level = 0;
    while pages > 1 {
        pages = pages.div_ceil(VOLUME_FANOUT as u64);
        level += 1;
    }
    level
}

fn cut_blocks(repository: &Repository, params: BlockParams, bytes: &[u8]) -> Result<Vec<LeafEntry>> {
    let keys = &repository.identity("cutting")?.block_keys;
    let mut cuts = Vec::new();
    cut_segment(params, keys, bytes, &mut Scratch::default(), &mut cuts);
    Ok(cuts.iter().map(|cut| LeafEntry { len: cut.len, id: cut.id.map(Id) }).collect())
}

async fn stream(
    ground: &Ground<'_>,
    foreign: &Foreign,
    holder: Holder<'_>,
    page: &Piece,
    room: Room,
) -> Result<Option<Built>> {
    let repository = ground.reader.repository();
    let mut map = StreamMapBuilder::new(repository.page_key().clone());
    let (mut built, mut rest) = (Built::default(), Vec::new());
    let (mut at, mut cut_at, end) = (page.offset, page.offset, page.offset.saturating_add(page.len));
    while at < end {
        repository.exec().check_cancelled()?;
        let wanted = (UNIT_LEN + MAX_LEN).saturating_sub(rest.len()) as u64;
        let part = at..end.min(at.saturating_add(wanted));
        let Some(mut bytes) = foreign.read(holder, &part).await? else { return Ok(None) };
        rest.append(&mut bytes);
        at = part.end;
        // a page ends with a chunk, so its end cuts where the stream did
        let (worker, is_end) = (repository.clone(), at == end);
        let unit = std::mem::take(&mut rest);
        let (entries, after) = repository.exec().cpu(move || cut_stream(&worker, unit, is_end)).await??;
        built.add_entries(ground, cut_at, &entries, room);
        for entry in entries {
            cut_at = cut_at.saturating_add(entry.len.into());
            let id = entry.id.ok_or_else(|| Error::internal("a stream with a hole"))?;
            built.add_pages(ground, map.push_chunk(entry.len, id).named(MAP)?, room);
        }
        rest = after;
    }
    let (root, pages) = map.finish().named(MAP)?;
    built.add_pages(ground, pages, room);
    Ok(Some(built).filter(|_| root == page.id))
}

/// Cuts what can be cut, and gives the rest back.
fn cut_stream(
    repository: &Repository,
    mut bytes: Vec<u8>,
    is_end: bool,
) -> Result<(Vec<LeafEntry>, Vec<u8>)> {
    let identity = repository.identity("cutting")?;
    let gear = identity.gear.as_slice().try_into();
    let chunker = StreamChunker::new(gear.map_err(|_| Error::internal("gear key of a wrong length"))?);
    let (mut entries, mut start) = (Vec::new(), 0);
    while let Some(len) = chunker.next_cut(bytes.get(start..).unwrap_or_default(), is_end) {
        let chunk = bytes.get(start..start + len).unwrap_or_default();
        let id = Some(Id(chunk_id(&identity.block_keys, chunk)));
        entries.push(LeafEntry { len: u32::try_from(len).unwrap_or(u32::MAX), id });
        start += len;
    }
    let rest = bytes.split_off(start);
    Ok((entries, rest))
}
