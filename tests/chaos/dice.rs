//! Choices drawn from a seed.

/// An endless row of numbers, the same for the same name.
pub(crate) struct Dice(blake3::OutputReader);

impl Dice {
    /// The dice of somebody in a run with `seed`.
    pub(crate) fn new(seed: u64, name: &str) -> Dice {
        let mut hasher = blake3::Hasher::new();
        hasher.update(&seed.to_le_bytes()).update(name.as_bytes());
        Dice(hasher.finalize_xof())
    }

    /// Any number.
    pub(crate) fn any(&mut self) -> u64 {
        let mut bytes = [0; 8];
        self.0.fill(&mut bytes);
        u64::from_le_bytes(bytes)
    }

    /// A number below `limit`.
    pub(crate) fn below(&mut self, limit: usize) -> usize {
        usize::try_from(self.any() % limit.max(1) as u64).unwrap()
    }

    /// True so often in a hundred.
    pub(crate) fn percent(&mut self, share: usize) -> bool {
        self.below(100) < share
    }

    /// One of `all`.
    pub(crate) fn pick<'a, T>(&mut self, all: &'a [T]) -> Option<&'a T> {
        all.get(self.below(all.len()))
    }
}
