//! Who stores a chunk: one atomic step says known, in this session, or yours to seal.

use crate::Result;
use crate::index::Known;
use hashbrown::{HashMap, HashSet};
use repo_format::{Id, PackId};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Mutex, PoisonError};

const SHARDS: usize = 64;

/// Ids of one session, and which packs of the index it has come to depend on.
pub(super) struct Claims {
    index: Known,
    session: Vec<Mutex<HashSet<[u8; 16]>>>,
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

/// What was looked up beforehand where the index is not in memory as a whole: short ids that it has, with the number
/// of a pack.
#[derive(Debug, Default)]
pub(super) struct Answers(HashMap<[u8; 16], u32>);

impl Claims {
    pub(super) fn new(index: Known) -> Self {
        let reused = index.packs().iter().map(|_| AtomicBool::new(false)).collect();
        let session = (0..SHARDS).map(|_| Mutex::default()).collect();
        Claims { index, session, reused, reused_later: Mutex::default() }
    }

    /// What is known beforehand.
    pub(super) fn index(&self) -> &Known {
        &self.index
    }

    /// True: [`ask`](Self::ask) has to be asked before anything is claimed.
    pub(super) fn must_ask(&self) -> bool {
        !self.index.is_in_memory()
    }

    /// Looks ids up that are about to be claimed, as far as they are not in memory.
    pub(super) async fn ask(&self, ids: impl Iterator<Item = Id>) -> Result<Answers> {
        if !self.must_ask() {
            return Ok(Answers::default());
        }
        let unknown = |id: &[u8; 16]| self.index.memory().find(id).is_none() && !self.is_taken(id);
        let mut ids: Vec<[u8; 16]> = ids.map(|id| id.short()).filter(unknown).collect();
        // each once, in their order: neighbours lie together
        let mut seen = HashSet::new();
        ids.retain(|id| seen.insert(*id));
        let found = self.index.find(&ids).await?;
        Ok(Answers(ids.into_iter().zip(found).filter_map(|(id, pack)| Some((id, pack?))).collect()))
    }

    fn shard(&self, id: &[u8; 16]) -> Option<std::sync::MutexGuard<'_, HashSet<[u8; 16]>>> {
        let shard = self.session.get(usize::from(id[0]) % SHARDS)?;
        Some(shard.lock().unwrap_or_else(PoisonError::into_inner))
    }

    fn is_taken(&self, id: &[u8; 16]) -> bool {
        self.shard(id).is_some_and(|shard| shard.contains(id))
    }

    fn find(&self, id: &[u8; 16], answers: &Answers) -> Option<u32> {
        self.index.memory().find(id).or_else(|| answers.0.get(id).copied())
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
        let is_new = self.shard(&short).is_none_or(|mut shard| shard.insert(short));
        if is_new { Claim::New } else { Claim::Session }
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
