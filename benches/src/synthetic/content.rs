//! Chunks by number: their bytes and ids.

use chunker::{BlockKeys, chunk_id};
use repo_format::Id;

const GOLDEN: u64 = 0x9e37_79b9_7f4a_7c15;

/// From this length on all chunks differ, and have the ids that their bytes have.
const TRUE_LEN_MIN: u32 = 8;

/// Bytes that no compressor shortens, a function of a seed and a chunk's number.
#[derive(Debug, Clone, Copy)]
pub struct Source {
    seed: u64,
}

impl Source {
    /// Different seeds give different bytes.
    pub fn new(seed: u64) -> Self {
        Source { seed: mix(seed) }
    }

    /// A number for each `n` of each `lane`; within a lane no two are equal.
    pub fn word(&self, lane: u64, n: u64) -> u64 {
        mix(mix(self.seed ^ lane).wrapping_add(n.wrapping_mul(GOLDEN)))
    }

    /// 16 bytes: a name.
    pub fn name(&self, lane: u64, n: u64) -> [u8; 16] {
        let mut out = [0; 16];
        out[..8].copy_from_slice(&self.word(lane, n).to_le_bytes());
        out[8..].copy_from_slice(&self.word(lane + 1, n).to_le_bytes());
        out
    }

    /// Fills `out` with chunk `n`. Chunks of 8 bytes or more are all different.
    pub fn fill(&self, n: u64, out: &mut [u8]) {
        let mut state = self.word(1, n);
        let mut word = state;
        for part in out.chunks_mut(8) {
            let bytes = word.to_le_bytes();
            part.copy_from_slice(bytes.get(..part.len()).unwrap_or_default());
            state = state.wrapping_add(GOLDEN);
            word = mix(state);
        }
    }

    /// The id of chunk `n`, whose bytes are `content`. Bytes that are too short to differ get ids that are not theirs,
    /// which shows when they are read, and in nothing else.
    pub fn id(&self, keys: &BlockKeys, n: u64, content: &[u8]) -> Id {
        if content.len() >= TRUE_LEN_MIN as usize {
            return Id(chunk_id(keys, content));
        }
        let mut id = [0; 32];
        id[..16].copy_from_slice(&self.name(2, n));
        id[16..].copy_from_slice(&self.name(4, n));
        Id(id)
    }
}

/// A permutation of the 64-bit numbers that leaves no pattern (splitmix64).
fn mix(n: u64) -> u64 {
    let n = (n ^ n >> 30).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    let n = (n ^ n >> 27).wrapping_mul(0x94d0_49bb_1331_11eb);
    n ^ n >> 31
}
