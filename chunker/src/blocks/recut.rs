//! Cutting a segment anew of which only some blocks may have changed, reading as little as that takes.
//!
//! # Why it gives what cutting the whole gives
//! Entries of the old list are read as wholes, in **regions**: runs of neighbours that begin as the entries with
//! changed blocks and grow until both ends are known to be the cuts that a whole segment would have there. What is
//! changed of a hole is read, the rest of it is known to be zeros. Holes beside a region belong to it, since they
//! need no reading. Then a region's end stands
//! - at the segment's end;
//! - *in front*, before an unchanged chunk: a chunk has a block that is not zero, or it would be a hole; so zeros in
//!   front of it cannot join zeros behind that block, and its start was a cut for reasons that lie before it;
//! - in front, before a changed chunk that still begins with a block that is not zero. If it begins with zeros, they
//!   may have become a hole together with the zeros that end the chunk before: that one is read, too. One is enough,
//!   by the rule above;
//! - in front, before a changed hole that still begins with a hole. If what is left is too short for one, it is data
//!   that the chunk before has to take in: that one is read, too;
//! - *behind*, where the new chunks come to an end by a rule of theirs (not because the region ends), and zeros
//!   cannot join over it: behind an unchanged chunk, whose zeros did not join before; behind a hole, which was as
//!   long as it could be; or behind a block that is not zero. Else the next entry is read, too.
//!
//! With fixed chunks each entry stands for itself.

use core::ops::Range;

use super::{BlockParams, Cut, Cutter, cut_value};
use crate::{BLOCK_LEN, BlockKeys};

/// An entry of a segment that was cut anew.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct RecutEntry {
    /// The chunk or hole.
    pub cut: Cut,
    /// It is one of the old list, and its bytes were not asked for.
    pub is_kept: bool,
}

/// A segment on its way from its old list of entries to its new one: give it the bytes that it
/// [wants](Self::wants) until it wants none.
pub struct Recut {
    params: BlockParams,
    byte_len: usize,
    old: Vec<Old>,
    /// By block, where known.
    hashes: Vec<[u8; 32]>,
    zeros: Vec<bool>,
    /// Blocks to be read.
    wanted: Vec<Range<usize>>,
    id_input: Vec<u8>,
}

/// An entry of the old list.
struct Old {
    blocks: Range<usize>,
    cut: Cut,
    is_dirty: bool,
    /// All its blocks are read or about to be, or known to be zeros.
    in_region: bool,
    /// What a region became that begins here.
    new: Vec<Cut>,
}

impl Old {
    fn is_hole(&self) -> bool {
        self.cut.id.is_none()
    }
}

impl Recut {
    /// For a segment that was cut into `old` and may have changed in the byte ranges `dirty`, in order of their starts.
    ///
    /// `None` if `old` is no list of a segment: an entry is empty, or one before the last ends inside a block, or it
    /// has another grid than fixed chunks have.
    pub fn new(params: BlockParams, keys: &BlockKeys, old: &[Cut], dirty: &[Range<usize>]) -> Option<Self> {
        let (mut entries, mut at) = (Vec::with_capacity(old.len()), 0_usize);
        for (n, cut) in old.iter().enumerate() {
            let end = at.checked_add(usize::try_from(cut.len).ok()?)?;
            let (is_last, max_len) = (n + 1 == old.len(), params.max() as usize * BLOCK_LEN);
            if cut.len == 0 || !is_last && !end.is_multiple_of(BLOCK_LEN) {
                return None;
            }
            if params.is_fixed() && !(cut.len as usize == max_len || is_last && (cut.len as usize) < max_len)
            {
                return None;
            }
            let blocks = at / BLOCK_LEN..end.div_ceil(BLOCK_LEN);
            entries.push(Old { blocks, cut: *cut, is_dirty: false, in_region: false, new: Vec::new() });
            at = end;
        }
        let count = at / BLOCK_LEN;
        let (mut hashes, mut zeros) = (vec![keys.zero_hash(); count], vec![true; count]);
        // zeros are known by their hash; those of a short last block have another
        keys.hash_blocks(&[0; BLOCK_LEN][..at % BLOCK_LEN], &mut hashes, &mut zeros);
        let mut recut = Recut {
            params,
            byte_len: at,
            old: entries,
            hashes,
            zeros,
            wanted: Vec::new(),
            id_input: Vec::new(),
        };
        recut.mark(dirty);
        recut.take_in_holes();
        Some(recut)
    }

    /// Marks entries with changed blocks, and wants what has to be read of them.
    fn mark(&mut self, dirty: &[Range<usize>]) {
        let mut changed: Vec<Range<usize>> = Vec::new();
        for bytes in dirty {
            let blocks = bytes.start / BLOCK_LEN..bytes.end.min(self.byte_len).div_ceil(BLOCK_LEN);
            match changed.last_mut() {
                _ if blocks.is_empty() => {}
                Some(last) if blocks.start <= last.end => last.end = last.end.max(blocks.end),
                _ => changed.push(blocks),
            }
        }
        let mut ranges = changed.into_iter().peekable();
        for entry in &mut self.old {
            while ranges.next_if(|range| range.end <= entry.blocks.start).is_some() {}
            // a range may go on in the entries that follow
            while let Some(range) = ranges.peek().filter(|range| range.start < entry.blocks.end).cloned() {
                entry.is_dirty = true;
                entry.in_region = true;
                if entry.is_hole() {
                    let changed = range.start.max(entry.blocks.start)..range.end.min(entry.blocks.end);
                    push(&mut self.wanted, changed);
                }
                if range.end > entry.blocks.end {
                    break;
                }
                ranges.next();
            }
            if entry.is_dirty && !entry.is_hole() {
                push(&mut self.wanted, entry.blocks.clone());
            }
        }
    }

