//! Who stores a chunk: one atomic step says known, in this session, or yours to seal.

use super::taken::Taken;
use crate::index::Known;
use crate::{Repository, Result};
use hashbrown::{HashMap, HashSet};
use repo_format::pack::PackClass;
use repo_format::{Id, PackId};
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, PoisonError};

const SHARDS: usize = 64;
/// Ids of a session take this part of the memory at most, before they move to a disk.
const MEMORY_SHARE: u64 = 16;
/// Bytes of memory for one of them: tables double, and what moves is there twice for a while.
const ID_MEMORY_LEN: u64 = 56;

/// Ids of one session, and which packs of the index it has come to depend on.
pub(super) struct Claims {
    index: Known,
    session: Vec<Mutex<HashSet<[u8; 16]>>>,
    /// How many those are, and may be.
    count: AtomicUsize,
    count_max: usize,
    /// Those that were too many for memory.
    taken: Taken,
    /// By pack number of the index.
    reused: Vec<AtomicBool>,
    /// Numbers beyond those: packs of runs that were read later.
    reused_later: Mutex<HashSet<u32>>,
}

/// Answer to a claim.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Claim {
    /// The repository has it.
    Known,
    /// This session has taken it before.
    Session,
    /// Nobody has: the caller seals it.
    New,
}

/// What was looked up beforehand where not everything is in memory.
#[derive(Debug, Default)]
pub(super) struct Answers {
    /// Short ids that the index has, with the number of a pack.
    known: HashMap<[u8; 16], u32>,
    /// Those that this session has taken.
    taken: HashSet<[u8; 16]>,
}

impl Claims {
    pub(super) fn new(repository: &Repository, index: Known) -> Self {
        let count_max = repository.exec().memory_len() / MEMORY_SHARE / ID_MEMORY_LEN;
        Claims {
            reused: index.packs().iter().map(|_| AtomicBool::new(false)).collect(),
            index,
            session: (0..SHARDS).map(|_| Mutex::default()).collect(),
            count: AtomicUsize::new(0),
            count_max: usize::try_from(count_max).unwrap_or(usize::MAX),
            taken: Taken::new(repository),
            reused_later: Mutex::default(),
        }
    }

    /// What is known beforehand.
    pub(super) fn index(&self) -> &Known {
        &self.index
    }

    /// True: [`ask`](Self::ask) has to be asked before anything is claimed.
    pub(super) fn must_ask(&self) -> bool {
        !self.index.is_in_memory() || !self.taken.is_empty()
    }

    /// Moves what this session has taken to a disk once it is too much for memory. To be called now and then, by one
    /// at a time.
    pub(super) async fn settle(&self) -> Result<()> {
        if self.count.load(Ordering::Relaxed) <= self.count_max || self.taken.is_broken() {
            return Ok(());
        }
        let mut ids = Vec::with_capacity(self.count.load(Ordering::Relaxed));
        for shard in &self.session {
            ids.extend(shard.lock().unwrap_or_else(PoisonError::into_inner).iter().copied());
        }
        ids.sort_unstable();
        let ids = Arc::new(ids);
        // they leave only once they can be found there
        if self.taken.add(ids.clone()).await? {
            for shard in &self.session {
                let mut shard = shard.lock().unwrap_or_else(PoisonError::into_inner);
                let before = shard.len();
                shard.retain(|id| ids.binary_search(id).is_err());
                self.count.fetch_sub(before - shard.len(), Ordering::Relaxed);
            }
        }
        Ok(())
    }

    /// Looks ids of chunks up that are about to be claimed, as far as they are not in memory.
    pub(super) async fn ask(&self, ids: impl Iterator<Item = Id>) -> Result<Answers> {
        self.ask_in(ids, PackClass::Data).await
    }

    /// As [`ask`](Self::ask), ids of what lies in packs of `class`.
    pub(super) async fn ask_in(&self, ids: impl Iterator<Item = Id>, class: PackClass) -> Result<Answers> {
        if !self.must_ask() {
            return Ok(Answers::default());
        }
        let mut answers = Answers::default();
        let mut ids: Vec<[u8; 16]> = ids.map(|id| id.short()).collect();
        // each once, in their order: neighbours lie together
        let mut seen = HashSet::new();
        ids.retain(|id| seen.insert(*id) && self.index.memory().find(id).is_none());
        // it may have left memory before it is claimed
        ids.retain(|id| !(self.is_taken(id) && answers.taken.insert(*id)));
        let taken = self.taken.find(&ids).await?;
        answers.taken.extend(ids.iter().zip(&taken).filter(|(_, taken)| **taken).map(|(id, _)| *id));
        ids.retain(|id| !answers.taken.contains(id));
        let found = self.index.find_in(&ids, class).await?;
        answers.known = ids.into_iter().zip(found).filter_map(|(id, pack)| Some((id, pack?))).collect();
        Ok(answers)
    }

    fn shard(&self, id: &[u8; 16]) -> Option<std::sync::MutexGuard<'_, HashSet<[u8; 16]>>> {
        let shard = self.session.get(usize::from(id[0]) % SHARDS)?;
        Some(shard.lock().unwrap_or_else(PoisonError::into_inner))
    }

    fn is_taken(&self, id: &[u8; 16]) -> bool {
        self.shard(id).is_some_and(|shard| shard.contains(id))
    }

    fn find(&self, id: &[u8; 16], answers: &Answers) -> Option<u32> {
        self.index.memory().find(id).or_else(|| answers.known.get(id).copied())
    }

    /// Takes `id`, unless it is stored or taken already.
    pub(super) fn reserve(&self, id: &Id, answers: &Answers) -> Claim {
        let short = id.short();
        if let Some(pack) = self.find(&short, answers) {
            match self.reused.get(pack as usize) {
                Some(reused) => reused.store(true, Ordering::Relaxed),
                None => drop(self.later().insert(pack)),
            }
            return Claim::Known;
        }
        if answers.taken.contains(&short) || self.shard(&short).is_some_and(|mut shard| !shard.insert(short))
        {
            return Claim::Session;
        }
        self.count.fetch_add(1, Ordering::Relaxed);
        Claim::New
    }

    /// Whether the index has a place for a record; nothing is taken, and no pack depended on.
    pub(super) fn knows(&self, id: &Id, answers: &Answers) -> bool {
        self.find(&id.short(), answers).is_some()
    }

    fn later(&self) -> std::sync::MutexGuard<'_, HashSet<u32>> {
        self.reused_later.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Packs of the index from which something was reused.
    pub(super) fn reused_packs(&self) -> Vec<PackId> {
        let reused = (0u32..).zip(&self.reused).filter(|(_, flag)| flag.load(Ordering::Relaxed));
        let later: Vec<u32> = self.later().iter().copied().collect();
        let numbers = reused.map(|(number, _)| number).chain(later);
        numbers.filter_map(|number| self.index.pack(number)).map(|pack| pack.pack_id).collect()
    }
}
