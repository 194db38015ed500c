//! Filter parts and blocks of entries: from the memory, a local copy, or the store.

use super::fenced::{Fence, FencedRun, Piece};
use crate::{Error, ErrorKind, Repository, Result};
use bytes::Bytes;
use futures::stream::{StreamExt, iter};
use hashbrown::HashMap;
use repo_format::PackId;
use repo_format::compress::Decompressor;
use std::ops::Range;
use std::sync::{Arc, Mutex, PoisonError};

/// Pieces in hand at a time, beside those kept.
pub(super) const PIECES_AT_ONCE: usize = 32;
/// Requests at the same time.
const READS_IN_FLIGHT: usize = 8;
/// Less than this apart is one request.
const GAP_MAX: u64 = 16 << 10;
/// Longest range of one request.
const READ_LEN_MAX: u64 = 1 << 20;

/// Which piece of which run.
#[derive(Clone)]
pub(super) struct Want {
    pub(super) run: Arc<FencedRun>,
    pub(super) is_filter: bool,
    pub(super) n: usize,
}

impl Want {
    fn fence(&self) -> Option<Fence> {
        let fences = if self.is_filter { &self.run.filter } else { &self.run.blocks };
        fences.get(self.n).copied()
    }
}

type PieceKey = (PackId, u32);

/// Pieces in two generations: what is not asked for while one fills is dropped with the other.
#[derive(Default)]
struct Kept {
    young: HashMap<PieceKey, Piece>,
    old: HashMap<PieceKey, Piece>,
    young_len: usize,
}

impl Kept {
    fn get(&mut self, key: &PieceKey, half: usize) -> Option<Piece> {
        if let Some(piece) = self.young.get(key) {
            return Some(piece.clone());
        }
        let piece = self.old.remove(key)?;
        self.insert(*key, piece.clone(), half);
        Some(piece)
    }

    fn insert(&mut self, key: PieceKey, piece: Piece, half: usize) {
        let len = piece.memory_len();
        if self.young_len + len > half {
            self.old = std::mem::take(&mut self.young);
            self.young_len = 0;
        }
        if self.young.insert(key, piece).is_none() {
            self.young_len += len;
        }
    }
}

/// Opens pieces, and keeps those used last in memory.
pub(super) struct Pieces {
    repository: Repository,
    kept: Mutex<Kept>,
    /// Bytes of one of the two generations.
    half: usize,
    /// Otherwise somebody else keeps the filters.
    keeps_filters: bool,
    tools: Mutex<Vec<Tools>>,
}

#[derive(Default)]
struct Tools {
    decompressor: Decompressor,
    plain: Vec<u8>,
}

/// A piece that is not in memory.
struct Missing {
    /// Number of the want.
    at: usize,
    want: Want,
    fence: Fence,
}

impl Pieces {
    /// Keeps up to about `memory_len` bytes.
    pub(super) fn new(repository: &Repository, memory_len: usize, keeps_filters: bool) -> Self {
        let (kept, tools) = (Mutex::default(), Mutex::default());
        Pieces { repository: repository.clone(), kept, half: memory_len / 2, keeps_filters, tools }
    }

    /// The pieces, or why one cannot be had; nothing of a run that is not there any more, which is then marked.
    pub(super) async fn get(self: &Arc<Self>, wants: &[Want]) -> Result<Vec<Option<Result<Piece>>>> {
        let mut found: Vec<Option<Result<Piece>>> = wants.iter().map(|_| None).collect();
        let mut missing = Vec::new();
        {
            let mut kept = self.kept.lock().unwrap_or_else(PoisonError::into_inner);
            for (at, (want, slot)) in wants.iter().zip(&mut found).enumerate() {
                let Some(fence) = want.fence() else { continue };
                match kept.get(&(want.run.file.pack_id, fence.offset), self.half) {
                    Some(piece) => *slot = Some(Ok(piece)),
                    None => missing.push(Missing { at, want: want.clone(), fence }),
                }
            }
        }
        let missing = self.from_copies(missing, &mut found).await?;
        self.from_store(missing, &mut found).await?;
        Ok(found)
    }

