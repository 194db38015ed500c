//! The rules of both chunkers once more, written from the text of the format: slow and obvious.
//! Also the test data, which anyone can make with a BLAKE3 of their own.

#![allow(dead_code, reason = "each test binary uses a part")]

use chunker::BlockKeys;
use chunker::blocks::Cut;

pub(crate) const K_BLOCK: [u8; 32] = [0x11; 32];
pub(crate) const K_CHUNK: [u8; 32] = [0x22; 32];

pub(crate) fn keys() -> BlockKeys {
    BlockKeys::new(&K_BLOCK, &K_CHUNK)
}

/// `len` bytes of BLAKE3's extended output for the input `seed`.
pub(crate) fn random_bytes(seed: &str, len: usize) -> Vec<u8> {
    let mut bytes = vec![0; len];
    blake3::Hasher::new().update(seed.as_bytes()).finalize_xof().fill(&mut bytes);
    bytes
}

/// The gear table of the tests.
pub(crate) fn gear() -> [u8; 2048] {
    random_bytes("orlop gear", 2048).try_into().unwrap()
}

fn block_hash(block: &[u8]) -> [u8; 32] {
    *blake3::keyed_hash(&K_BLOCK, block).as_bytes()
}

pub(crate) fn id(chunk: &[u8]) -> [u8; 32] {
    let mut input = Vec::new();
    for block in chunk.chunks(4096) {
        input.extend(block_hash(block));
    }
    input.extend((chunk.len() as u32).to_le_bytes());
    *blake3::keyed_hash(&K_CHUNK, &input).as_bytes()
}

fn is_zero(bytes: &[u8]) -> bool {
    bytes.iter().all(|&byte| byte == 0)
}

fn chunk(bytes: &[u8]) -> Cut {
    Cut { len: bytes.len() as u32, id: Some(id(bytes)) }
}

fn hole(bytes: &[u8]) -> Cut {
    Cut { len: bytes.len() as u32, id: None }
}

/// A whole volume by the block rule.
pub(crate) fn cut_volume(min: usize, avg: usize, max: usize, volume: &[u8]) -> Vec<Cut> {
    let segments = volume.chunks(128 * avg * 4096);
    segments.flat_map(|segment| cut_segment(min, avg, max, segment)).collect()
}

fn cut_segment(min: usize, avg: usize, max: usize, segment: &[u8]) -> Vec<Cut> {
    if min == max {
        let parts = segment.chunks(max * 4096);
        return parts.map(|part| if is_zero(part) { hole(part) } else { chunk(part) }).collect();
    }
    let blocks: Vec<&[u8]> = segment.chunks(4096).collect();
    let in_hole: Vec<bool> = (0..blocks.len()).map(|i| in_hole(min, &blocks, i)).collect();
    let mut cuts = Vec::new();
    let mut open: Vec<u8> = Vec::new();
    let mut n = 0;
    for (i, block) in blocks.iter().enumerate() {
        let last_of_kind = i + 1 == blocks.len() || in_hole[i + 1] != in_hole[i];
        open.extend_from_slice(block);
        n += 1;
        let first_8 = u64::from_le_bytes(block_hash(block)[..8].try_into().unwrap());
        let low = u128::from(first_8) < (1_u128 << 64) / avg as u128;
        if last_of_kind || (!in_hole[i] && (n == max || (n >= min && low))) {
            cuts.push(if in_hole[i] { hole(&open) } else { chunk(&open) });
            open.clear();
            n = 0;
        }
    }
    cuts
}

/// Whether block i lies in a maximal run of zeros that is long enough or reaches the segment's end.
fn in_hole(min: usize, blocks: &[&[u8]], i: usize) -> bool {
    if !is_zero(blocks[i]) {
        return false;
    }
    let before = blocks[..i].iter().rev().take_while(|block| is_zero(block)).count();
    let after = blocks[i + 1..].iter().take_while(|block| is_zero(block)).count();
    before + 1 + after >= min || i + after + 1 == blocks.len()
}

/// The lengths of a stream's chunks by the FastCDC rule.
pub(crate) fn cut_stream(mut bytes: &[u8]) -> Vec<usize> {
    let table: Vec<u64> =
        gear().chunks(8).map(|entry| u64::from_le_bytes(entry.try_into().unwrap())).collect();
    let mut lens = Vec::new();
    while !bytes.is_empty() {
        let len = first_cut(&table, bytes);
        lens.push(len);
        bytes = &bytes[len..];
    }
    lens
}

fn first_cut(table: &[u64], bytes: &[u8]) -> usize {
    let n = bytes.len().min(262_144);
    if n <= 16_384 {
        return n;
    }
    let mut h = 0_u64;
    for i in 16_384..n - n % 2 {
        h = h.wrapping_mul(2).wrapping_add(table[usize::from(bytes[i])]);
        let mask = if i < 65_536 { 0x0000_d907_0753_7000 } else { 0x0000_d903_1353_0000 };
        if h & mask == 0 {
            return i;
        }
    }
    n
}