    /// Byte ranges of the segment that are to be read now, in order; none if all is known.
    ///
    /// Blocks of old holes that are not wanted are zeros. They may become part of a chunk: who takes chunks out of a
    /// buffer begins with one of zeros.
    pub fn wants(&self) -> impl Iterator<Item = Range<usize>> + '_ {
        self.wanted.iter().map(|blocks| blocks.start * BLOCK_LEN..self.byte_len.min(blocks.end * BLOCK_LEN))
    }

    /// Takes what was wanted from `segment`, which holds it at its place and may hold anything elsewhere.
    ///
    /// A `segment` that is too short reads as zeros where it ends.
    pub fn supply(&mut self, keys: &BlockKeys, segment: &[u8]) {
        let (mut hashes, mut zeros) = (Vec::new(), Vec::new());
        let wanted: Vec<Range<usize>> = self.wants().collect();
        for (blocks, bytes) in core::mem::take(&mut self.wanted).into_iter().zip(wanted) {
            hashes.clear();
            zeros.clear();
            keys.hash_blocks(segment.get(bytes).unwrap_or_default(), &mut hashes, &mut zeros);
            for (n, (hash, zero)) in blocks.zip(hashes.iter().zip(&zeros)) {
                if let (Some(to_hash), Some(to_zero)) = (self.hashes.get_mut(n), self.zeros.get_mut(n)) {
                    *to_hash = *hash;
                    *to_zero = *zero;
                }
            }
        }
        self.settle(keys);
    }

    /// The new list, once nothing is wanted any more.
    pub fn finish(self) -> Vec<RecutEntry> {
        let mut out = Vec::with_capacity(self.old.len());
        for entry in self.old {
            if entry.in_region {
                out.extend(entry.new.into_iter().map(|cut| RecutEntry { cut, is_kept: false }));
            } else {
                out.push(RecutEntry { cut: entry.cut, is_kept: true });
            }
        }
        out
    }

    /// Cuts each region; what does not stand yet grows and wants more.
    fn settle(&mut self, keys: &BlockKeys) {
        let (mut start, mut grown) = (0, Vec::new());
        while let Some(skip) = self.old.get(start..).and_then(|rest| rest.iter().position(|e| e.in_region)) {
            start += skip;
            let count = self.old[start..].iter().take_while(|entry| entry.in_region).count();
            let region = start..start + count;
            start = region.end;
            match self.cut(keys, &region) {
                Ok(cuts) => self.old[region.start].new = cuts,
                Err(more) => grown.push(more),
            }
        }
        if grown.is_empty() {
            return;
        }
        self.old.iter_mut().for_each(|entry| entry.new.clear());
        // two regions may have met in one entry
        grown.dedup();
        for more in grown {
            let entry = &mut self.old[more];
            entry.in_region = true;
            push(&mut self.wanted, entry.blocks.clone());
        }
        self.take_in_holes();
    }

    /// Holes beside a region need no reading.
    fn take_in_holes(&mut self) {
        if self.params.is_fixed() {
            return;
        }
        let in_region: Vec<bool> = self.old.iter().map(|entry| entry.in_region).collect();
        for (n, entry) in self.old.iter_mut().enumerate() {
            let before = n.checked_sub(1).and_then(|n| in_region.get(n));
            let beside = [before, in_region.get(n + 1)];
            entry.in_region |= entry.is_hole() && beside.contains(&Some(&true));
        }
    }

    /// The new entries of a region, or the old entry that has to be known, too.
    fn cut(&mut self, keys: &BlockKeys, region: &Range<usize>) -> Result<Vec<Cut>, usize> {
        let (first, last) = (&self.old[region.start], &self.old[region.end - 1]);
        let blocks = first.blocks.start..last.blocks.end;
        let at_end = region.end == self.old.len();
        let zeros = &self.zeros[blocks.clone()];
        let is_fixed = self.params.is_fixed();
        if !is_fixed && !at_end {
            // a run of zeros may go on behind it
            let ends_in_zeros = last.is_dirty && !last.is_hole() && zeros.last() == Some(&true);
            if ends_in_zeros {
                return Err(region.end);
            }
        }
        if !is_fixed && region.start > 0 && first.is_dirty {
            let leading = zeros.iter().take_while(|&&zero| zero).count();
            let is_hole = leading >= self.params.min() as usize || leading == zeros.len() && at_end;
            let stands = if first.is_hole() { is_hole } else { leading == 0 };
            if !stands {
                return Err(region.start - 1);
            }
        }
        let mut cuts = Vec::new();
        let mut cutter = Cutter {
            params: self.params,
            keys,
            byte_len: self.byte_len.min(blocks.end * BLOCK_LEN) - blocks.start * BLOCK_LEN,
            hashes: &self.hashes[blocks.clone()],
            zeros,
            at_end,
            id_input: &mut self.id_input,
            out: &mut cuts,
        };
        if is_fixed {
            cutter.cut_fixed();
            return Ok(cuts);
        }
        cutter.cut_content();
        let stands = at_end
            || cuts.last().is_some_and(|cut| {
                let count = (cut.len as usize).div_ceil(BLOCK_LEN);
                let by_hash = cut_value(&self.hashes[blocks.end - 1]) < self.params.threshold();
                let by_rule = by_hash && count >= self.params.min() as usize;
                cut.id.is_none() || count == self.params.max() as usize || by_rule
            });
        if stands { Ok(cuts) } else { Err(region.end) }
    }
}

/// Adds a range of blocks, joined with the one before if they touch.
fn push(wanted: &mut Vec<Range<usize>>, blocks: Range<usize>) {
    match wanted.last_mut() {
        Some(last) if last.end == blocks.start => last.end = blocks.end,
        _ => wanted.push(blocks),
    }
}
