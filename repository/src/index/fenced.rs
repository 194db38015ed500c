//! A run of which only the end was read: head, pack table, and where its blocks and filter parts lie.

use super::RunFile;
use super::load::Found;
use super::open::check_len;
use crate::cache::LocalCopy;
use crate::error::Named;
use crate::{Error, Repository, Result};
use bytes::Bytes;
use repo_format::compress::Decompressor;
use repo_format::index::{ENTRIES_PER_BLOCK, FilterPart, RunBlocks, RunHead, id_range, parse_entries_block};
use repo_format::layout::ObjectName;
use repo_format::pack::{OpenTrailer, PackClass, Row, Trailer, open_trailer};
use repo_format::record::{Compression, RecordKey, RecordType};
use repo_format::{ErrorKind as FormatKind, Id, index as format};
use std::ops::Range;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

/// Last bytes of a run that are read at first: this much...
const TAIL_LEN_MIN: u64 = 64 << 10;
/// ...or this part of it, if that is more: filter, trailer and pack table take an eleventh to a sixteenth.
const TAIL_SHARE: u64 = 14;
/// Tries until the footer and the records before the trailer are covered.
const TAILS_MAX: usize = 4;

/// Where a block of entries or a part of the filter lies.
#[derive(Debug, Clone, Copy)]
pub(super) struct Fence {
    /// First and last short id.
    id: Id,
    pub(super) offset: u32,
    /// Neither is longer than 20 KiB.
    clen: u16,
    rlen: u16,
    key: u8,
}

impl Fence {
    fn of(trailer: &Trailer, n: usize, row: &Row) -> Option<Self> {
        let (clen, rlen) = (u16::try_from(row.clen).ok()?, u16::try_from(row.rlen).ok()?);
        let offset = u32::try_from(trailer.offset(n)?).ok()?;
        Some(Fence { id: row.id, offset, clen, rlen, key: row.key })
    }

    /// Its bytes in the run.
    pub(super) fn range(&self) -> Range<u64> {
        let start = u64::from(self.offset);
        start..start + u64::from(self.clen)
    }

    fn row(&self, record_type: RecordType) -> Row {
        let (clen, rlen) = (u32::from(self.clen), u32::from(self.rlen));
        let is_raw = clen == rlen + repo_format::limits::RECORD_OVERHEAD_LEN;
        let comp = if is_raw { Compression::Raw } else { Compression::Zstd };
        Row { record_type, comp, key: self.key, id: self.id, clen, rlen }
    }
}

/// A part of a run that was opened.
#[derive(Clone)]
pub(super) enum Piece {
    Filter(Arc<FilterPart>),
    Block(Arc<Vec<format::Entry>>),
}

impl Piece {
    /// Bytes of memory it takes.
    pub(super) fn memory_len(&self) -> usize {
        match self {
            Piece::Filter(part) => part.memory_len(),
            Piece::Block(entries) => entries.len() * size_of::<format::Entry>() + 64,
        }
    }
}

/// A run whose entries stay where they are.
pub(super) struct FencedRun {
    pub(super) file: RunFile,
    pub(super) head: RunHead,
    pub(super) packs: Vec<format::PackRow>,
    keys: Vec<RecordKey>,
    pub(super) blocks: Vec<Fence>,
    /// Empty: the run has no filter.
    pub(super) filter: Vec<Fence>,
    pub(super) copy: LocalCopy,
    /// A merge has removed it.
    gone: AtomicBool,
}

/// What the end of a run told.
enum Tail {
    /// More of it is needed: this many bytes.
    Need(u64),
    Foreign,
    Run(Box<FencedRun>),
}

