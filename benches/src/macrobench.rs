//! The macro benchmark: whole programs on whole images, side by side.
//!
//! - [`images`] makes what is backed up, once: with [`ext4`] (no root), a [`database`] and [`delta`]s.
//! - [`programs`] knows the command lines of orlop and its peers.
//! - [`rounds`] runs them in turns, [`results`] compares them, [`report`] writes the page.

pub mod checks;
pub mod database;
pub mod delta;
pub mod ext4;
pub mod images;
pub mod programs;
pub mod report;
pub mod results;
pub mod rounds;
pub mod stage;
pub mod steps;

/// Numbers that are the same each time (SplitMix64).
#[derive(Debug, Clone)]
pub struct Random(u64);

impl Random {
    /// Another seed, other numbers.
    pub fn new(seed: u64) -> Self {
        Random(seed)
    }

    /// The next 64 bits.
    pub fn word(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let z = (self.0 ^ (self.0 >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        let z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        z ^ (z >> 31)
    }

    /// A number below `end`, which is not 0.
    pub fn below(&mut self, end: u64) -> u64 {
        self.word() % end.max(1)
    }

    /// Bytes that nothing compresses.
    pub fn fill(&mut self, buffer: &mut [u8]) {
        for piece in buffer.chunks_mut(8) {
            piece.copy_from_slice(self.word().to_le_bytes().get(..piece.len()).unwrap_or(&[]));
        }
    }

    /// Any order is as likely as any other.
    pub fn shuffle<T>(&mut self, items: &mut [T]) {
        for last in (1..items.len()).rev() {
            items.swap(last, self.below(last as u64 + 1) as usize);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_are_the_same_each_time_and_shuffling_loses_nothing() {
        // the published first outputs of SplitMix64 with seed 0
        let mut random = Random::new(0);
        assert_eq!(random.word(), 0xe220_a839_7b1d_cdaf);
        assert_eq!(random.word(), 0x6e78_9e6a_a1b9_65f4);
        let mut items: Vec<u32> = (0..100).collect();
        random.shuffle(&mut items);
        assert_ne!(items, (0..100).collect::<Vec<_>>());
        items.sort_unstable();
        assert_eq!(items, (0..100).collect::<Vec<_>>());
    }
}
