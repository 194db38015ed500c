//! Runs that are too large for memory: ids are looked up by fence, filter and block, and by what is near.

use super::fenced::{FencedRun, Piece};
use super::load::{RunStream, list_runs};
use super::near::Near;
use super::pieces::{Pieces, Want};
use super::{Entry, PackInfo};
use crate::cache::Kind;
use crate::env::Mutant;
use crate::reader::read_trailer_near;
use crate::{Error, ErrorKind, Repository, Result};
use futures::stream::{StreamExt, iter};
use repo_format::PackId;
use repo_format::layout::INDEX_PREFIX;
use std::collections::{BTreeMap, BTreeSet, HashMap, HashSet};
use std::sync::{Arc, Mutex, PoisonError, RwLock};

/// Pieces in hand at a time, beside those kept.
const PIECES_AT_ONCE: usize = 32;
/// Blocks looked into before the trailers of the packs that they name are read.
const PROBES: usize = 8;
/// Ids that a trailer must have answered for the next ones to be read, too.
const IDS_PER_TRAILER_MIN: usize = 2;
/// Reloads while runs vanish under a look-up.
const RELOADS_MAX: usize = 8;

/// What runs and packs count: as they were chosen when the index was loaded.
pub(super) struct Rules {
    pub(super) floor: u64,
    /// Packs that do not count.
    pub(super) excluded: Arc<HashSet<PackId>>,
    /// Damage ends a look-up; else it is noted, and what else there is counts.
    pub(super) is_strict: bool,
}

/// A run, and the numbers of its packs in the whole index: none of one that does not count.
#[derive(Clone)]
struct Member {
    run: Arc<FencedRun>,
    numbers: Arc<Vec<Option<u32>>>,
}

/// Runs and packs, both of which may grow when runs are merged meanwhile.
#[derive(Default)]
pub(super) struct State {
    members: Vec<Member>,
    packs: Vec<PackInfo>,
    numbers: HashMap<PackId, u32>,
    /// Runs that were read, whether they count or not, those in memory included.
    done: HashSet<PackId>,
    lowest_built: u64,
    entry_count: u64,
}

impl State {
    /// With packs that are numbered already, and runs that are in memory.
    pub(super) fn new(packs: Vec<PackInfo>, numbers: HashMap<PackId, u32>, done: HashSet<PackId>) -> Self {
        State { packs, numbers, done, lowest_built: u64::MAX, ..State::default() }
    }

    pub(super) fn packs(&self) -> &[PackInfo] {
        &self.packs
    }

    /// A run is in memory, or does not count.
    pub(super) fn set_done(&mut self, run: PackId) {
        self.done.insert(run);
    }

    /// Number of a pack, which is added if it is new.
    pub(super) fn number(&mut self, info: PackInfo) -> Option<u32> {
        let next = u32::try_from(self.packs.len()).ok()?;
        let number = *self.numbers.entry(info.pack_id).or_insert(next);
        if number == next {
            self.packs.push(info);
        }
        Some(number)
    }

    /// Adds a run that is not there yet, if it counts.
    pub(super) fn add(&mut self, run: Arc<FencedRun>, rules: &Rules) {
        if !self.done.insert(run.file.pack_id) || run.head.built < rules.floor {
            return;
        }
        let mut numbers = Vec::with_capacity(run.packs.len());
        for row in &run.packs {
            let counts = !rules.excluded.contains(&row.pack_id);
            numbers.push(if counts { self.number(row.into()) } else { None });
        }
        self.lowest_built = self.lowest_built.min(run.head.built);
        self.entry_count = self.entry_count.saturating_add(run.head.entry_count);
        self.members.push(Member { run, numbers: Arc::new(numbers) });
    }
}

/// A place where an id may be: a block that its run's filter lets through.
#[derive(Clone)]
struct Candidate {
    /// Number of the id.
    at: usize,
    member: Member,
    block: usize,
}

