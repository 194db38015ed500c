//! From extents to few large reads: what a window needs, each chunk once.

use super::fetch::PLAIN_LEN;
use super::in_place::InPlace;
use crate::index::PackInfo;
use crate::reader::{FETCH_LEN_MAX, Fetch, Location, Reader, coalesce};
use crate::vfs::{Extent, MapWalker};
use crate::{Error, ErrorKind, Exec, Result};
use futures::stream::{StreamExt, iter};
use repo_format::Id;
use std::sync::Arc;

/// Chunks planned together at most: about 2 GiB at the usual sizes.
const WINDOW_CHUNKS: usize = 1 << 16;
/// Chunks of the first window: it holds up the first fetch.
const FIRST_WINDOW_CHUNKS: usize = 1 << 11;
/// How much larger than the last one a window may be.
const WINDOW_GROWTH: usize = 8;
/// Ids looked up together.
const IDS_AT_ONCE: usize = 1 << 12;
/// Packs whose trailers are at hand together: some 70 KiB each.
const TRAILERS_AT_ONCE: usize = 64;
/// Trailers fetched at the same time.
const TRAILERS_IN_FLIGHT: usize = 16;
/// What is left to the index, trailers, windows, and buffers of the line.
const OTHER_MEMORY_LEN: u64 = 112 << 20;
/// Plain bytes of a fetch, unless it is a single record: no thread has the last of them for itself for long.
const FETCH_PLAIN_LEN: u64 = 16 << 20;

/// How much is held at once.
#[derive(Debug, Clone, Copy)]
pub(super) struct Limits {
    /// Fetches that are opened and written.
    pub(super) opening: usize,
    /// Sealed bytes of those, of the ones that wait for it, and of the ones on their way.
    pub(super) fetched_len: u64,
}

impl Limits {
    pub(super) fn new(exec: &Exec) -> Self {
        let memory_len = exec.memory_len().saturating_sub(OTHER_MEMORY_LEN);
        // one more than threads waits for its last write meanwhile; half of the memory is left to what is fetched
        let fit = usize::try_from(memory_len / (2 * PLAIN_LEN)).unwrap_or(usize::MAX);
        let opening = fit.clamp(1, exec.width() + 1);
        let fetched_len = memory_len.saturating_sub(PLAIN_LEN.saturating_mul(opening as u64));
        Limits { opening, fetched_len: fetched_len.max(2 * FETCH_LEN_MAX) }
    }
}

/// A chunk and all places where it goes.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Piece {
    pub(super) id: Id,
    pub(super) len: u64,
    /// Rising.
    pub(super) offsets: Vec<u64>,
}

/// A part of a volume, planned.
#[derive(Default)]
pub(super) struct Window {
    pub(super) pieces: Vec<Piece>,
    pub(super) holes: Vec<Extent>,
    pub(super) fetches: Vec<Fetch>,
    /// Pieces that no readable trailer places.
    pub(super) unplaced: Vec<usize>,
    /// What lost pages cover; holes, too.
    pub(super) lost: Vec<(u64, u64)>,
}

impl Window {
    /// Nothing is left of the volume.
    pub(super) fn is_empty(&self) -> bool {
        self.pieces.is_empty() && self.holes.is_empty()
    }
}

/// A walk of a map, window by window.
pub(super) struct Windows {
    walker: MapWalker,
    in_place: Option<Arc<InPlace>>,
    /// Chunks of the next one.
    count: usize,
}

impl Windows {
    /// In place they hold only what the target does not.
    pub(super) fn new(walker: MapWalker, in_place: Option<Arc<InPlace>>) -> Self {
        Windows { walker, in_place, count: FIRST_WINDOW_CHUNKS }
    }

    /// The next window; an empty one at the end.
    pub(super) async fn next(mut self) -> Result<(Self, Window)> {
        let count = self.count;
        self.count = count.saturating_mul(WINDOW_GROWTH).min(WINDOW_CHUNKS);
        let window = next_window(&mut self.walker, self.in_place.as_deref(), count).await?;
        Ok((self, window))
    }
}

