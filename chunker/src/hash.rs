//! The two-level keyed hash: a block's hash decides cuts, a chunk's id is the hash of its block hashes.

use core::fmt;

use blake3::platform::Platform;
use zeroize::ZeroizeOnDrop;

use crate::BLOCK_LEN;
use crate::wide::{GROUP, hash_group};

static ZERO_BLOCK: [u8; BLOCK_LEN] = [0; BLOCK_LEN];

/// The identity keys of a domain, ready for hashing: who holds them can compute cuts and ids.
#[derive(Clone, ZeroizeOnDrop)]
pub struct BlockKeys {
    block: [u8; 32],
    block_words: [u32; 8],
    chunk: [u8; 32],
    /// The hash of a whole block of zeros: such blocks are common and are never hashed again.
    zero_hash: [u8; 32],
    #[zeroize(skip)]
    platform: Platform,
}

impl BlockKeys {
    /// Takes `K_block`, which keys the hash of a block, and `K_chunk`, which keys the hash of those hashes.
    pub fn new(block: &[u8; 32], chunk: &[u8; 32]) -> Self {
        let mut block_words = [0; 8];
        for (word, bytes) in block_words.iter_mut().zip(block.as_chunks().0) {
            *word = u32::from_le_bytes(*bytes);
        }
        let zero_hash = *blake3::keyed_hash(block, &ZERO_BLOCK).as_bytes();
        Self { block: *block, block_words, chunk: *chunk, zero_hash, platform: Platform::detect() }
    }

    /// The hash of a block of zeros.
    pub(crate) fn zero_hash(&self) -> [u8; 32] {
        self.zero_hash
    }

    /// Appends the hash of each block of `bytes`, and whether it is all zeros, to the two lists.
    pub(crate) fn hash_blocks(&self, bytes: &[u8], hashes: &mut Vec<[u8; 32]>, zeros: &mut Vec<bool>) {
        let (blocks, tail) = bytes.as_chunks::<BLOCK_LEN>();
        let mut group = [&ZERO_BLOCK; GROUP];
        let mut slots = [0; GROUP];
        let mut filled = 0;
        for block in blocks {
            // A comparison of arrays is libc's memcmp: it uses the machine's widest vectors and stops early.
            let zero = *block == ZERO_BLOCK;
            if !zero {
                group[filled] = block;
                slots[filled] = hashes.len();
                filled += 1;
            }
            hashes.push(self.zero_hash);
            zeros.push(zero);
            if filled == GROUP {
                self.hash_into(&group, &slots, hashes);
                filled = 0;
            }
        }
        self.hash_into(&group[..filled], &slots, hashes);
        if !tail.is_empty() {
            hashes.push(*blake3::keyed_hash(&self.block, tail).as_bytes());
            zeros.push(tail.iter().all(|&byte| byte == 0));
        }
    }

    /// Hashes up to [`GROUP`] blocks at once, block i into place `slots[i]` of `hashes`.
    fn hash_into(&self, group: &[&[u8; BLOCK_LEN]], slots: &[usize; GROUP], hashes: &mut [[u8; 32]]) {
        let mut out = [[0; 32]; GROUP];
        hash_group(self.platform, &self.block_words, group, &mut out);
        for (&slot, hash) in slots.iter().zip(&out).take(group.len()) {
            hashes[slot] = *hash;
        }
    }

    /// The id of a chunk of `len` bytes from its block hashes; `buffer` is only working memory.
    pub(crate) fn id_of(&self, hashes: &[[u8; 32]], len: u32, buffer: &mut Vec<u8>) -> [u8; 32] {
        buffer.clear();
        buffer.extend_from_slice(hashes.as_flattened());
        buffer.extend_from_slice(&len.to_le_bytes());
        *blake3::keyed_hash(&self.chunk, buffer).as_bytes()
    }
}

impl fmt::Debug for BlockKeys {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("BlockKeys").finish_non_exhaustive()
    }
}

/// The id of any chunk, whichever chunker cut it: how readers verify what they opened.
///
/// A chunk is at most 4 MiB; the id of longer bytes names nothing (above 4 GiB the hashed length saturates).
pub fn chunk_id(keys: &BlockKeys, bytes: &[u8]) -> [u8; 32] {
    let mut hasher = blake3::Hasher::new_keyed(&keys.chunk);
    let (blocks, tail) = bytes.as_chunks::<BLOCK_LEN>();
    let mut out = [[0; 32]; GROUP];
    for group in blocks.chunks(GROUP) {
        let mut inputs = [&ZERO_BLOCK; GROUP];
        for (input, block) in inputs.iter_mut().zip(group) {
            *input = block;
        }
        hash_group(keys.platform, &keys.block_words, &inputs[..group.len()], &mut out);
        hasher.update(out[..group.len()].as_flattened());
    }
    if !tail.is_empty() {
        hasher.update(blake3::keyed_hash(&keys.block, tail).as_bytes());
    }
    let len = u32::try_from(bytes.len()).unwrap_or(u32::MAX);
    *hasher.update(&len.to_le_bytes()).finalize().as_bytes()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn debug_shows_no_key() {
        let text = format!("{:?}", BlockKeys::new(&[0x5a; 32], &[0xa5; 32]));
        assert_eq!(text, "BlockKeys { .. }");
    }

    #[test]
    fn the_id_depends_on_each_key_on_the_bytes_and_on_the_length() {
        let bytes = [7; 5000];
        let id = chunk_id(&BlockKeys::new(&[1; 32], &[2; 32]), &bytes);
        assert_ne!(id, chunk_id(&BlockKeys::new(&[3; 32], &[2; 32]), &bytes));
        assert_ne!(id, chunk_id(&BlockKeys::new(&[1; 32], &[3; 32]), &bytes));
        assert_ne!(id, chunk_id(&BlockKeys::new(&[1; 32], &[2; 32]), &bytes[..4999]));
        assert_ne!(id, chunk_id(&BlockKeys::new(&[1; 32], &[2; 32]), &bytes[..4096]));
    }
}
