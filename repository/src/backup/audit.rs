//! Looks at a random sample of what did not change since a base, as far as one is told: those who say so have been wrong.

use super::ranges::{Base, Input, read_pages};
use super::sealer::Sealer;
use super::session::Session;
use super::volume::first_unreadable;
use crate::source::BlockSource;
use crate::{Env, Error, Result};
use chunker::BLOCK_LEN;
use futures::future::BoxFuture;
use futures::stream::{FuturesUnordered, StreamExt};
use repo_format::Id;
use repo_format::map::{Child, LeafEntry, Page};
use std::collections::{BTreeMap, BTreeSet};
use std::io;
use std::ops::Range;
use std::sync::Arc;

/// The sample lies in this many segments at most: each costs a page of the base's map.
const SEGMENTS_MAX: u64 = 64;

/// Blocks of a sample, by the offset of their segment.
type Sample = BTreeMap<u64, BTreeSet<u64>>;

/// Compares about `block_count` blocks that should be as in the base, each with the chunk around it. Gives the offset
/// of the first chunk that is not.
pub(super) async fn audit(
    session: &mut Session,
    input: &Input,
    base: &Base,
    block_count: u32,
) -> Result<Option<u64>> {
    let exec = session.repository.exec().clone();
    let sample = sample(session.repository.env(), input, block_count)?;
    let parts = exec.unless_cancelled(parts(base, input, &sample)).await?;
    let width = session.limits.units(input.params.segment_len());
    let mut parts = parts.into_iter();
    let mut running: FuturesUnordered<BoxFuture<'static, Result<Checked>>> = FuturesUnordered::new();
    let mut found: Option<u64> = None;
    loop {
        while running.len() < width
            && let Some(parts) = parts.next()
        {
            let (source, sealer, name) = (input.source.clone(), session.sealer.clone(), input.name.clone());
            let read = move || read(&*source, parts);
            let work = exec.read_and_compute(
                || None,
                read,
                move |read| match read {
                    Ok(read) => Ok(check(&sealer, &read)),
                    Err((offset, source)) => {
                        Err(Error::Source { name, what: "reading failed", offset, source })
                    }
                },
            );
            running.push(Box::pin(async { work.await? }));
        }
        let Some(done) = exec.unless_cancelled(async { running.next().await.transpose() }).await? else {
            break;
        };
        session.report.bytes_read += done.read_len;
        found = [found, done.differs].into_iter().flatten().min();
    }
    Ok(found)
}

/// Random blocks of random segments, less those that changed.
fn sample(env: &Env, input: &Input, block_count: u32) -> Result<Sample> {
    let (volume_len, segment_len) = (input.source.byte_len(), input.params.segment_len());
    let count = input.params.segment_count(volume_len);
    let mut draw = blake3::Hasher::new_keyed(&env.random()?).finalize_xof();
    let mut below = |bound: u64| {
        let mut bytes = [0; 8];
        draw.fill(&mut bytes);
        u64::from_le_bytes(bytes) % bound.max(1)
    };
    let mut segments = BTreeSet::new();
    while block_count > 0 && (segments.len() as u64) < count.min(SEGMENTS_MAX) {
        segments.insert(if count <= SEGMENTS_MAX { segments.len() as u64 } else { below(count) });
    }
    let each = u64::from(block_count).div_ceil((segments.len() as u64).max(1));
    let mut sample = Sample::new();
    for segment in segments {
        let start = segment * segment_len;
        let blocks = (volume_len - start).min(segment_len).div_ceil(BLOCK_LEN as u64);
        for _ in 0..each {
            let at = start + below(blocks) * BLOCK_LEN as u64;
            if !input.dirty.meets(at..at.saturating_add(1)) {
                sample.entry(start).or_default().insert(at);
            }
        }
    }
    Ok(sample)
}

/// What is compared in one go.
type Parts = Vec<(Range<u64>, Option<Id>)>;