impl FencedRun {
    /// Reads the end of a run: from its copy if that is good, or else from the store, for the copy.
    pub(super) async fn read(
        repository: &Repository,
        file: &RunFile,
        copy: LocalCopy,
    ) -> Result<Found<Arc<Self>>> {
        let first_len = TAIL_LEN_MIN.max(file.len / TAIL_SHARE).min(file.len);
        for is_copy in [true, false] {
            let (mut tail, mut tail_len) = (Bytes::new(), first_len);
            for _ in 0..TAILS_MAX {
                if is_copy && copy.is_none() {
                    break;
                }
                // what is there already is not read again
                let range = file.len - tail_len..file.len - tail.len() as u64;
                let wanted_len = range.end - range.start;
                let more = if is_copy {
                    let copy = copy.clone();
                    repository.exec().blocking(move || copy.read(range)).await?.map(Bytes::from)
                } else {
                    let Some(more) = repository.store().get_range(&file.name(), range).await? else {
                        return Ok(Found::Gone);
                    };
                    Some(more)
                };
                let Some(more) = more else { break };
                if more.len() as u64 != wanted_len {
                    let found = format!("{} bytes read, {wanted_len} expected", more.len());
                    return Err(Error::damage(file.name(), found));
                }
                tail = if tail.is_empty() { more } else { Bytes::from([more, tail].concat()) };
                let (opening, opened_file, of) = (repository.clone(), file.clone(), copy.clone());
                let bytes = tail.clone();
                let opened = repository.exec().cpu(move || open(&opening, &opened_file, of, &bytes)).await?;
                match opened {
                    Ok(Tail::Need(len)) => tail_len = len.max(tail_len).min(file.len),
                    Err(_) | Ok(Tail::Foreign) if is_copy => break,
                    Ok(Tail::Foreign) => return Ok(Found::Foreign),
                    Ok(Tail::Run(run)) => {
                        if !is_copy {
                            let offset = file.len - tail.len() as u64;
                            repository.exec().blocking(move || copy.write(offset, &tail)).await?;
                        }
                        return Ok(Found::Run(Arc::new(*run)));
                    }
                    Err(error) => return Err(error),
                }
            }
        }
        Err(Error::damage(file.name(), "its footer asks for more than the object holds"))
    }

    pub(super) fn name(&self) -> ObjectName {
        self.file.name()
    }

    pub(super) fn is_gone(&self) -> bool {
        self.gone.load(Ordering::Relaxed)
    }

    pub(super) fn set_gone(&self) {
        self.gone.store(true, Ordering::Relaxed);
    }

    /// Bytes of memory that its filter takes once all of it was opened.
    pub(super) fn filter_len(&self) -> usize {
        // an eighth of a byte an entry is for finding a place in it
        self.filter.iter().map(|fence| usize::from(fence.rlen) + usize::from(fence.rlen) / 9).sum()
    }

    /// Numbers of the blocks that may have an id: several, if several packs hold it.
    pub(super) fn blocks_of(&self, id: &[u8; 16]) -> Range<usize> {
        covering(&self.blocks, id)
    }

    /// Number of the filter part that may have an id; nothing if no part does.
    pub(super) fn part_of(&self, id: &[u8; 16]) -> Option<usize> {
        covering(&self.filter, id).next()
    }

    /// Opens the sealed bytes of the fence, a filter part or a block.
    pub(super) fn open(
        &self,
        fence: &Fence,
        is_filter: bool,
        sealed: &[u8],
        tools: &mut Decompressor,
        plain: &mut Vec<u8>,
    ) -> Result<Piece> {
        let record_type = if is_filter { RecordType::Filter } else { RecordType::Entries };
        let key = self.keys.get(usize::from(fence.key));
        let key = key.ok_or_else(|| Error::damage(self.name(), "a record without a key"))?;
        plain.clear();
        key.open(&fence.row(record_type), sealed, tools, plain).named(self.name())?;
        if is_filter {
            return Ok(Piece::Filter(Arc::new(FilterPart::parse(&fence.id, plain).named(self.name())?)));
        }
        let mut entries = Vec::with_capacity(ENTRIES_PER_BLOCK);
        parse_entries_block(&fence.id, plain, self.head.pack_count, &mut entries).named(self.name())?;
        Ok(Piece::Block(Arc::new(entries)))
    }
}

/// Numbers of the fences, which rise, around an id.
fn covering(fences: &[Fence], id: &[u8; 16]) -> Range<usize> {
    let start = fences.partition_point(|fence| id_range(&fence.id).1 < *id);
    let rest = fences.get(start..).unwrap_or_default();
    start..start + rest.partition_point(|fence| id_range(&fence.id).0 <= *id)
}

