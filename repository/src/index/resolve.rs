//! From the blocks that may have ids to the packs that do: records that were written together are asked for together, so
//! what a block says of one of them makes its pack's trailer worth reading, and then that of the pack written next.

use super::candidates::Candidate;
use super::pieces::PIECES_AT_ONCE;
use super::run_set::RunSet;
use super::{Entry, PackInfo};
use crate::Result;
use crate::reader::read_trailer_near;
use futures::stream::{StreamExt, iter};
use repo_format::index::Entry as BlockEntry;
use repo_format::pack::PackClass;
use std::collections::{BTreeSet, HashSet};
use std::sync::atomic::{AtomicUsize, Ordering};

/// Blocks looked into before the trailers of the packs that they name are read, at most.
const PROBES_MAX: usize = 8;
/// Ids that a trailer must have answered for the next ones to be read, too...
const IDS_PER_TRAILER_MIN: usize = 2;
/// ...and one for so many bytes of it.
const TRAILER_LEN_PER_ID: u32 = 128 << 10;
/// Where trailers answer for nothing, they are tried again once in so many look-ups.
const TRAILERS_TRIED: usize = 8;
/// Packs taken for the next one in a row: look-ups do not always come in the order of the volume.
const GUESSES_MAX: usize = 2;
/// Packs of another kind that lie between two that were written one after the other, at most.
const BETWEEN_MAX: usize = 256;

/// By what is asked for: chunks and pages lie in packs of their own.
#[derive(Default)]
struct Next {
    data: Option<u32>,
    map: Option<u32>,
}

/// Which way look-ups go.
#[derive(Default)]
pub(super) struct Trail {
    /// The pack that was written after the one that answered last. Held while trailers are chosen and read: whoever
    /// waits finds that its ids are known by then.
    next: futures::lock::Mutex<Next>,
    /// Look-ups in a row for which trailers did not answer.
    scattered: AtomicUsize,
}

impl Trail {
    /// Whether trailers are to be tried.
    fn is_due(&self) -> bool {
        let scattered = self.scattered.load(Ordering::Relaxed);
        if scattered > 0 {
            self.scattered.fetch_add(1, Ordering::Relaxed);
        }
        scattered.is_multiple_of(TRAILERS_TRIED)
    }

    fn note(&self, is_scattered: bool) {
        self.scattered.store(usize::from(is_scattered), Ordering::Relaxed);
    }
}

/// A look-up on its way.
pub(super) struct Lookup<'a> {
    pub(super) ids: &'a [[u8; 16]],
    /// Where they are likely to lie.
    pub(super) class: PackClass,
    /// Numbers of packs that do not count.
    pub(super) hidden: &'a HashSet<u32>,
    pub(super) found: &'a mut [Option<u32>],
}

impl Lookup<'_> {
    fn is_open(&self, candidate: &Candidate) -> bool {
        self.found.get(candidate.at) == Some(&None)
    }
}

impl RunSet {
    /// Looks into the blocks. Where several ids are asked for, into a few of them first: the trailers of the packs that
    /// they are in may answer for the others.
    pub(super) async fn resolve(&self, mut lookup: Lookup<'_>, mut open: Vec<Candidate>) -> Result<()> {
        // in the caller's order neighbours were written together
        open.sort_by_key(|candidate| candidate.at);
        if !open.is_empty() && self.trail.is_due() {
            self.by_trailers(&mut lookup, &mut open).await?;
        }
        self.probe(&mut lookup, &open).await.map(|_| ())
    }

    /// Answers by trailers as long as they answer for more than blocks would.
    async fn by_trailers(&self, lookup: &mut Lookup<'_>, open: &mut Vec<Candidate>) -> Result<()> {
        // inline whoever holds it may not go on before this look-up has ended
        let held = if self.repository.exec().is_inline() {
            self.trail.next.try_lock()
        } else {
            Some(self.trail.next.lock().await)
        };
        let Some(mut next) = held else { return Ok(()) };
        let next = if lookup.class == PackClass::Map { &mut next.map } else { &mut next.data };
        // by what others have read meanwhile
        self.narrow(lookup, open);
        let (mut probe_count, mut guesses) = (1, 0);
        while !open.is_empty() {
            let guess = next.take().filter(|pack| !lookup.hidden.contains(pack));
            let hits = match guess {
                Some(pack) => BTreeSet::from([pack]),
                None => {
                    let probes = spread(open, probe_count);
                    probe_count = (2 * probe_count).min(PROBES_MAX);
                    self.probe(lookup, &probes).await?
                }
            };
            open.retain(|one| lookup.is_open(one));
            let last = hits.last().copied();
            if open.is_empty() {
                // for one alone no trailer is worth it; the neighbours of that one will tell
                *next = last;
                return Ok(());
            }
            let (before, wanted) = (open.len(), self.worth(&hits));
            self.learn(hits).await?;
            self.narrow(lookup, open);
            let is_good = before - open.len() >= wanted;
            guesses = if is_good || guess.is_none() { 0 } else { guesses + 1 };
            if is_good || guess.is_some() && guesses < GUESSES_MAX {
                *next = last.and_then(|pack| self.after(pack));
            } else if guess.is_none() {
                self.trail.note(true);
                return Ok(());
            }
        }
        self.trail.note(false);
        Ok(())
    }

