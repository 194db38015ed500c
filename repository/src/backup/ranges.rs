//! A volume of which is known what changed since a base: only that is read, and the rest of the base's map is taken
//! over in subtrees as large as they come.
//!
//! Who says what changed may be wrong: [`audit`](super::audit) looks at a sample of what should be the same first.
//! Chunks that are taken over unread are not claimed: they are the base's, which commit step c4 looks at again.

use super::audit::audit;
use super::sealer::Sealer;
use super::session::Session;
use super::volume::{MapWriter, Shared, UnitDone, as_len, first_unreadable, hole_entries, unit_len};
use crate::error::Named;
use crate::reader::Reader;
use crate::source::BlockSource;
use crate::{Error, ErrorKind, Exec, Result};
use chunker::BLOCK_LEN;
use chunker::blocks::BlockParams;
use futures::future::BoxFuture;
use futures::stream::{FuturesOrdered, StreamExt};
use repo_format::Id;
use repo_format::map::{Child, LeafEntry, Page, Place};
use std::io;
use std::ops::Range;
use std::sync::Arc;

/// Pieces on their way at once, those included that are taken over.
const PIECES_MAX: usize = 256;

/// Where a volume differs from its base, in whole blocks.
#[derive(Debug, Clone, Default)]
pub(super) struct Dirty(Vec<Range<u64>>);

impl Dirty {
    /// Ranges of bytes in any order, as far as they lie in a volume of `volume_len`.
    pub(super) fn of(ranges: &[Range<u64>], volume_len: u64) -> Self {
        let block_len = BLOCK_LEN as u64;
        let mut sorted: Vec<Range<u64>> = ranges
            .iter()
            .filter(|range| range.start < range.end.min(volume_len))
            .map(|range| {
                let end = range.end.min(volume_len).div_ceil(block_len).saturating_mul(block_len);
                range.start / block_len * block_len..end.min(volume_len)
            })
            .collect();
        sorted.sort_unstable_by_key(|range| range.start);
        let mut merged: Vec<Range<u64>> = Vec::new();
        for range in sorted {
            match merged.last_mut() {
                Some(last) if range.start <= last.end => last.end = last.end.max(range.end),
                _ => merged.push(range),
            }
        }
        Dirty(merged)
    }

    /// What of it lies in `range`.
    pub(super) fn within(&self, range: Range<u64>) -> impl Iterator<Item = Range<u64>> + '_ {
        let first = self.0.partition_point(|dirty| dirty.end <= range.start);
        let rest = self.0.get(first..).unwrap_or_default().iter();
        let Range { start, end } = range;
        rest.take_while(move |dirty| dirty.start < end)
            .map(move |dirty| dirty.start.max(start)..dirty.end.min(end))
    }

    /// Whether any of it lies in `range`.
    pub(super) fn meets(&self, range: Range<u64>) -> bool {
        self.within(range).next().is_some()
    }
}

/// The base of a volume: its map and what it covers, never empty.
#[derive(Clone)]
pub(super) struct Base {
    pub(super) reader: Reader,
    pub(super) root: Child,
}

/// What came of it.
pub(super) enum Scan {
    /// The map's root.
    Done(Id),
    /// The base cannot be built on; why. Nothing was lost by trying.
    Refused(String),
    /// The volume differs at this offset, which was said to be as in the base.
    Wrong(u64),
}

/// What is needed to read a volume.
pub(super) struct Input {
    pub(super) name: String,
    pub(super) source: Arc<dyn BlockSource>,
    pub(super) params: BlockParams,
    pub(super) dirty: Dirty,
}

/// Reads what changed of a volume, after an audit of `audit_blocks` of what did not.
pub(super) async fn backup_ranges(
    session: &mut Session,
    input: &Arc<Input>,
    base: &Base,
    audit_blocks: u32,
) -> Result<Scan> {
    match scan(session, input, base, audit_blocks).await {
        // all that can be damaged here is the base
        Err(error) if error.kind() == ErrorKind::Damage => Ok(Scan::Refused(error.to_string())),
        other => other,
    }
}

