//! A volume: units are read and sealed side by side, and taken in order.

use super::claims::Answers;
use super::parent::LeafIds;
use super::sealer::{Sealed, Sealer};
use super::session::Session;
use crate::error::Named;
use crate::source::BlockSource;
use crate::{Error, Result};
use chunker::blocks::BlockParams;
use futures::future::BoxFuture;
use futures::stream::{FuturesOrdered, StreamExt};
use repo_format::Id;
use repo_format::map::{LeafEntry, Place, VolumeMapBuilder};
use std::io;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, PoisonError};

/// What is read and sealed in one go where segments are larger and their cuts are fixed.
pub(super) const UNIT_LEN: u64 = 4 << 20;

/// A unit: a segment, or a part of one that begins at a cut.
struct Unit {
    offset: u64,
    len: usize,
    /// The parent's page of this segment, where the unit is the whole segment.
    parent: Option<Id>,
}

/// What became of a unit.
pub(super) struct UnitDone {
    pub(super) sealed: Sealed,
    pub(super) len: u64,
    pub(super) read_len: u64,
}

/// Puts what becomes of a volume into its map, in order.
pub(super) struct MapWriter {
    map: VolumeMapBuilder,
    name: String,
    /// The segment that is not complete yet.
    segment: Vec<LeafEntry>,
    segment_done: u64,
}

impl MapWriter {
    /// For a volume of `volume_len` bytes.
    pub(super) fn new(session: &Session, name: &str, params: BlockParams, volume_len: u64) -> Result<Self> {
        let key = session.repository.page_key().clone();
        let map = VolumeMapBuilder::new(key, params.segment_len(), volume_len).named(name)?;
        Ok(MapWriter { map, name: name.to_owned(), segment: Vec::new(), segment_done: 0 })
    }

    /// Takes the next unit: its records go into packs, its entries into the map.
    pub(super) async fn unit(&mut self, session: &mut Session, done: UnitDone) -> Result<()> {
        let UnitDone { mut sealed, len, read_len } = done;
        session.take(&mut sealed).await?;
        session.report.bytes_read += read_len;
        session.progress.add_done(len);
        self.segment.append(&mut sealed.entries);
        self.segment_done += len;
        if self.segment_done == self.map.next_span() {
            let pages = self.map.push_segment(&self.segment).named(self.name.as_str())?;
            session.take_pages(pages).await?;
            self.segment.clear();
            self.segment_done = 0;
        }
        Ok(())
    }

    /// Takes over what is next from another map.
    pub(super) async fn subtree(&mut self, session: &mut Session, place: &Place, id: Id) -> Result<()> {
        let level = place.level().unwrap_or_default();
        let pages = self.map.push_subtree(level, place.span(), id).named(self.name.as_str())?;
        session.progress.add_done(place.span());
        session.take_pages(pages).await
    }

    /// The root, once the whole volume was taken.
    pub(super) async fn finish(self, session: &mut Session) -> Result<Id> {
        let (root, pages) = self.map.finish().named(self.name.as_str())?;
        session.take_pages(pages).await?;
        Ok(root)
    }
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
    let exec = session.repository.exec().clone();
    let mut map = MapWriter::new(session, name, params, volume_len)?;
    let shared = Arc::<Shared>::default();
    let width = session.limits.units(unit_len);
    let mut running: FuturesOrdered<BoxFuture<'static, Result<UnitDone>>> = FuturesOrdered::new();
    let mut offset = 0;
    loop {
        while offset < volume_len && running.len() < width {
            let segment_end = (offset / segment_len + 1).saturating_mul(segment_len).min(volume_len);
            let len = unit_len.min(segment_end - offset);
            let at_segment = offset % segment_len == 0;
            let page = if at_segment { parent.next().await? } else { None };
            let whole = at_segment && offset + len == segment_end;
            let unit = Unit { offset, len: as_len(len)?, parent: page.filter(|_| whole) };
            running.push_back(start_unit(session, name, &source, params, unit, &shared));
            offset += len;
        }
        let Some(next) = exec.unless_cancelled(async { running.next().await.transpose() }).await? else {
            break;
        };
        map.unit(session, next).await?;
    }
    map.finish(session).await
}