    /// What local copies have; gives back what they have not.
    async fn from_copies(
        self: &Arc<Self>,
        missing: Vec<Missing>,
        found: &mut [Option<Result<Piece>>],
    ) -> Result<Vec<Missing>> {
        if missing.iter().all(|one| one.want.run.copy.is_none()) {
            return Ok(missing);
        }
        let reads: Vec<_> =
            missing.iter().map(|one| (one.want.run.copy.clone(), one.fence.range())).collect();
        let exec = self.repository.exec();
        let read = move || reads.into_iter().map(|(copy, range)| copy.read(range)).collect::<Vec<_>>();
        let copied = exec.blocking(read).await?;
        let pieces = self.clone();
        let opened = exec.cpu(move || {
            let of = |(one, sealed): (Missing, Option<Vec<u8>>)| {
                // what was never written there
                let sealed = sealed.filter(|sealed| sealed.iter().take(64).any(|byte| *byte != 0));
                let piece = sealed.and_then(|sealed| pieces.open(&one, &sealed).ok());
                (one, piece)
            };
            missing.into_iter().zip(copied).map(of).collect::<Vec<_>>()
        });
        let mut still = Vec::new();
        for (one, piece) in opened.await? {
            match piece {
                Some(piece) => self.take(&one, Ok(piece), found),
                None => still.push(one),
            }
        }
        Ok(still)
    }

    /// What only the store has, for the copies, too.
    async fn from_store(
        self: &Arc<Self>,
        missing: Vec<Missing>,
        found: &mut [Option<Result<Piece>>],
    ) -> Result<()> {
        let reads = iter(joined(missing)).map(|read| async {
            let name = read.run.name();
            let bytes = self.repository.store().get_range(&name, read.range.clone()).await;
            (read, bytes)
        });
        let mut reads = std::pin::pin!(reads.buffered(READS_IN_FLIGHT));
        while let Some((read, bytes)) = reads.next().await {
            let bytes = match bytes {
                Ok(Some(bytes)) => bytes,
                Ok(None) => {
                    read.run.set_gone();
                    continue;
                }
                Err(error) if error.kind() == ErrorKind::Damage => Bytes::new(),
                Err(error) => return Err(error),
            };
            let (pieces, copy, start) = (self.clone(), read.run.copy.clone(), read.range.start);
            let sealed = bytes.clone();
            let opened = self.repository.exec().cpu(move || {
                let of = |one: Missing| {
                    let range = one.fence.range();
                    let from = usize::try_from(range.start - start).unwrap_or(usize::MAX);
                    let to = usize::try_from(range.end - start).unwrap_or(usize::MAX);
                    let ended = || Error::damage(one.want.run.name(), "ends before its trailer");
                    let piece =
                        sealed.get(from..to).ok_or_else(ended).and_then(|sealed| pieces.open(&one, sealed));
                    (one, piece)
                };
                read.wanted.into_iter().map(of).collect::<Vec<_>>()
            });
            let mut is_good = true;
            for (one, piece) in opened.await? {
                is_good &= piece.is_ok();
                self.take(&one, piece, found);
            }
            if is_good && !copy.is_none() {
                self.repository.exec().blocking(move || copy.write(start, &bytes)).await?;
            }
        }
        Ok(())
    }

    fn take(&self, one: &Missing, piece: Result<Piece>, found: &mut [Option<Result<Piece>>]) {
        if let Ok(piece) = &piece
            && (self.keeps_filters || !one.want.is_filter)
        {
            let key = (one.want.run.file.pack_id, one.fence.offset);
            let mut kept = self.kept.lock().unwrap_or_else(PoisonError::into_inner);
            kept.insert(key, piece.clone(), self.half);
        }
        if let Some(slot) = found.get_mut(one.at) {
            *slot = Some(piece);
        }
    }

    fn open(&self, one: &Missing, sealed: &[u8]) -> Result<Piece> {
        let pool = || self.tools.lock().unwrap_or_else(PoisonError::into_inner);
        let mut tools = pool().pop().unwrap_or_default();
        let run = &one.want.run;
        let opened =
            run.open(&one.fence, one.want.is_filter, sealed, &mut tools.decompressor, &mut tools.plain);
        pool().push(tools);
        opened
    }
}

/// One request, and what it is for.
struct Read {
    run: Arc<FencedRun>,
    range: Range<u64>,
    wanted: Vec<Missing>,
}

/// Neighbours become one request.
fn joined(mut missing: Vec<Missing>) -> Vec<Read> {
    missing.sort_by_key(|one| (one.want.run.file.pack_id, one.fence.offset));
    let mut reads: Vec<Read> = Vec::new();
    for one in missing {
        let range = one.fence.range();
        match reads.last_mut() {
            Some(last)
                if last.run.file.pack_id == one.want.run.file.pack_id
                    && range.start <= last.range.end.saturating_add(GAP_MAX)
                    && range.end.saturating_sub(last.range.start) <= READ_LEN_MAX =>
            {
                last.range.end = last.range.end.max(range.end);
                last.wanted.push(one);
            }
            _ => reads.push(Read { run: one.want.run.clone(), range, wanted: vec![one] }),
        }
    }
    reads
}
