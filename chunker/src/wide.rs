//! BLAKE3 of many 4 KiB blocks at once.
//!
//! `blake3::keyed_hash` of one block has four 1 KiB leaves, so it fills four SIMD lanes and hashes its
//! three parents one by one. Here the lanes run across blocks: leaf j of sixteen blocks is one call, then
//! their parents, then their roots. The bytes are those of `keyed_hash`; the tests compare them on every
//! platform the machine has.

use blake3::IncrementCounter;
use blake3::platform::Platform;

use crate::BLOCK_LEN;

/// Blocks hashed per call: the widest vector unit (AVX-512) has sixteen 32-bit lanes.
pub(crate) const GROUP: usize = 16;

/// Bytes of a BLAKE3 leaf (its specification says "chunk"), and leaves per block.
const LEAF_LEN: usize = 1024;
const LEAVES: usize = BLOCK_LEN / LEAF_LEN;
const HASH_LEN: usize = 32;

// Domain flags of the BLAKE3 specification, section 2.2, table 3.
const CHUNK_START: u8 = 1;
const CHUNK_END: u8 = 1 << 1;
const PARENT: u8 = 1 << 2;
const ROOT: u8 = 1 << 3;
const KEYED_HASH: u8 = 1 << 4;

/// Writes the keyed hash of `blocks[i]` to `out[i]`; at most [`GROUP`] blocks, what is beyond is left out.
pub(crate) fn hash_group(
    platform: Platform,
    key: &[u32; 8],
    blocks: &[&[u8; BLOCK_LEN]],
    out: &mut [[u8; HASH_LEN]; GROUP],
) {
    let blocks = blocks.get(..GROUP).unwrap_or(blocks);
    let Some(&first) = blocks.first() else { return };
    let mut leaves = [[[0; HASH_LEN]; GROUP]; LEAVES];
    for (j, hashes) in leaves.iter_mut().enumerate() {
        let mut inputs = [leaf(first, j); GROUP];
        for (input, block) in inputs.iter_mut().zip(blocks) {
            *input = leaf(block, j);
        }
        platform.hash_many(
            &inputs[..blocks.len()],
            key,
            j as u64,
            IncrementCounter::No,
            KEYED_HASH,
            CHUNK_START,
            CHUNK_END,
            hashes.as_flattened_mut(),
        );
    }
    let pairs = pair_up(&leaves);
    let parents = hash_nodes::<{ 2 * GROUP }, GROUP>(platform, key, PARENT, &pairs, 2 * blocks.len());
    let roots = hash_nodes::<GROUP, { GROUP / 2 }>(platform, key, PARENT | ROOT, &parents, blocks.len());
    out.as_flattened_mut().copy_from_slice(roots.as_flattened());
}

/// Leaf `j` of a block.
fn leaf(block: &[u8; BLOCK_LEN], j: usize) -> &[u8; LEAF_LEN] {
    &block.as_chunks().0[j]
}

/// Nodes `2i` and `2i + 1` are the children of block `i`'s root.
fn pair_up(leaves: &[[[u8; HASH_LEN]; GROUP]; LEAVES]) -> [[u8; 2 * HASH_LEN]; 2 * GROUP] {
    let mut pairs = [[0; 2 * HASH_LEN]; 2 * GROUP];
    for (i, pair) in pairs.iter_mut().enumerate() {
        let (block, side) = (i / 2, i % 2);
        pair[..HASH_LEN].copy_from_slice(&leaves[2 * side][block]);
        pair[HASH_LEN..].copy_from_slice(&leaves[2 * side + 1][block]);
    }
    pairs
}

/// Hashes the first `count` of `IN` inner nodes; the hashes, two by two, are the nodes of the next level.
fn hash_nodes<const IN: usize, const OUT: usize>(
    platform: Platform,
    key: &[u32; 8],
    flags: u8,
    nodes: &[[u8; 2 * HASH_LEN]; IN],
    count: usize,
) -> [[u8; 2 * HASH_LEN]; OUT] {
    let mut out = [[0; 2 * HASH_LEN]; OUT];
    let inputs = nodes.each_ref();
    platform.hash_many(
        &inputs[..count],
        key,
        0,
        IncrementCounter::No,
        KEYED_HASH | flags,
        0,
        0,
        out.as_flattened_mut(),
    );
    out
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    /// Every implementation this machine can run; `detect` is the one that is used.
    fn platforms() -> Vec<Platform> {
        let mut all = vec![Platform::portable(), Platform::detect()];
        #[cfg(target_arch = "x86_64")]
        all.extend([Platform::sse2(), Platform::sse41(), Platform::avx2()].into_iter().flatten());
        all
    }

    fn check(key: [u8; 32], seed: u64, count: usize) {
        let mut bytes = vec![0; count * BLOCK_LEN];
        let mut source = blake3::Hasher::new().update(&seed.to_le_bytes()).finalize_xof();
        source.fill(&mut bytes);
        let blocks: Vec<&[u8; BLOCK_LEN]> = bytes.as_chunks().0.iter().collect();
        let words = core::array::from_fn(|i| u32::from_le_bytes(key.as_chunks().0[i]));
        for platform in platforms() {
            let mut out = [[0; HASH_LEN]; GROUP];
            hash_group(platform, &words, &blocks, &mut out);
            for (block, hash) in blocks.iter().zip(&out) {
                assert_eq!(blake3::keyed_hash(&key, *block).as_bytes(), hash, "{platform:?}, {count} blocks");
            }
        }
    }

    #[test]
    fn every_group_size_equals_keyed_hash() {
        for count in 0..=GROUP {
            check([0x42; 32], count as u64, count);
        }
    }

    proptest! {
        #[test]
        fn any_key_and_blocks_equal_keyed_hash(key: [u8; 32], seed: u64, count in 0..=GROUP) {
            check(key, seed, count);
        }
    }
}