/// Cuts of `fixed` begin anew at each multiple of the chunk size, so a segment can be read in parts.
pub(crate) fn unit_len(params: BlockParams) -> u64 {
    if !params.is_fixed() {
        return params.segment_len();
    }
    let chunk_len = u64::from(params.max()) * chunker::BLOCK_LEN as u64;
    (UNIT_LEN / chunk_len).max(1) * chunk_len
}

/// A length of something in memory.
pub(super) fn as_len(len: u64) -> Result<usize> {
    usize::try_from(len).map_err(|_| Error::internal("a unit beyond the address space"))
}

fn start_unit(
    session: &Session,
    name: &str,
    source: &Arc<dyn BlockSource>,
    params: BlockParams,
    unit: Unit,
    shared: &Arc<Shared>,
) -> BoxFuture<'static, Result<UnitDone>> {
    let job = Arc::new(Job {
        unit,
        source: source.clone(),
        sealer: session.sealer.clone(),
        params,
        shared: shared.clone(),
    });
    let exec = session.repository.exec().clone();
    let (name, reads, waits, seals) = (name.to_owned(), job.clone(), job.clone(), job.clone());
    let step = exec.read_and_compute(
        // by the thread that hashes it: its caches then hold it, and nothing is handed over
        move || reads.at_hand(),
        move || waits.read(),
        move |(read, buffer)| match read {
            Ok(read_len) => seals.cut(read_len, buffer),
            Err((offset, source)) => Err(Error::Source { name, what: "reading failed", offset, source }),
        },
    );
    let (must_ask, asks) = (job.sealer.claims.must_ask(), exec.clone());
    let work = async move {
        let (entries, buffer, read_len) = match step.await?? {
            Step::Done(done) => return Ok(done),
            Step::Ask { entries, buffer, read_len } => (entries, buffer, read_len),
        };
        let answers = job.sealer.claims.ask(entries.iter().filter_map(|entry| entry.id)).await?;
        asks.cpu(move || job.seal(entries, buffer, read_len, &answers)).await?
    };
    // what has to ask goes on while the caller waits for the store
    if must_ask { exec.spawn(work) } else { Box::pin(work) }
}

/// How far a unit came on a CPU thread.
enum Step {
    Done(UnitDone),
    /// The index is not in memory as a whole: it has to be asked before anything is claimed.
    Ask {
        entries: Vec<LeafEntry>,
        buffer: Vec<u8>,
        read_len: u64,
    },
}

/// A unit on its way.
struct Job {
    unit: Unit,
    source: Arc<dyn BlockSource>,
    sealer: Arc<Sealer>,
    params: BlockParams,
    shared: Arc<Shared>,
}

impl Job {
    /// Reads the unit if all of it is in memory, and goes on with it; nothing if it is not.
    fn at_hand(&self) -> Option<Result<Step>> {
        let (unit, shared) = (&self.unit, &self.shared);
        if !shared.may_be_at_hand() {
            return None;
        }
        let mut buffer = shared.take();
        let read_len = read_at_hand(&*self.source, unit.offset, unit.len, &mut buffer);
        shared.note_at_hand(read_len.is_some());
        match read_len {
            Some(read_len) => Some(self.cut(read_len, buffer)),
            None => {
                shared.give(buffer);
                None
            }
        }
    }

    /// Waits for the unit. The buffer is taken only now: fewer are in use, and warm ones.
    fn read(&self) -> (Result<u64, (u64, io::Error)>, Vec<u8>) {
        let mut buffer = self.shared.take();
        let read = read_unit(&*self.source, self.unit.offset, self.unit.len, &mut buffer);
        (read, buffer)
    }

