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

/// Buffers of a restore, used again and again.
#[derive(Default)]
pub(super) struct Buffers(Mutex<Vec<Tools>>);

/// What opening records needs.
struct Tools {
    decompressor: Decompressor,
    /// One record.
    plain: Vec<u8>,
    /// All records of a fetch.
    all: Vec<u8>,
    /// Which part of them goes where.
    writes: Vec<(u64, Range<usize>)>,
}

impl Buffers {
    fn take(&self) -> Tools {
        let free = self.0.lock().unwrap_or_else(PoisonError::into_inner).pop();
        free.unwrap_or_else(|| Tools {
            decompressor: Decompressor::new(),
            plain: Vec::new(),
            all: Vec::new(),
            writes: Vec::new(),
        })
    }

    fn give(&self, mut tools: Tools) {
        tools.all.clear();
        tools.writes.clear();
        self.0.lock().unwrap_or_else(PoisonError::into_inner).push(tools);
    }
}

/// What fetches share.
#[derive(Clone)]
pub(super) struct Shared {
    pub(super) reader: Reader,
    pub(super) target: Target,
    pub(super) buffers: Arc<Buffers>,
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

/// Opens what was read and writes it. Damage is no error yet, either.
pub(super) async fn write(shared: Shared, fetched: Fetched) -> Result<Done> {
    let Fetched { pieces, fetch, bytes } = fetched;
    let Some(bytes) = bytes else {
        let failed = fetch.records.into_iter().map(|(n, _)| n).collect();
        return Ok(Done { written: 0, failed, pieces });
    };
    let exec = shared.reader.repository().exec().clone();
    let (reader, mut tools) = (shared.reader.clone(), shared.buffers.take());
    let (failed, pieces, tools) = exec
        .cpu(move || {
            let failed = open_records(&reader, &pieces, &fetch, &bytes, &mut tools);
            (failed, pieces, tools)
        })
        .await?;
    let failed = failed?;
    let target = shared.target.clone();
    let (written, tools) = exec.blocking(move || (write_all(&target, &tools), tools)).await?;
    shared.buffers.give(tools);
    Ok(Done { written: written?, failed, pieces })
}

/// Opens all records of a fetch and notes where they go; gives the numbers of the bad ones.
fn open_records(
    reader: &Reader,
    pieces: &[Piece],
    fetch: &Fetch,
    bytes: &Bytes,
    tools: &mut Tools,
) -> Result<Vec<usize>> {
    let mut failed = Vec::new();
    tools.all.reserve_exact(room(pieces, fetch));
    for (n, location) in &fetch.records {
        let Some(piece) = pieces.get(*n) else { continue };
        let sealed = slice(bytes, &fetch.range, location)?;
        match reader.open(location, sealed, &mut tools.decompressor, &mut tools.plain) {
            Ok(()) if tools.plain.len() as u64 == piece.len => {}
            Err(error @ (Error::Role { .. } | Error::Internal { .. })) => return Err(error),
            _ => {
                failed.push(*n);
                continue;
            }
        }
        if !piece.offsets.first().is_some_and(|offset| goes_on(&tools.writes, *offset, tools.all.len())) {
            align(&mut tools.all);
        }
        let start = tools.all.len();
        tools.all.extend_from_slice(&tools.plain);
        let range = start..tools.all.len();
        for offset in &piece.offsets {
            push_write(&mut tools.writes, *offset, range.clone());
        }
    }
    Ok(failed)
}

/// Bytes that all records of a fetch may take together, each of them aligned: nothing is moved afterwards.
fn room(pieces: &[Piece], fetch: &Fetch) -> usize {
    let pieces = fetch.records.iter().filter_map(|(n, _)| pieces.get(*n));
    let lens = pieces.map(|piece| usize::try_from(piece.len).unwrap_or_default().saturating_add(ALIGNMENT));
    lens.fold(0, usize::saturating_add)
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

fn write_all(target: &Target, tools: &Tools) -> Result<u64> {
    let mut written = 0u64;
    for (offset, range) in &tools.writes {
        let bytes =
            tools.all.get(range.clone()).ok_or_else(|| Error::internal("a write beside its buffer"))?;
        target.write(*offset, bytes)?;
        written = written.saturating_add(bytes.len() as u64);
    }
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