async fn scan(session: &mut Session, input: &Arc<Input>, base: &Base, audit_blocks: u32) -> Result<Scan> {
    if let Some(offset) = audit(session, input, base, audit_blocks).await? {
        return Ok(Scan::Wrong(offset));
    }
    let exec = session.repository.exec().clone();
    let unit_len = unit_len(input.params);
    let width = session.limits.units(unit_len);
    let (mut pieces, shared) = (Pieces::of(base, input), Arc::<Shared>::default());
    let mut map = MapWriter::new(session, &input.name, input.params, input.source.byte_len())?;
    let mut running: FuturesOrdered<BoxFuture<'static, Result<Step>>> = FuturesOrdered::new();
    let (mut units, mut at_end) = (0, false);
    loop {
        while !at_end && units < width && running.len() < PIECES_MAX {
            match exec.unless_cancelled(pieces.next()).await? {
                None => at_end = true,
                Some(Piece::Same { place, id }) => {
                    running.push_back(Box::pin(async move { Ok(Step::Same { place, id }) }));
                }
                Some(Piece::Changed { offset, entries }) => {
                    for (offset, entries) in split(offset, entries, unit_len) {
                        let job = Job::new(input, session.sealer.clone(), shared.clone(), offset, entries)?;
                        let work = job.run(exec.clone());
                        running.push_back(exec.spawn(async { work.await.map(Step::Unit) }));
                        units += 1;
                    }
                }
            }
        }
        match exec.unless_cancelled(async { running.next().await.transpose() }).await? {
            None => break,
            Some(Step::Same { place, id }) => map.subtree(session, &place, id).await?,
            Some(Step::Unit(done)) => {
                units -= 1;
                map.unit(session, done).await?;
            }
        }
    }
    Ok(Scan::Done(map.finish(session).await?))
}

/// What comes next of the volume.
enum Step {
    Same { place: Place, id: Id },
    Unit(UnitDone),
}

/// A part of the base's map.
enum Piece {
    /// Nothing of it changed.
    Same { place: Place, id: Id },
    /// A segment of which something did, as the base has it.
    Changed { offset: u64, entries: Vec<LeafEntry> },
}

/// Goes through a map in order, down only to what changed, in memory of 64 pages per level.
struct Pieces {
    reader: Reader,
    input: Arc<Input>,
    offset: u64,
    root: Option<Child>,
    stack: Vec<std::vec::IntoIter<(Child, Option<Page>)>>,
}

impl Pieces {
    fn of(base: &Base, input: &Arc<Input>) -> Self {
        let (reader, root) = (base.reader.clone(), Some(base.root));
        Pieces { reader, input: input.clone(), offset: 0, root, stack: Vec::new() }
    }

    async fn next(&mut self) -> Result<Option<Piece>> {
        if let Some(root) = self.root.take() {
            self.open(vec![root]).await?;
        }
        while let Some(level) = self.stack.last_mut() {
            let offset = self.offset;
            match level.next() {
                None => drop(self.stack.pop()),
                Some((child, None)) => {
                    self.offset = offset.saturating_add(child.place.span());
                    return Ok(Some(Piece::Same { place: child.place, id: child.id }));
                }
                Some((child, Some(Page::Leaf(entries)))) => {
                    self.offset = offset.saturating_add(child.place.span());
                    return Ok(Some(Piece::Changed { offset, entries }));
                }
                Some((_, Some(Page::Inner(children)))) => self.open(children).await?,
            }
        }
        Ok(None)
    }

    /// Reads the pages of those of some neighbours that changed, in one go.
    async fn open(&mut self, children: Vec<Child>) -> Result<()> {
        let mut offset = self.offset;
        let changed: Vec<bool> = children
            .iter()
            .map(|child| {
                let start = offset;
                offset = offset.saturating_add(child.place.span());
                self.input.dirty.meets(start..offset)
            })
            .collect();
        let wanted: Vec<Child> =
            children.iter().zip(&changed).filter(|(_, changed)| **changed).map(|(child, _)| *child).collect();
        let mut pages = read_pages(&self.reader, self.input.params, &wanted).await?.into_iter();
        let opened: Vec<(Child, Option<Page>)> = children
            .into_iter()
            .zip(changed)
            .map(|(child, changed)| (child, if changed { pages.next() } else { None }))
            .collect();
        self.stack.push(opened.into_iter());
        Ok(())
    }
}

/// The pages at some places of a map, holes among them as they would be cut.
pub(super) async fn read_pages(reader: &Reader, params: BlockParams, wanted: &[Child]) -> Result<Vec<Page>> {
    let ids: Vec<Id> = wanted.iter().map(|child| child.id).filter(|id| !id.is_zero()).collect();
    let mut stored = if ids.is_empty() { Vec::new() } else { reader.pages(&ids).await? }.into_iter();
    let page = |child: &Child| match (child.id.is_zero(), child.place.level()) {
        (true, Some(0)) => Ok(Page::Leaf(hole_entries(params, as_len(child.place.span())?))),
        (true, _) => Ok(Page::Inner(child.place.under_hole())),
        (false, _) => {
            let bytes = stored.next().unwrap_or_default();
            child.place.parse(&bytes).named(format!("map page {}", child.id))
        }
    };
    wanted.iter().map(page).collect()
}

