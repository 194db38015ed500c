//! The chunker of volumes: cuts on the 4096-byte grid, decided by a keyed hash of each block.
//!
//! # The rule
//! A **segment** is 128 x avg blocks, counted from the volume's start; the last one of a volume may be shorter
//! and end in a short block. Each is cut by itself:
//!
//! 1. *Holes first.* A run of all-zero blocks that is maximal within the segment is a hole if it has at least
//!    `min` blocks or reaches the segment's end, there even with one block. A hole is one entry, as long as the
//!    run. A shorter run is data. Holes depend only on where zeros are, never on where chunks begin, so a run
//!    is measured whole even where `max` would have cut it. A short last block is zero if all its bytes are.
//! 2. *Data between holes.* Each stretch up to the next hole or the segment's end is cut by itself: a chunk ends
//!    after its n-th block if n = max, or if n >= min and the first 8 bytes of the block's hash, little-endian,
//!    are below floor(2^64 / avg). What is left at the end of a stretch is a chunk, even if shorter than `min`.
//!
//! With **min = max** (fixed) there is another rule: a chunk is every `max` blocks from the segment's start,
//! what remains at its end is one too, and a chunk whose bytes are all zero is a hole entry of its own, not
//! joined with its neighbours.
//!
//! Entries cover the segment without gaps, in order; none is empty. Cuts of a segment depend on nothing but
//! keys, parameters and the segment's bytes.

mod params;
mod recut;

use core::ops::Range;

pub use params::{BlockParams, MAX_BLOCKS, ParamsError, SEGMENT_FACTOR};
pub use recut::{Recut, RecutEntry};

use crate::{BLOCK_LEN, BlockKeys};

/// One entry of a segment's list: a chunk or a hole, by its length. Offsets are sums of lengths.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Cut {
    /// Bytes covered: 1 to 4 MiB for a chunk, up to the whole segment (512 MiB) for a hole.
    pub len: u32,
    /// The chunk's id; `None` is a hole, which reads as zeros and is not stored.
    pub id: Option<[u8; 32]>,
}

/// Working memory of [`cut_segment`], kept by the caller from one segment to the next.
///
/// It holds block hashes, which tell about content to who has the keys, and no content.
#[derive(Default)]
pub struct Scratch {
    hashes: Vec<[u8; 32]>,
    zeros: Vec<bool>,
    id_input: Vec<u8>,
}

/// Appends the entries of one segment to `out`.
///
/// `segment` is a whole segment, or the shorter one at a volume's end: a slice that ends elsewhere gives cuts
/// of another volume. Longer slices are cut as the consecutive segments that they are.
pub fn cut_segment(
    params: BlockParams,
    keys: &BlockKeys,
    segment: &[u8],
    scratch: &mut Scratch,
    out: &mut Vec<Cut>,
) {
    let segment_len = usize::try_from(params.segment_len()).unwrap_or(usize::MAX);
    for bytes in segment.chunks(segment_len) {
        scratch.hashes.clear();
        scratch.zeros.clear();
        keys.hash_blocks(bytes, &mut scratch.hashes, &mut scratch.zeros);
        let mut cutter = Cutter {
            params,
            keys,
            byte_len: bytes.len(),
            hashes: &scratch.hashes,
            zeros: &scratch.zeros,
            at_end: true,
            id_input: &mut scratch.id_input,
            out,
        };
        if params.is_fixed() {
            cutter.cut_fixed();
        } else {
            cutter.cut_content();
        }
    }
}

/// A segment, or a part of one, whose blocks are hashed; ranges count its blocks.
struct Cutter<'a> {
    params: BlockParams,
    keys: &'a BlockKeys,
    byte_len: usize,
    hashes: &'a [[u8; 32]],
    zeros: &'a [bool],
    /// The segment ends here: so few zeros as one block are a hole.
    at_end: bool,
    id_input: &'a mut Vec<u8>,
    out: &'a mut Vec<Cut>,
}

impl Cutter<'_> {
    fn cut_fixed(&mut self) {
        let count = self.hashes.len();
        for start in (0..count).step_by(self.params.max() as usize) {
            let blocks = start..count.min(start + self.params.max() as usize);
            if self.zeros[blocks.clone()].iter().all(|&zero| zero) {
                self.push_hole(blocks);
            } else {
                self.push_chunk(blocks);
            }
        }
    }

    fn cut_content(&mut self) {
        let mut start = 0;
        while start < self.hashes.len() {
            let hole = self.next_hole(start);
            self.cut_data(start..hole.start);
            start = hole.end;
            if !hole.is_empty() {
                self.push_hole(hole);
            }
        }
    }

    /// The first hole at or after block `from`, which must not lie inside a run of zeros; empty, at the
    /// segment's end, if there is none.
    fn next_hole(&self, from: usize) -> Range<usize> {
        let count = self.zeros.len();
        let mut end = from;
        loop {
            let start = end + run_len(&self.zeros[end..], false);
            end = start + run_len(&self.zeros[start..], true);
            let is_hole = end - start >= self.params.min() as usize || self.at_end && end == count;
            match (is_hole, end == count) {
                (true, _) => return start..end,
                (false, true) => return count..count,
                (false, false) => {}
            }
        }
    }

    /// Cuts a stretch between holes.
    fn cut_data(&mut self, stretch: Range<usize>) {
        let (min, max) = (self.params.min() as usize, self.params.max() as usize);
        let threshold = self.params.threshold();
        let mut start = stretch.start;
        while start < stretch.end {
            let longest = stretch.end.min(start + max);
            let shortest = longest.min(start + min);
            let candidates = &self.hashes[shortest - 1..longest];
            let found = candidates.iter().position(|hash| cut_value(hash) < threshold);
            let end = found.map_or(longest, |i| shortest + i);
            self.push_chunk(start..end);
            start = end;
        }
    }

    fn push_chunk(&mut self, blocks: Range<usize>) {
        let len = self.byte_len_of(&blocks);
        let id = self.keys.id_of(&self.hashes[blocks], len, self.id_input);
        self.out.push(Cut { len, id: Some(id) });
    }

    fn push_hole(&mut self, blocks: Range<usize>) {
        let len = self.byte_len_of(&blocks);
        self.out.push(Cut { len, id: None });
    }

    /// Bytes of a range of blocks, of which only the segment's last may be short; never above 512 MiB.
    fn byte_len_of(&self, blocks: &Range<usize>) -> u32 {
        let end = self.byte_len.min(blocks.end * BLOCK_LEN);
        (end - blocks.start * BLOCK_LEN) as u32
    }
}

/// How many of the first flags equal `value`.
fn run_len(flags: &[bool], value: bool) -> usize {
    flags.iter().take_while(|&&flag| flag == value).count()
}

/// The part of a block's hash that decides whether its chunk ends.
fn cut_value(hash: &[u8; 32]) -> u64 {
    hash.first_chunk().map_or(0, |bytes| u64::from_le_bytes(*bytes))
}
