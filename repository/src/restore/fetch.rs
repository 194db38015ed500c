//! One fetch: read a range of a pack; then open its records and write them.

use super::plan::Piece;
use super::target::Target;
use crate::direct::{ALIGNMENT, lead};
use crate::reader::{Fetch, Reader, slice};
use crate::{Error, ErrorKind, Result};
use bytes::Bytes;
use repo_format::compress::Decompressor;
use std::ops::Range;
use std::sync::{Arc, Mutex, PoisonError};

/// Plain bytes that are opened before they are written, unless one record has more: few enough to stay in the processor's
/// cache, many enough for one write.
const PART_LEN: usize = 2 << 20;
/// What a fetch that is opened and written holds at most: two parts, as long as a record can be.
pub(super) const PLAIN_LEN: u64 = 2 * repo_format::limits::RECORD_PLAIN_LEN_MAX as u64;

/// Tools and buffers of a restore, used again and again.
#[derive(Default)]
pub(super) struct Pool {
    decompressors: Mutex<Vec<Decompressor>>,
    parts: Mutex<Vec<Part>>,
}

/// Plain bytes of some records of a fetch, and where they go.
#[derive(Default)]
struct Part {
    plain: Vec<u8>,
    writes: Vec<(u64, Range<usize>)>,
}

fn take<T: Default>(free: &Mutex<Vec<T>>) -> T {
    free.lock().unwrap_or_else(PoisonError::into_inner).pop().unwrap_or_default()
}

fn give<T>(free: &Mutex<Vec<T>>, used: T) {
    free.lock().unwrap_or_else(PoisonError::into_inner).push(used);
}

/// What fetches share.
#[derive(Clone)]
pub(super) struct Shared {
    pub(super) reader: Reader,
    pub(super) target: Target,
    pub(super) pool: Arc<Pool>,
}

/// What became of a fetch.
pub(super) struct Done {
    /// Bytes written.
    pub(super) written: u64,
    /// Pieces whose copy here is bad, by their numbers in `pieces`.
    pub(super) failed: Vec<usize>,
    /// Those of the window.
    pub(super) pieces: Arc<Vec<Piece>>,
}

/// A range that was read, and what wants it.
pub(super) struct Fetched {
    pieces: Arc<Vec<Piece>>,
    fetch: Fetch,
    /// Nothing if it cannot be read.
    bytes: Option<Bytes>,
}

impl Fetched {
    /// Bytes of the range.
    pub(super) fn range_len(&self) -> u64 {
        self.fetch.range_len()
    }
}

/// Reads a range. Damage is no error yet: there may be other locations.
pub(super) async fn read(shared: Shared, pieces: Arc<Vec<Piece>>, fetch: Fetch) -> Result<Fetched> {
    let bytes = match shared.reader.fetch(&fetch.name, fetch.range.clone()).await {
        Ok(bytes) => Some(bytes),
        Err(error) if error.kind() == ErrorKind::Damage => None,
        Err(error) => return Err(error),
    };
    Ok(Fetched { pieces, fetch, bytes })
}

/// Opens what was read and writes it, part by part: one is written while the next one is opened. Damage is no error yet,
/// either.
pub(super) async fn write(shared: Shared, fetched: Fetched) -> Result<Done> {
    let Fetched { pieces, fetch, bytes } = fetched;
    let Some(bytes) = bytes else {
        let failed = fetch.records.into_iter().map(|(n, _)| n).collect();
        return Ok(Done { written: 0, failed, pieces });
    };
    let exec = shared.reader.repository().exec();
    let fetch = Arc::new(fetch);
    let mut done = Done { written: 0, failed: Vec::new(), pieces };
    let mut writing = None;
    let mut next = 0;
    while next < fetch.records.len() {
        let opened = {
            let (shared, pieces) = (shared.clone(), done.pieces.clone());
            let (fetch, bytes) = (fetch.clone(), bytes.clone());
            exec.cpu(move || open_part(&shared, &pieces, &fetch, &bytes, next)).await??
        };
        done.failed.extend(opened.failed);
        next = opened.end;
        let shared = shared.clone();
        let written = exec.blocking(move || write_part(&shared, opened.part));
        if let Some(before) = writing.replace(written) {
            done.written = done.written.saturating_add(before.await??);
        }
    }
    if let Some(last) = writing {
        done.written = done.written.saturating_add(last.await??);
    }
    Ok(done)
}