/// Finds the chunks and holes of the base around the blocks of a sample; one list a segment or a larger hole.
async fn parts(base: &Base, input: &Input, sample: &Sample) -> Result<Vec<Parts>> {
    let (mut open, mut found) = (vec![(0_u64, base.root)], Vec::new());
    while !open.is_empty() {
        let wanted: Vec<Child> =
            open.iter().map(|(_, child)| *child).filter(|child| !child.id.is_zero()).collect();
        let mut pages = read_pages(&base.reader, input.params, &wanted).await?.into_iter();
        let mut below = Vec::new();
        for (offset, child) in open {
            let end = offset.saturating_add(child.place.span());
            let blocks = || sample.range(offset..end).flat_map(|(_, blocks)| blocks);
            match if child.id.is_zero() { None } else { pages.next() } {
                None => found.push(blocks().map(|at| (block(*at, end), None)).collect()),
                Some(Page::Leaf(entries)) => found.push(around(offset, &entries, blocks(), input)),
                Some(Page::Inner(children)) => {
                    let mut at = offset;
                    for child in children {
                        let start = at;
                        at = at.saturating_add(child.place.span());
                        if sample.range(start..at).next().is_some() {
                            below.push((start, child));
                        }
                    }
                }
            }
        }
        open = below;
    }
    found.retain(|parts: &Parts| !parts.is_empty());
    Ok(found)
}

fn block(at: u64, end: u64) -> Range<u64> {
    at..end.min(at.saturating_add(BLOCK_LEN as u64))
}

/// The chunks around some blocks of a segment, as far as nothing of them changed, and the blocks of holes themselves.
fn around<'a>(
    offset: u64,
    entries: &[LeafEntry],
    blocks: impl Iterator<Item = &'a u64>,
    input: &Input,
) -> Parts {
    let mut parts = Parts::new();
    let mut blocks = blocks.peekable();
    let mut start = offset;
    for entry in entries {
        let end = start.saturating_add(entry.len.into());
        while let Some(at) = blocks.next_if(|at| **at < end) {
            let range = if entry.id.is_some() { start..end } else { block(*at, end) };
            let is_known = parts.last().is_some_and(|(last, _)| *last == range);
            if !is_known && !input.dirty.meets(range.clone()) {
                parts.push((range, entry.id));
            }
        }
        start = end;
    }
    parts
}

/// What was read, part by part.
struct ReadParts {
    parts: Parts,
    bytes: Vec<u8>,
}

fn read(source: &dyn BlockSource, parts: Parts) -> Result<ReadParts, (u64, io::Error)> {
    let len = |range: &Range<u64>| usize::try_from(range.end - range.start).unwrap_or_default();
    let mut bytes = vec![0; parts.iter().map(|(range, _)| len(range)).sum()];
    let mut rest = bytes.as_mut_slice();
    for (range, _) in &parts {
        let Some((part, after)) = rest.split_at_mut_checked(len(range)) else { break };
        source
            .read_at(range.start, part)
            .map_err(|cause| first_unreadable(source, range.start, part, cause))?;
        rest = after;
    }
    Ok(ReadParts { parts, bytes })
}

/// What came of some parts.
struct Checked {
    read_len: u64,
    /// Where the first one begins that is not as in the base.
    differs: Option<u64>,
}

fn check(sealer: &Arc<Sealer>, read: &ReadParts) -> Checked {
    let mut rest = read.bytes.as_slice();
    let differs = read.parts.iter().find(|(range, id)| {
        let len = usize::try_from(range.end - range.start).unwrap_or_default();
        let (part, after) = rest.split_at_checked(len).unwrap_or((rest, &[]));
        rest = after;
        match id {
            Some(id) => !sealer.is_chunk(id, part),
            None => part.iter().any(|byte| *byte != 0),
        }
    });
    Checked { read_len: read.bytes.len() as u64, differs: differs.map(|(range, _)| range.start) }
}