async fn next_window(walker: &mut MapWalker, in_place: Option<&InPlace>, count: usize) -> Result<Window> {
    let mut window = Window::default();
    let mut chunks = Vec::new();
    let mut extents = Vec::new();
    while chunks.len() < count && walker.next_batch(&mut extents).await? {
        if let Some(in_place) = in_place {
            extents = in_place.differing(std::mem::take(&mut extents)).await?;
        }
        for extent in extents.drain(..) {
            match extent.id {
                Some(id) => chunks.push((id, extent.len, extent.offset)),
                None => window.holes.push(extent),
            }
        }
    }
    window.lost = walker.take_lost();
    window.pieces = pieces(walker.whose(), chunks)?;
    let (located, unplaced) = locate(walker.reader(), &window.pieces).await?;
    window.fetches = coalesce(located).into_iter().flat_map(split).collect();
    window.unplaced = unplaced;
    Ok(window)
}

/// Equal chunks become one piece.
fn pieces(whose: &str, mut chunks: Vec<(Id, u64, u64)>) -> Result<Vec<Piece>> {
    chunks.sort_unstable();
    let mut pieces: Vec<Piece> = Vec::new();
    for (id, len, offset) in chunks {
        match pieces.last_mut() {
            Some(last) if last.id == id && last.len == len => last.offsets.push(offset),
            Some(last) if last.id == id => {
                let detail = format!("has the lengths {} and {len} in one map", last.len);
                return Err(Error::damage(format!("{whose}: chunk {id}"), detail));
            }
            _ => pieces.push(Piece { id, len, offsets: vec![offset] }),
        }
    }
    Ok(pieces)
}

/// The first location of each piece, and the pieces that have none.
async fn locate(reader: &Reader, pieces: &[Piece]) -> Result<(Vec<(usize, Location)>, Vec<usize>)> {
    let index = reader.index();
    // pack by pack, so that a trailer that leaves the cache is not needed again
    let mut order: Vec<(Option<u32>, usize)> = Vec::with_capacity(pieces.len());
    for part in pieces.chunks(IDS_AT_ONCE) {
        let ids: Vec<[u8; 16]> = part.iter().map(|piece| piece.id.short()).collect();
        for pack in index.find(&ids).await? {
            order.push((pack, order.len()));
        }
    }
    order.sort_unstable();
    let mut located = Vec::with_capacity(pieces.len());
    let mut unplaced = Vec::new();
    let mut rest = order.as_slice();
    while !rest.is_empty() {
        // sorted by pack
        let mut numbers: Vec<u32> = Vec::new();
        let is_beyond = |(pack, _): &(Option<u32>, usize)| match pack {
            Some(pack) if numbers.last() != Some(pack) => {
                let is_full = numbers.len() == TRAILERS_AT_ONCE;
                numbers.extend((!is_full).then_some(*pack));
                is_full
            }
            _ => false,
        };
        let (group, others) = rest.split_at(rest.iter().position(is_beyond).unwrap_or(rest.len()));
        rest = others;
        let packs: Vec<PackInfo> = numbers.iter().filter_map(|n| index.pack(*n)).collect();
        let read = |pack: PackInfo| async move { reader.trailer(&pack).await };
        // a failure shows again below, with the record that it is about
        iter(packs).map(read).buffer_unordered(TRAILERS_IN_FLIGHT).count().await;
        for (pack, n) in group {
            let Some(piece) = pieces.get(*n) else { continue };
            match reader.locate_first(&piece.id, *pack).await {
                Ok(location) => located.push((*n, location)),
                Err(error) if error.kind() == ErrorKind::Cancelled => return Err(error),
                _ => unplaced.push(*n),
            }
        }
        reader.repository().exec().check_cancelled()?;
    }
    Ok((located, unplaced))
}

/// A fetch in parts of few plain bytes: a range may hold far more than its length.
fn split(fetch: Fetch) -> Vec<Fetch> {
    let mut parts: Vec<Fetch> = Vec::new();
    let mut plain = 0u64;
    for (n, location) in fetch.records {
        let rlen = u64::from(location.row.rlen);
        match parts.last_mut() {
            Some(part) if plain.saturating_add(rlen) <= FETCH_PLAIN_LEN => {
                plain = plain.saturating_add(rlen);
                part.range.end = part.range.end.max(location.range.end);
                part.records.push((n, location));
            }
            _ => {
                plain = rlen;
                let range = location.range.clone();
                parts.push(Fetch { name: fetch.name, range, records: vec![(n, location)] });
            }
        }
    }
    parts
}