/// Runs of which only fences and pack tables are in memory.
pub(super) struct RunSet {
    repository: Repository,
    rules: Rules,
    state: RwLock<State>,
    pieces: Arc<Pieces>,
    near: Mutex<Near>,
    /// What could not be read, where that is no error.
    problem: Mutex<Option<Error>>,
}

impl RunSet {
    /// `memory_len` bytes are for pieces and for what is near.
    pub(super) fn new(repository: &Repository, rules: Rules, state: State, memory_len: usize) -> Self {
        RunSet {
            repository: repository.clone(),
            rules,
            state: RwLock::new(state),
            pieces: Arc::new(Pieces::new(repository, memory_len / 8 * 7)),
            near: Mutex::new(Near::new(memory_len / 8)),
            problem: Mutex::default(),
        }
    }

    fn state(&self) -> std::sync::RwLockReadGuard<'_, State> {
        self.state.read().unwrap_or_else(PoisonError::into_inner)
    }

    fn state_mut(&self) -> std::sync::RwLockWriteGuard<'_, State> {
        self.state.write().unwrap_or_else(PoisonError::into_inner)
    }

    fn near(&self) -> std::sync::MutexGuard<'_, Near> {
        self.near.lock().unwrap_or_else(PoisonError::into_inner)
    }

    pub(super) fn pack(&self, number: u32) -> Option<PackInfo> {
        self.state().packs.get(number as usize).cloned()
    }

    pub(super) fn packs(&self) -> Vec<PackInfo> {
        self.state().packs.clone()
    }

    pub(super) fn pack_named(&self, pack_id: &PackId) -> Option<PackInfo> {
        let state = self.state();
        let number = state.numbers.get(pack_id)?;
        state.packs.get(*number as usize).cloned()
    }

    /// Numbers a pack that is in no run.
    pub(super) fn number(&self, info: PackInfo) -> Option<u32> {
        self.state_mut().number(info)
    }

    pub(super) fn lowest_built(&self) -> u64 {
        self.state().lowest_built
    }

    pub(super) fn entry_count(&self) -> u64 {
        self.state().entry_count
    }

    /// The first thing that could not be read, since this was last asked.
    pub(super) fn take_problem(&self) -> Option<Error> {
        self.problem.lock().unwrap_or_else(PoisonError::into_inner).take()
    }

    fn note(&self, error: Error) -> Result<()> {
        if self.rules.is_strict || error.kind() == ErrorKind::Cancelled {
            return Err(error);
        }
        self.problem.lock().unwrap_or_else(PoisonError::into_inner).get_or_insert(error);
        Ok(())
    }

    /// Sets the number of a pack for each id that has none in `found` yet and that a pack outside of `hidden` has.
    pub(super) async fn find(
        &self,
        ids: &[[u8; 16]],
        hidden: Option<&HashSet<PackId>>,
        found: &mut [Option<u32>],
    ) -> Result<()> {
        for _ in 0..RELOADS_MAX {
            let hidden = self.numbers_of(hidden);
            self.near_ones(ids, &hidden, found);
            let candidates = self.candidates(ids, found).await?;
            self.resolve(ids, candidates, &hidden, found).await?;
            if found.iter().all(Option::is_some) || !self.reload_if_gone().await? {
                return Ok(());
            }
        }
        Err(Error::damage(INDEX_PREFIX, "runs are listed again and again that cannot be found"))
    }

    /// Every place of an id.
    pub(super) async fn find_all(&self, id: &[u8; 16]) -> Result<Vec<Entry>> {
        for _ in 0..RELOADS_MAX {
            let candidates = self.candidates(std::slice::from_ref(id), &[None]).await?;
            let mut entries = Vec::new();
            for (candidate, block) in self.blocks(&candidates).await? {
                entries.extend(places(candidate, &block, id));
            }
            if !self.reload_if_gone().await? {
                entries.sort_unstable();
                entries.dedup();
                return Ok(entries);
            }
        }
        Err(Error::damage(INDEX_PREFIX, "runs are listed again and again that cannot be found"))
    }

    fn numbers_of(&self, packs: Option<&HashSet<PackId>>) -> HashSet<u32> {
        let state = self.state();
        packs.into_iter().flatten().filter_map(|pack_id| state.numbers.get(pack_id).copied()).collect()
    }

    fn near_ones(&self, ids: &[[u8; 16]], hidden: &HashSet<u32>, found: &mut [Option<u32>]) {
        let mut near = self.near();
        for (id, slot) in ids.iter().zip(found).filter(|(_, slot)| slot.is_none()) {
            *slot = near.find(id, |pack| hidden.contains(&pack));
        }
    }

    /// Blocks that may have those of `ids` that are not found yet.
    async fn candidates(&self, ids: &[[u8; 16]], found: &[Option<u32>]) -> Result<Vec<Candidate>> {
        let members = self.state().members.clone();
        let skip = usize::from(self.repository.env().breaks(Mutant::LookupSkipsRun));
        let mut candidates = Vec::new();
        let mut asked: BTreeMap<(usize, usize), Vec<usize>> = BTreeMap::new();
        for (m, member) in members.iter().enumerate().skip(skip) {
            for (at, id) in ids.iter().enumerate().filter(|(at, _)| found.get(*at) == Some(&None)) {
                if member.run.filter.is_empty() {
                    candidates.extend(candidate(member, at, id));
                } else if let Some(part) = member.run.part_of(id) {
                    asked.entry((m, part)).or_default().push(at);
                }
            }
        }
        let asked: Vec<_> = asked.into_iter().collect();
        for group in asked.chunks(PIECES_AT_ONCE) {
            let wants: Vec<Want> = group
                .iter()
                .filter_map(|((m, n), _)| {
                    Some(Want { run: members.get(*m)?.run.clone(), is_filter: true, n: *n })
                })
                .collect();
            let pieces = self.pieces.get(&wants).await?;
            for (((m, _), numbers), piece) in group.iter().zip(pieces) {
                let Some(member) = members.get(*m) else { continue };
                let part = match piece {
                    Some(Ok(Piece::Filter(part))) => Some(part),
                    Some(Err(error)) => {
                        self.note(error)?;
                        None
                    }
                    // the run is gone, and marked
                    _ => continue,
                };
                for at in numbers {
                    let Some(id) = ids.get(*at) else { continue };
                    // a filter that cannot be read lets everything through
                    if part.as_ref().is_none_or(|part| part.may_have(id)) {
                        candidates.extend(candidate(member, *at, id));
                    }
                }
            }
        }
        Ok(candidates)
    }

    /// Looks into the blocks. Where several ids are asked for, a few of them first: the trailers of the packs that
    /// they are in may answer for the others.
    async fn resolve(
        &self,
        ids: &[[u8; 16]],
        mut open: Vec<Candidate>,
        hidden: &HashSet<u32>,
        found: &mut [Option<u32>],
    ) -> Result<()> {
        // in the caller's order neighbours were written together
        open.sort_by_key(|candidate| candidate.at);
        let mut by_trailer = true;
        while !open.is_empty() {
            let step = if by_trailer { open.len().div_ceil(PROBES) } else { 1 };
            let (probes, rest): (Vec<_>, Vec<_>) =
                open.into_iter().enumerate().partition(|(n, _)| n.is_multiple_of(step));
            let probes: Vec<Candidate> = probes.into_iter().map(|(_, candidate)| candidate).collect();
            let mut hits = BTreeSet::new();
            for part in probes.chunks(PIECES_AT_ONCE) {
                for (candidate, block) in self.blocks(part).await? {
                    let Some((id, slot)) = ids.get(candidate.at).zip(found.get_mut(candidate.at)) else {
                        continue;
                    };
                    let mut packs = places(candidate, &block, id).map(|entry| entry.pack);
                    if slot.is_none()
                        && let Some(pack) = packs.find(|pack| !hidden.contains(pack))
                    {
                        *slot = Some(pack);
                        hits.insert(pack);
                    }
                }
            }
            let is_open =
                |found: &[Option<u32>], candidate: &Candidate| found.get(candidate.at) == Some(&None);
            open =
                rest.into_iter().map(|(_, candidate)| candidate).filter(|one| is_open(found, one)).collect();
            if by_trailer && !open.is_empty() {
                let (before, asked) = (open.len(), hits.len());
                self.learn(hits).await?;
                self.near_ones(ids, hidden, found);
                open.retain(|one| is_open(found, one));
                by_trailer = before - open.len() >= asked * IDS_PER_TRAILER_MIN;
            }
        }
        Ok(())
    }

    /// The blocks of candidates, but for those that cannot be read where that is no error.
    async fn blocks<'a>(
        &self,
        candidates: &'a [Candidate],
    ) -> Result<Vec<(&'a Candidate, Arc<Vec<repo_format::index::Entry>>)>> {
        let wants: Vec<Want> = candidates
            .iter()
            .map(|one| Want { run: one.member.run.clone(), is_filter: false, n: one.block })
            .collect();
        let mut blocks = Vec::with_capacity(candidates.len());
        for (candidate, piece) in candidates.iter().zip(self.pieces.get(&wants).await?) {
            match piece {
                Some(Ok(Piece::Block(block))) => blocks.push((candidate, block)),
                Some(Err(error)) => self.note(error)?,
                _ => {}
            }
        }
        Ok(blocks)
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
        let mut reads = std::pin::pin!(reads.buffered(PROBES));
        while let Some((number, trailer)) = reads.next().await {
            match trailer {
                Ok(trailer) => {
                    let ids = trailer.rows().iter().map(|row| row.id.short()).collect();
                    self.near().add(number, ids);
                }
                Err(error) if error.kind() == ErrorKind::Damage => {}
                Err(error) => return Err(error),
            }
        }
        Ok(())
    }

    /// Reads the list of runs again if one was missed: it was merged into others. False if none was.
    async fn reload_if_gone(&self) -> Result<bool> {
        let done = {
            let mut state = self.state_mut();
            let State { members, done, .. } = &mut *state;
            let count = members.len();
            members.retain(|member| !member.run.is_gone());
            if members.len() == count || self.repository.env().breaks(Mutant::LookupWithoutReload) {
                return Ok(false);
            }
            done.clone()
        };
        crate::gc::wait_delta(&self.repository).await?;
        let listing = list_runs(&self.repository).await?;
        let reading = self.repository.clone();
        let start = Box::new(move |file: super::RunFile| {
            let repository = reading.clone();
            let copy = repository.copies().of(Kind::Run, file.pack_id);
            Box::pin(async move { FencedRun::read(&repository, &file, copy).await }) as _
        });
        let mut runs = RunStream::reading(&self.repository, listing, 1, u64::MAX, done, start);
        while let Some((_, run)) = runs.next().await? {
            self.state_mut().add(run, &self.rules);
        }
        match runs.problems.into_iter().next() {
            Some(problem) => self.note(problem).map(|()| true),
            None => Ok(true),
        }
    }
}

fn candidate(member: &Member, at: usize, id: &[u8; 16]) -> impl Iterator<Item = Candidate> {
    member.run.blocks_of(id).map(move |block| Candidate { at, member: member.clone(), block })
}

/// Places of an id in a block, as far as their packs count.
fn places(
    candidate: &Candidate,
    block: &[repo_format::index::Entry],
    id: &[u8; 16],
) -> impl Iterator<Item = Entry> {
    let start = block.partition_point(|entry| entry.id < *id);
    let same = block.get(start..).unwrap_or_default().iter().take_while(move |entry| entry.id == *id);
    same.filter_map(move |entry| {
        let pack = candidate.member.numbers.get(entry.pack as usize).copied().flatten()?;
        Some(Entry { id: entry.id, pack, clen: entry.clen })
    })
}