    fn cut(&self, read_len: u64, buffer: Vec<u8>) -> Result<Step> {
        let len = self.unit.len;
        if read_len == 0 && len > 0 {
            self.shared.give(buffer);
            let sealed = Sealed { entries: hole_entries(self.params, len), ..Sealed::default() };
            return Ok(Step::Done(UnitDone { sealed, len: len as u64, read_len }));
        }
        let entries = self.sealer.cut(self.params, &buffer);
        if self.sealer.claims.must_ask() {
            return Ok(Step::Ask { entries, buffer, read_len });
        }
        self.seal(entries, buffer, read_len, &Answers::default()).map(Step::Done)
    }

    fn seal(
        &self,
        entries: Vec<LeafEntry>,
        buffer: Vec<u8>,
        read_len: u64,
        answers: &Answers,
    ) -> Result<UnitDone> {
        let sealed = self.sealer.seal_segment(entries, &buffer, self.unit.parent.as_ref(), answers);
        self.shared.give(buffer);
        Ok(UnitDone { sealed: sealed?, len: self.unit.len as u64, read_len })
    }
}

/// What the units of a volume share.
#[derive(Default)]
pub(super) struct Shared {
    /// Used again and again.
    buffers: Mutex<Vec<Vec<u8>>>,
    /// Units in a row that were not in memory.
    at_hand_misses: AtomicUsize,
}

impl Shared {
    /// A buffer, of any length and content.
    pub(super) fn take(&self) -> Vec<u8> {
        self.buffers().pop().unwrap_or_default()
    }

    /// Gives a buffer back.
    pub(super) fn give(&self, buffer: Vec<u8>) {
        self.buffers().push(buffer);
    }

    fn buffers(&self) -> std::sync::MutexGuard<'_, Vec<Vec<u8>>> {
        self.buffers.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn note_at_hand(&self, hit: bool) {
        let misses = if hit { 0 } else { self.at_hand_misses.load(Ordering::Relaxed) + 1 };
        self.at_hand_misses.store(misses, Ordering::Relaxed);
    }

    /// After a miss only every eighth unit is tried: a volume lies in memory as a whole or hardly at all.
    fn may_be_at_hand(&self) -> bool {
        let misses = self.at_hand_misses.load(Ordering::Relaxed);
        if !misses.is_multiple_of(8) {
            self.at_hand_misses.fetch_add(1, Ordering::Relaxed);
        }
        misses.is_multiple_of(8)
    }
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
    let skip = leading_hole(source, offset, len).map_err(|e| (offset, e))?;
    if skip == len {
        return Ok(0);
    }
    let rest = zero_leading(buffer, len, skip);
    let start = offset + skip as u64;
    match source.read_at(start, rest) {
        Ok(()) => Ok(rest.len() as u64),
        Err(cause) => Err(first_unreadable(source, start, rest, cause)),
    }
}

/// As [`read_unit`], if all of it is in memory; nothing if some of it is not, or cannot be read.
fn read_at_hand(source: &dyn BlockSource, offset: u64, len: usize, buffer: &mut Vec<u8>) -> Option<u64> {
    let skip = leading_hole(source, offset, len).ok()?;
    if skip == len {
        return Some(0);
    }
    let rest = zero_leading(buffer, len, skip);
    let filled = source.read_at_hand(offset + skip as u64, rest);
    (filled == rest.len()).then_some(filled as u64)
}

/// Length of the hole that a unit begins with, in whole blocks unless it is all of the unit.
fn leading_hole(source: &dyn BlockSource, offset: u64, len: usize) -> io::Result<usize> {
    let data = source.next_data(offset)?.saturating_sub(offset);
    let hole = usize::try_from(data).unwrap_or(len).min(len);
    Ok(if hole == len { len } else { hole / chunker::BLOCK_LEN * chunker::BLOCK_LEN })
}

/// `buffer` with room for a unit whose first `skip` bytes are zeros; gives the rest.
fn zero_leading(buffer: &mut Vec<u8>, len: usize, skip: usize) -> &mut [u8] {
    buffer.resize(len, 0);
    let (hole, rest) = buffer.split_at_mut(skip.min(len));
    hole.fill(0);
    rest
}

/// Reads block by block to say where exactly it fails.
pub(super) fn first_unreadable(
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
pub(super) fn hole_entries(params: BlockParams, len: usize) -> Vec<LeafEntry> {
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
