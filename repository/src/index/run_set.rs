//! Runs that are too large for memory: ids are looked up by fence, filter and block, and by what is near.

use super::candidates::Candidate;
use super::fenced::{FencedRun, Piece};
use super::load::{RunStream, list_runs};
use super::near::Near;
use super::outside::Outside;
use super::pieces::{Pieces, Want};
use super::resolve::{Lookup, Trail, places};
use super::{Entry, PackInfo};
use crate::cache::Kind;
use crate::env::Mutant;
use crate::{Error, ErrorKind, Repository, Result};
use repo_format::PackId;
use repo_format::layout::INDEX_PREFIX;
use repo_format::pack::PackClass;
use std::collections::{HashMap, HashSet};
use std::sync::{Arc, Mutex, PoisonError, RwLock};

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
pub(super) struct Member {
    pub(super) run: Arc<FencedRun>,
    pub(super) numbers: Arc<Vec<Option<u32>>>,
}

/// Runs and packs, both of which may grow when runs are merged meanwhile.
#[derive(Default)]
pub(super) struct State {
    pub(super) members: Vec<Member>,
    pub(super) packs: Vec<PackInfo>,
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

    /// Bytes of memory that all filters would take.
    fn filter_len(&self) -> usize {
        self.members.iter().map(|member| member.run.filter_len()).sum()
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

/// Runs of which only fences and pack tables are in memory.
pub(super) struct RunSet {
    pub(super) repository: Repository,
    rules: Rules,
    state: RwLock<State>,
    pub(super) pieces: Arc<Pieces>,
    /// Filters, if they do not fit into memory.
    pub(super) outside: Option<Outside>,
    near: Mutex<Near>,
    pub(super) trail: Trail,
    /// What could not be read, where that is no error.
    problem: Mutex<Option<Error>>,
}

impl RunSet {
    /// `memory_len` bytes are for pieces and for what is near.
    pub(super) fn new(repository: &Repository, rules: Rules, state: State, memory_len: usize) -> Self {
        let pieces_len = memory_len / 8 * 7;
        // one half of them is sure to be kept
        let folder = repository.copies().temp_folder().filter(|_| state.filter_len() > pieces_len / 2);
        RunSet {
            repository: repository.clone(),
            rules,
            pieces: Arc::new(Pieces::new(repository, pieces_len, folder.is_none())),
            outside: folder.map(|folder| Outside::new(repository, folder)),
            state: RwLock::new(state),
            near: Mutex::new(Near::new(memory_len / 8)),
            trail: Trail::default(),
            problem: Mutex::default(),
        }
    }

    pub(super) fn state(&self) -> std::sync::RwLockReadGuard<'_, State> {
        self.state.read().unwrap_or_else(PoisonError::into_inner)
    }

    fn state_mut(&self) -> std::sync::RwLockWriteGuard<'_, State> {
        self.state.write().unwrap_or_else(PoisonError::into_inner)
    }

    pub(super) fn near(&self) -> std::sync::MutexGuard<'_, Near> {
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

    pub(super) fn note(&self, error: Error) -> Result<()> {
        if self.rules.is_strict || error.kind() == ErrorKind::Cancelled {
            return Err(error);
        }
        self.problem.lock().unwrap_or_else(PoisonError::into_inner).get_or_insert(error);
        Ok(())
    }

    /// Sets the number of a pack, likely one of `class`, for each id that has none in `found` yet and that a pack outside of `hidden` has.
    pub(super) async fn find(
        &self,
        ids: &[[u8; 16]],
        class: PackClass,
        hidden: Option<&HashSet<PackId>>,
        found: &mut [Option<u32>],
    ) -> Result<()> {
        for _ in 0..RELOADS_MAX {
            let hidden = self.numbers_of(hidden);
            self.near_ones(ids, &hidden, found);
            let candidates = self.candidates(ids, found).await?;
            self.resolve(Lookup { ids, class, hidden: &hidden, found }, candidates).await?;
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

    pub(super) fn near_ones(&self, ids: &[[u8; 16]], hidden: &HashSet<u32>, found: &mut [Option<u32>]) {
        let mut near = self.near();
        for (id, slot) in ids.iter().zip(found).filter(|(_, slot)| slot.is_none()) {
            *slot = near.find(id, |pack| hidden.contains(&pack));
        }
    }

    /// The blocks of candidates, but for those that cannot be read where that is no error.
    pub(super) async fn blocks<'a>(
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
