//! A volume: units are read and sealed side by side, and taken in order.

use super::parent::LeafIds;
use super::sealer::Sealed;
use super::session::Session;
use crate::source::BlockSource;
use crate::{Error, Result};
use chunker::blocks::BlockParams;
use futures::future::BoxFuture;
use futures::stream::{FuturesOrdered, StreamExt};
use repo_format::Id;
use repo_format::map::{LeafEntry, VolumeMapBuilder};
use std::io;
use std::sync::{Arc, Mutex, PoisonError};

/// What is read and sealed in one go where segments are larger and their cuts are fixed.
const UNIT_LEN: u64 = 4 << 20;

/// Buffers of one volume, used again and again.
type Buffers = Arc<Mutex<Vec<Vec<u8>>>>;

/// A unit: a segment, or a part of one that begins at a cut.
struct Unit {
    offset: u64,
    len: usize,
    /// The parent's page of this segment, where the unit is the whole segment.
    parent: Option<Id>,
}

/// What became of a unit.
struct UnitDone {
    sealed: Sealed,
    len: u64,
    read_len: u64,
}

/// Reads a volume from end to end, stores what is new, and gives the root of its map.
pub(super) async fn backup_blocks(
    session: &mut Session,
    name: &str,
    source: Arc<dyn BlockSource>,
    params: BlockParams,
    mut parent: LeafIds,
) -> Result<Id> {
    let volume_len = source.byte_len();
    let segment_len = params.segment_len();
    let unit_len = unit_len(params);
    let repository = session.repository.clone();
    let exec = repository.exec();
    let map_error = |source| Error::Format { object: name.to_owned(), source };
    let mut map =
        VolumeMapBuilder::new(repository.page_key().clone(), segment_len, volume_len).map_err(map_error)?;
    let buffers = Buffers::default();
    let width = session.limits.units(unit_len);
    let mut running: FuturesOrdered<BoxFuture<'static, Result<UnitDone>>> = FuturesOrdered::new();
    let mut segment: Vec<LeafEntry> = Vec::new();
    let mut segment_done = 0;
    let mut offset = 0;
    loop {
        while offset < volume_len && running.len() < width {
            let segment_end = (offset / segment_len + 1).saturating_mul(segment_len).min(volume_len);
            let len = unit_len.min(segment_end - offset);
            let at_segment = offset % segment_len == 0;
            let page = if at_segment { parent.next().await? } else { None };
            let whole = at_segment && offset + len == segment_end;
            let unit = Unit { offset, len: as_len(len)?, parent: page.filter(|_| whole) };
            running.push_back(start_unit(session, name, &source, params, unit, &buffers));
            offset += len;
        }
        let Some(next) = exec.unless_cancelled(async { running.next().await.transpose() }).await? else {
            break;
        };
        let UnitDone { mut sealed, len, read_len } = next;
        session.take(&mut sealed).await?;
        session.report.bytes_read += read_len;
        session.progress.add_done(len);
        segment.append(&mut sealed.entries);
        segment_done += len;
        if segment_done == map.next_span() {
            let pages = map.push_segment(&segment).map_err(map_error)?;
            session.take_pages(&pages).await?;
            segment.clear();
            segment_done = 0;
        }
    }
    let (root, pages) = map.finish().map_err(map_error)?;
    session.take_pages(&pages).await?;
    Ok(root)
}

/// Cuts of `fixed` begin anew at each multiple of the chunk size, so a segment can be read in parts.
pub(crate) fn unit_len(params: BlockParams) -> u64 {
    if !params.is_fixed() {
        return params.segment_len();
    }
    let chunk_len = u64::from(params.max()) * chunker::BLOCK_LEN as u64;
    (UNIT_LEN / chunk_len).max(1) * chunk_len
}

fn as_len(len: u64) -> Result<usize> {
    usize::try_from(len).map_err(|_| Error::internal("a unit beyond the address space"))
}

fn start_unit(
    session: &Session,
    name: &str,
    source: &Arc<dyn BlockSource>,
    params: BlockParams,
    unit: Unit,
    buffers: &Buffers,
) -> BoxFuture<'static, Result<UnitDone>> {
    let (exec, sealer) = (session.repository.exec().clone(), session.sealer.clone());
    let (source, buffers, name) = (source.clone(), buffers.clone(), name.to_owned());
    let work = exec.clone();
    exec.spawn(async move {
        let (offset, len) = (unit.offset, unit.len);
        let pooled = buffers.clone();
        let (read, buffer) = work
            .blocking(move || {
                // taken when it is needed: fewer buffers are in use, and warm ones
                let mut buffer = pool(&pooled).pop().unwrap_or_default();
                let read = read_unit(&*source, offset, len, &mut buffer);
                (read, buffer)
            })
            .await?;
        let read_len = read.map_err(|(offset, cause)| Error::Source {
            name,
            what: "reading failed",
            offset,
            source: cause,
        })?;
        if read_len == 0 && len > 0 {
            pool(&buffers).push(buffer);
            let entries = hole_entries(params, len);
            let sealed = Sealed { entries, ..Sealed::default() };
            return Ok(UnitDone { sealed, len: len as u64, read_len });
        }
        let (sealed, buffer) = sealer.segment(&work, params, buffer, unit.parent).await?;
        pool(&buffers).push(buffer);
        Ok(UnitDone { sealed: sealed?, len: len as u64, read_len })
    })
}

fn pool(buffers: &Buffers) -> std::sync::MutexGuard<'_, Vec<Vec<u8>>> {
    buffers.lock().unwrap_or_else(PoisonError::into_inner)
}

/// Fills `buffer` with a unit and says how much was read; nothing is read of a hole.
///
/// An error comes with the offset of the first block that cannot be read.
fn read_unit(
    source: &dyn BlockSource,
    offset: u64,
    len: usize,
    buffer: &mut Vec<u8>,
) -> Result<u64, (u64, io::Error)> {
    let end = offset + len as u64;
    let data = source.next_data(offset).map_err(|e| (offset, e))?.min(end);
    if data == end {
        return Ok(0);
    }
    // a grid of blocks is kept: the leading hole is cut short to whole blocks
    let skip = (data - offset) / chunker::BLOCK_LEN as u64 * chunker::BLOCK_LEN as u64;
    let skip_len = usize::try_from(skip).unwrap_or(0);
    buffer.resize(len, 0);
    let (hole, rest) = buffer.split_at_mut(skip_len);
    hole.fill(0);
    match source.read_at(offset + skip, rest) {
        Ok(()) => Ok(rest.len() as u64),
        Err(cause) => Err(first_unreadable(source, offset + skip, rest, cause)),
    }
}

/// Reads block by block to say where exactly it fails.
fn first_unreadable(
    source: &dyn BlockSource,
    start: u64,
    buffer: &mut [u8],
    cause: io::Error,
) -> (u64, io::Error) {
    let mut offset = start;
    for block in buffer.chunks_mut(chunker::BLOCK_LEN) {
        if let Err(exact) = source.read_at(offset, block) {
            return (offset, exact);
        }
        offset += block.len() as u64;
    }
    (start, cause)
}

/// What cutting `len` zero bytes gives.
fn hole_entries(params: BlockParams, len: usize) -> Vec<LeafEntry> {
    let longest = if params.is_fixed() { params.max() as usize * chunker::BLOCK_LEN } else { len };
    let mut left = len;
    let mut entries = Vec::new();
    while left > 0 {
        let len = left.min(longest);
        entries.push(LeafEntry { len: u32::try_from(len).unwrap_or(u32::MAX), id: None });
        left -= len;
    }
    entries
}