    /// Takes what is near.
    fn narrow(&self, lookup: &mut Lookup<'_>, open: &mut Vec<Candidate>) {
        self.near_ones(lookup.ids, lookup.hidden, lookup.found);
        open.retain(|one| lookup.is_open(one));
    }

    /// Ids for which the trailers of packs are worth reading.
    fn worth(&self, packs: &BTreeSet<u32>) -> usize {
        let state = self.state();
        let packs = packs.iter().filter_map(|pack| state.packs.get(*pack as usize));
        packs.map(|pack| IDS_PER_TRAILER_MIN.max((pack.trailer_len / TRAILER_LEN_PER_ID) as usize)).sum()
    }

    /// The pack that was written after another one, as far as the order of a pack table tells.
    fn after(&self, pack: u32) -> Option<u32> {
        let state = self.state();
        let this = state.packs.get(pack as usize)?;
        let rest = state.packs.iter().enumerate().skip(pack as usize + 1).take(BETWEEN_MAX);
        let mut same = rest.filter(|(_, other)| other.class == this.class && other.sid == this.sid);
        same.next().and_then(|(n, _)| u32::try_from(n).ok())
    }

    /// Looks into blocks, and says which packs were found.
    async fn probe(&self, lookup: &mut Lookup<'_>, candidates: &[Candidate]) -> Result<BTreeSet<u32>> {
        let mut hits = BTreeSet::new();
        for part in candidates.chunks(PIECES_AT_ONCE) {
            for (candidate, block) in self.blocks(part).await? {
                let Some((id, slot)) = lookup.ids.get(candidate.at).zip(lookup.found.get_mut(candidate.at))
                else {
                    continue;
                };
                let mut packs = places(candidate, &block, id).map(|entry| entry.pack);
                if slot.is_none()
                    && let Some(pack) = packs.find(|pack| !lookup.hidden.contains(pack))
                {
                    *slot = Some(pack);
                    hits.insert(pack);
                }
            }
        }
        Ok(hits)
    }

    /// Reads the trailers of packs, so that their other ids are known. One that cannot be read says nothing.
    async fn learn(&self, packs: BTreeSet<u32>) -> Result<()> {
        let new: Vec<(u32, PackInfo)> = {
            let (near, state) = (self.near(), self.state());
            let new = packs.into_iter().filter(|pack| !near.has(*pack));
            new.filter_map(|pack| Some((pack, state.packs.get(pack as usize)?.clone()))).collect()
        };
        let reads = iter(new)
            .map(|(number, pack)| async move { (number, read_trailer_near(&self.repository, &pack).await) });
        let mut reads = std::pin::pin!(reads.buffered(PROBES_MAX));
        while let Some((number, trailer)) = reads.next().await {
            match trailer {
                Ok(trailer) => {
                    let ids = trailer.rows().iter().map(|row| row.id.short()).collect();
                    self.near().add(number, ids);
                }
                Err(error) if error.is_bad_copy() => {}
                Err(error) => return Err(error),
            }
        }
        Ok(())
    }
}

/// Takes about so many of the candidates, from all over.
fn spread(open: &mut Vec<Candidate>, count: usize) -> Vec<Candidate> {
    let step = open.len().div_ceil(count).max(1);
    let (taken, rest): (Vec<_>, Vec<_>) =
        std::mem::take(open).into_iter().enumerate().partition(|(n, _)| n.is_multiple_of(step));
    *open = rest.into_iter().map(|(_, candidate)| candidate).collect();
    taken.into_iter().map(|(_, candidate)| candidate).collect()
}

/// Places of an id in a block, as far as their packs count.
pub(super) fn places<'a>(
    candidate: &'a Candidate,
    block: &'a [BlockEntry],
    id: &'a [u8; 16],
) -> impl Iterator<Item = Entry> + use<'a> {
    let start = block.partition_point(|entry| entry.id < *id);
    let same = block.get(start..).unwrap_or_default().iter().take_while(move |entry| entry.id == *id);
    same.filter_map(move |entry| {
        let pack = candidate.member.numbers.get(entry.pack as usize).copied().flatten()?;
        Some(Entry { id: entry.id, pack, clen: entry.clen })
    })
}