/// Opens what lies behind the entries of a run.
fn open(repository: &Repository, file: &RunFile, copy: LocalCopy, tail: &Bytes) -> Result<Tail> {
    let name = file.name();
    check_len(&name, file.len)?;
    let context = repository.pack_context(PackClass::Index, &file.pack_id);
    let trailer = match open_trailer(&context, tail, file.len) {
        Ok(OpenTrailer::Done(trailer, _)) => trailer,
        Ok(OpenTrailer::NeedTail(len)) => return Ok(Tail::Need(len)),
        // the footer's sum was right: it is another domain's
        Err(error) if error.kind() == FormatKind::WrongKey => return Ok(Tail::Foreign),
        Err(error) => return Err(error).named(name),
    };
    let behind = trailer.rows().iter().position(|row| row.record_type != RecordType::Entries);
    let behind = behind.and_then(|n| trailer.offset(n)).unwrap_or(trailer.records_end());
    let start = file.len.saturating_sub(tail.len() as u64);
    if behind < start {
        return Ok(Tail::Need(file.len - behind));
    }
    let mut keys = Vec::new();
    for key in trailer.keys() {
        keys.push(key.open_structure(&repository.repo_id(), repository.structure_key()).named(name)?);
    }
    let (mut parts, mut head) = (Vec::new(), (Id::ZERO, Vec::new()));
    let (mut blocks, mut filter) = (Vec::new(), Vec::new());
    let mut tools = Decompressor::new();
    for (n, row) in trailer.rows().iter().enumerate() {
        let fence = || Fence::of(&trailer, n, row).ok_or_else(|| Error::damage(name, "a record is too long"));
        match row.record_type {
            RecordType::Entries => blocks.push(fence()?),
            RecordType::Filter => filter.push(fence()?),
            _ => {
                let sealed = trailer.range(n).and_then(|range| {
                    let from = usize::try_from(range.start.checked_sub(start)?).ok()?;
                    tail.get(from..from.checked_add(row.clen as usize)?)
                });
                let outside = || Error::damage(name, "a record lies outside the object");
                let (sealed, key) = sealed.zip(keys.get(usize::from(row.key))).ok_or_else(outside)?;
                let mut plain = Vec::new();
                key.open(row, sealed, &mut tools, &mut plain).named(name)?;
                match row.record_type {
                    RecordType::PackTable => parts.push((row.id, plain)),
                    _ => head = (row.id, plain),
                }
            }
        }
    }
    let types = trailer.rows().iter().map(|row| row.record_type);
    let parts = parts.iter().map(|(id, part)| (id, part.as_slice()));
    let opened = RunBlocks::new(types, (&head.0, &head.1), parts).named(name)?;
    check_fences(&name, opened.head(), &blocks, &filter)?;
    let (head, packs) = (*opened.head(), opened.packs().to_vec());
    let gone = AtomicBool::new(false);
    let run = FencedRun { file: file.clone(), head, packs, keys, blocks, filter, copy, gone };
    Ok(Tail::Run(Box::new(run)))
}

/// Blocks and filter must cover what the head says, in order.
fn check_fences(name: &ObjectName, head: &RunHead, blocks: &[Fence], filter: &[Fence]) -> Result<()> {
    let expected = head.entry_count.div_ceil(ENTRIES_PER_BLOCK as u64);
    if blocks.len() as u64 != expected {
        return Err(Error::damage(
            name,
            format!("{} blocks of entries, {expected} by its head", blocks.len()),
        ));
    }
    for (fences, strict) in [(blocks, false), (filter, true)] {
        let mut last: Option<[u8; 16]> = None;
        for fence in fences {
            let (low, high) = id_range(&fence.id);
            let follows = last.is_none_or(|last| if strict { last < low } else { last <= low });
            if low > high || !follows {
                return Err(Error::damage(name, "its blocks or filter parts are not sorted"));
            }
            last = Some(high);
        }
        let ends = fences.first().zip(fences.last());
        let ends = ends.map(|(first, last)| (id_range(&first.id).0, id_range(&last.id).1));
        if ends.is_some_and(|ends| ends != (head.lowest, head.highest)) {
            return Err(Error::damage(
                name,
                "its lowest and highest id are not those of its blocks or filter",
            ));
        }
    }
    Ok(())
}
