//! What is known of the repository from what its users were told.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::{Mutex, MutexGuard};

/// A writer and its round; the name of the snapshot says both.
pub(crate) type Key = (usize, u32);

/// The name of a round's snapshot.
pub(crate) fn name((writer, round): Key) -> String {
    format!("{writer}-{round}")
}

/// The volume of a writer.
pub(crate) fn volume(writer: usize) -> String {
    format!("shop/w{writer}")
}

/// What was told.
#[derive(Default)]
pub(crate) struct Known {
    /// What each backup that was begun has read. It may be committed even if it was killed.
    pub(crate) content: BTreeMap<Key, blake3::Hash>,
    /// Snapshots of which a command said that they are committed.
    pub(crate) committed: BTreeMap<String, Key>,
    /// Those of them that a forget was told to let go, whether or not it came to it.
    pub(crate) let_go: BTreeSet<String>,
    undeleted: BTreeSet<String>,
}

impl Known {
    /// A writer's newest round that is surely committed.
    fn newest(&self, writer: usize) -> Option<Key> {
        self.committed.values().filter(|key| key.0 == writer).max().copied()
    }

    /// Later rounds of the same writer, which may be committed.
    fn later(&self, key: &Key) -> usize {
        self.content.range((key.0, key.1 + 1)..(key.0 + 1, 0)).count()
    }

    /// Snapshots that somebody may choose to forget: older than a committed one of the same writer.
    pub(crate) fn can_go(&self) -> Vec<String> {
        let older = |(sid, key): &(&String, &Key)| {
            !self.let_go.contains(*sid) && self.newest(key.0).is_some_and(|newest| key.1 < newest.1)
        };
        self.committed.iter().filter(older).map(|(sid, _)| sid.clone()).collect()
    }

    /// Somebody is about to forget them, or has.
    pub(crate) fn let_go(&mut self, sids: impl IntoIterator<Item = String>, why: &str) {
        for sid in sids {
            if let Some(key) = self.committed.get(&sid) {
                let is_newest = self.later(key) == 0;
                assert!(!is_newest, "{sid} ({}), the newest of its writer, was let go: {why}", name(*key));
            }
            self.let_go.insert(sid);
        }
    }

    /// A forget that keeps the last `keep` of each group was killed: what it may have let go.
    pub(crate) fn may_have_kept(&mut self, keep: usize) {
        let gone = self.committed.iter().filter(|(_, key)| self.later(key) >= keep);
        self.let_go.extend(gone.map(|(sid, _)| sid.clone()).collect::<Vec<_>>());
    }

    /// What may be brought back, each once.
    pub(crate) fn can_return(&self) -> Vec<String> {
        let known = |sid: &&String| self.committed.contains_key(*sid) && !self.undeleted.contains(*sid);
        self.let_go.iter().filter(known).cloned().collect()
    }

    /// Somebody is about to bring it back: whose content it has.
    pub(crate) fn undelete(&mut self, sid: &str) -> Key {
        self.undeleted.insert(sid.to_owned());
        self.committed[sid]
    }
}

/// Shared by the crew.
#[derive(Default)]
pub(crate) struct Ledger(Mutex<Known>);

impl Ledger {
    /// What is known now.
    pub(crate) fn known(&self) -> MutexGuard<'_, Known> {
        self.0.lock().unwrap()
    }
}
