//! Who stores a chunk: one atomic step says known, in this session, or yours to seal.

use crate::index::Index;
use hashbrown::HashSet;
use repo_format::{Id, PackId};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, PoisonError};

const SHARDS: usize = 64;

/// Ids of one session, and which packs of the index it has come to depend on.
pub(super) struct Claims {
    index: Arc<Index>,
    session: Vec<Mutex<HashSet<[u8; 16]>>>,
    /// By pack number of the index.
    reused: Vec<AtomicBool>,
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

impl Claims {
    pub(super) fn new(index: Arc<Index>) -> Self {
        let reused = (0..index.packs().len()).map(|_| AtomicBool::new(false)).collect();
        Claims { index, session: (0..SHARDS).map(|_| Mutex::default()).collect(), reused }
    }

    /// What is known beforehand.
    pub(super) fn index(&self) -> &Arc<Index> {
        &self.index
    }

    /// Takes `id`, unless it is stored or taken already.
    pub(super) fn reserve(&self, id: &Id) -> Claim {
        let short = id.short();
        if let Some(pack) = self.index.find(&short) {
            if let Some(reused) = self.reused.get(pack as usize) {
                reused.store(true, Ordering::Relaxed);
            }
            return Claim::Known;
        }
        let shard = usize::from(short[0]) % SHARDS;
        let Some(shard) = self.session.get(shard) else { return Claim::New };
        if shard.lock().unwrap_or_else(PoisonError::into_inner).insert(short) {
            Claim::New
        } else {
            Claim::Session
        }
    }

    /// Whether the index has a place for a record; nothing is taken, and no pack depended on.
    pub(super) fn knows(&self, id: &Id) -> bool {
        self.index.find(&id.short()).is_some()
    }

    /// Packs of the index from which something was reused.
    pub(super) fn reused_packs(&self) -> Vec<PackId> {
        let reused = self.reused.iter().map(|flag| flag.load(Ordering::Relaxed));
        self.index
            .packs()
            .iter()
            .zip(reused)
            .filter(|(_, used)| *used)
            .map(|(pack, _)| pack.pack_id)
            .collect()
    }
}
