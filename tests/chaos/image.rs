//! A writer's volume: chunks that change a little each round, and what of them must be new to the repository.

use crate::dice::Dice;
use std::collections::{HashSet, VecDeque};
use tests::data;

/// The repository cuts at multiples of this, so that what is new can be counted from outside.
pub(crate) const CHUNK_LEN: usize = 16 << 10;
const CHUNKS: usize = 160;
/// Contents that all writers draw from.
const POOL: usize = 64;
/// Rounds that a writer may go back.
const OLDER: usize = 2;

type Ids = HashSet<blake3::Hash>;

/// The volume of one writer.
pub(crate) struct Image {
    bytes: Vec<u8>,
    /// What it was in the rounds before, the newest last.
    older: VecDeque<Vec<u8>>,
    /// Chunks of the writer's newest snapshot. It is the last of its group, so it is never let go, and the
    /// repository has all of them at any time. After a kill: those that it has either way.
    saved: Ids,
}

impl Image {
    /// A fresh one, partly of what others have, too.
    pub(crate) fn new(dice: &mut Dice) -> Image {
        let mut image =
            Image { bytes: vec![0; CHUNKS * CHUNK_LEN], older: VecDeque::new(), saved: Ids::new() };
        image.change_chunks(dice, CHUNKS);
        image
    }

    /// What is in it.
    pub(crate) fn bytes(&self) -> &[u8] {
        &self.bytes
    }

    /// A round's changes: none, a few chunks, or all. Some go back to what they were just before: packs of snapshots
    /// that are forgotten by now hold it, and a prune is about to condemn them.
    pub(crate) fn change(&mut self, dice: &mut Dice) {
        let before = self.bytes.clone();
        match dice.below(10) {
            0 => {}
            1 => self.change_chunks(dice, CHUNKS),
            2..=5 => self.go_back(dice),
            _ => {
                let count = 1 + dice.below(CHUNKS / 5);
                self.change_chunks(dice, count);
            }
        }
        self.older.push_back(before);
        if self.older.len() > OLDER {
            self.older.pop_front();
        }
    }

    fn go_back(&mut self, dice: &mut Dice) {
        if self.older.is_empty() {
            return;
        }
        let old = self.older[dice.below(self.older.len())].clone();
        let (first, count) = (dice.below(CHUNKS), 1 + dice.below(CHUNKS));
        for n in 0..count {
            let start = (first + n) % CHUNKS * CHUNK_LEN;
            self.bytes[start..start + CHUNK_LEN].copy_from_slice(&old[start..start + CHUNK_LEN]);
        }
    }

    fn change_chunks(&mut self, dice: &mut Dice, count: usize) {
        let first = dice.below(CHUNKS);
        for n in 0..count {
            let start = (first + n) % CHUNKS * CHUNK_LEN;
            let chunk = &mut self.bytes[start..start + CHUNK_LEN];
            match dice.below(10) {
                0 => chunk.fill(0),
                1 => chunk[dice.below(CHUNK_LEN)] ^= 1,
                2..=4 => chunk.copy_from_slice(&data::bytes(dice.below(POOL) as u64, CHUNK_LEN)),
                _ => chunk.copy_from_slice(&data::bytes(dice.any() | 1 << 63, CHUNK_LEN)),
            }
        }
    }

    fn chunks(&self) -> impl Iterator<Item = &[u8]> {
        self.bytes.chunks(CHUNK_LEN).filter(|chunk| chunk.iter().any(|byte| *byte != 0))
    }

    /// Plain bytes of different chunks that the newest known snapshot does not have: what a backup may have to
    /// store. All beyond it was there and was stored again.
    pub(crate) fn new_len(&self) -> u64 {
        let new: Ids = self.chunks().map(blake3::hash).filter(|id| !self.saved.contains(id)).collect();
        (new.len() * CHUNK_LEN) as u64
    }

    /// It may be committed as it is, or not: only what both have is surely there.
    pub(crate) fn may_be_saved(&mut self) {
        let now: Ids = self.chunks().map(blake3::hash).collect();
        self.saved.retain(|id| now.contains(id));
    }

    /// It is committed as it is.
    pub(crate) fn is_saved(&mut self) {
        self.saved = self.chunks().map(blake3::hash).collect();
    }
}