/// The entries of a segment in units: one, or several where cuts are fixed.
fn split(mut offset: u64, entries: Vec<LeafEntry>, unit_len: u64) -> Vec<(u64, Vec<LeafEntry>)> {
    let mut units: Vec<(u64, Vec<LeafEntry>)> = Vec::new();
    let mut left = 0;
    for entry in entries {
        match units.last_mut() {
            Some((_, unit)) if left > 0 => unit.push(entry),
            _ => {
                units.push((offset, vec![entry]));
                left = unit_len;
            }
        }
        offset = offset.saturating_add(entry.len.into());
        left = left.saturating_sub(entry.len.into());
    }
    units
}

/// A unit of which something changed, on its way.
struct Job {
    input: Arc<Input>,
    sealer: Arc<Sealer>,
    shared: Arc<Shared>,
    offset: u64,
    len: usize,
    /// As the base has it.
    entries: Vec<LeafEntry>,
    /// In bytes of the unit.
    dirty: Vec<Range<usize>>,
}

/// What was read of a unit so far: bytes, and how many of them.
type Read = Result<(Vec<u8>, u64), (u64, io::Error)>;

impl Job {
    fn new(
        input: &Arc<Input>,
        sealer: Arc<Sealer>,
        shared: Arc<Shared>,
        offset: u64,
        entries: Vec<LeafEntry>,
    ) -> Result<Arc<Self>> {
        let len: u64 = entries.iter().map(|entry| u64::from(entry.len)).sum();
        let dirty = input.dirty.within(offset..offset.saturating_add(len));
        let dirty = dirty.map(|range| Ok(as_len(range.start - offset)?..as_len(range.end - offset)?));
        Ok(Arc::new(Job {
            input: input.clone(),
            sealer,
            shared,
            offset,
            len: as_len(len)?,
            dirty: dirty.collect::<Result<_>>()?,
            entries,
        }))
    }

    async fn run(self: Arc<Self>, exec: Exec) -> Result<UnitDone> {
        let ids = self.entries.iter().filter_map(|entry| entry.id);
        let answers = self.sealer.claims.ask(ids).await?;
        let job = self.clone();
        let recut =
            exec.cpu(move || job.sealer.recut(job.input.params, &job.entries, &job.dirty, &answers)).await?;
        let other = || {
            Error::damage(format!("map of {}", self.input.name), "its entries are not those of its chunker")
        };
        let mut recut = recut.ok_or_else(other)?;
        let (mut buffer, mut read_len) = (self.shared.take(), 0);
        // what is left of a hole is not read: it has to be zeros here, too
        buffer.clear();
        while recut.wants().next().is_some() {
            let (reads, takes) = (self.clone(), self.clone());
            let wanted: Vec<Range<usize>> = recut.wants().collect();
            let work = exec.read_and_compute(
                || None,
                move || reads.read(&wanted, buffer),
                move |read: Read| {
                    let (bytes, len) = read?;
                    takes.sealer.supply(&mut recut, &bytes);
                    Ok((recut, bytes, len))
                },
            );
            let read = work.await?.map_err(|(offset, source)| Error::Source {
                name: self.input.name.clone(),
                what: "reading failed",
                offset,
                source,
            });
            let len;
            (recut, buffer, len) = read?;
            read_len += len;
        }
        let entries = recut.finish();
        let new = entries.iter().filter(|entry| !entry.is_kept).filter_map(|entry| entry.cut.id.map(Id));
        let answers = self.sealer.claims.ask(new).await?;
        exec.cpu(move || {
            let sealed = self.sealer.seal_recut(entries, &buffer, &answers);
            self.shared.give(buffer);
            Ok(UnitDone { sealed: sealed?, len: self.len as u64, read_len })
        })
        .await?
    }

    /// Reads ranges of the unit to their places in it.
    fn read(&self, wanted: &[Range<usize>], mut buffer: Vec<u8>) -> Read {
        buffer.resize(self.len, 0);
        let mut read_len = 0;
        for range in wanted {
            let at = self.offset.saturating_add(range.start as u64);
            let bytes = buffer.get_mut(range.clone()).unwrap_or_default();
            let source = &*self.input.source;
            source.read_at(at, bytes).map_err(|cause| first_unreadable(source, at, bytes, cause))?;
            read_len += bytes.len() as u64;
        }
        Ok((buffer, read_len))
    }
}