/// Some records of a fetch, opened.
struct Opened {
    part: Part,
    /// Pieces whose copies are bad.
    failed: Vec<usize>,
    /// The record after the last one.
    end: usize,
}

/// Opens the next records of a fetch and notes where they go.
fn open_part(
    shared: &Shared,
    pieces: &[Piece],
    fetch: &Fetch,
    bytes: &Bytes,
    first: usize,
) -> Result<Opened> {
    let mut opened = Opened { part: take(&shared.pool.parts), failed: Vec::new(), end: first };
    let Part { plain, writes } = &mut opened.part;
    let mut tools = take(&shared.pool.decompressors);
    for (n, location) in fetch.records.iter().skip(first) {
        let len = location.row.rlen as usize;
        if plain.is_empty() {
            // nothing is moved afterwards
            plain.reserve_exact(len.max(PART_LEN).saturating_add(ALIGNMENT));
        } else if plain.len().saturating_add(len) > PART_LEN {
            break;
        }
        opened.end += 1;
        let Some(piece) = pieces.get(*n).filter(|piece| piece.len == len as u64) else {
            opened.failed.push(*n);
            continue;
        };
        if !piece.offsets.first().is_some_and(|offset| goes_on(writes, *offset, plain.len())) {
            align(plain);
        }
        let start = plain.len();
        let sealed = slice(bytes, &fetch.range, location)?;
        match shared.reader.open_append(location, sealed, &mut tools, plain) {
            Ok(()) => {}
            Err(error @ (Error::Role { .. } | Error::Internal { .. })) => return Err(error),
            Err(_) => {
                opened.failed.push(*n);
                continue;
            }
        }
        for offset in &piece.offsets {
            push_write(writes, *offset, start..plain.len());
        }
    }
    give(&shared.pool.decompressors, tools);
    Ok(opened)
}

/// Makes the buffer end at an address that [`Target::write`] can write from past the page cache.
fn align(all: &mut Vec<u8>) {
    let end = all.get(all.len()..).map(lead).unwrap_or_default();
    all.resize(all.len().saturating_add(end), 0);
}

/// Whether what begins at `start` of the buffer and goes to `offset` goes on where the last write ends.
fn goes_on(writes: &[(u64, Range<usize>)], offset: u64, start: usize) -> bool {
    writes.last().is_some_and(|(last_offset, last)| {
        last.end == start && last_offset.saturating_add(last.len() as u64) == offset
    })
}

/// Notes a write; one that goes on where the last one ends becomes part of it.
fn push_write(writes: &mut Vec<(u64, Range<usize>)>, offset: u64, range: Range<usize>) {
    let goes_on = goes_on(writes, offset, range.start);
    match writes.last_mut() {
        Some((_, last)) if goes_on => last.end = range.end,
        _ => writes.push((offset, range)),
    }
}

/// Writes a part and gives its memory back.
fn write_part(shared: &Shared, mut part: Part) -> Result<u64> {
    let mut written = 0u64;
    for (offset, range) in &part.writes {
        let bytes =
            part.plain.get(range.clone()).ok_or_else(|| Error::internal("a write beside its buffer"))?;
        shared.target.write(*offset, bytes)?;
        written = written.saturating_add(bytes.len() as u64);
    }
    part.plain.clear();
    part.writes.clear();
    give(&shared.pool.parts, part);
    Ok(written)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn neighbours_are_written_together() {
        let mut writes = Vec::new();
        for (offset, range) in [(100, 0..10), (110, 10..30), (130, 40..50), (140, 40..50)] {
            push_write(&mut writes, offset, range);
        }
        assert_eq!(writes, [(100, 0..30), (130, 40..50), (140, 40..50)]);
    }
}
