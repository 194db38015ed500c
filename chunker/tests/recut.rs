//! Cutting anew around changes gives what cutting the whole gives, from the bytes that were asked for alone.

#![allow(clippy::unwrap_used, reason = "helpers of tests may panic")]

mod model;

use chunker::blocks::{BlockParams, Cut, Recut};
use core::ops::Range;
use proptest::collection::vec;
use proptest::prelude::*;

const BLOCK_LEN: usize = 4096;

fn model_cuts(params: BlockParams, segment: &[u8]) -> Vec<Cut> {
    let [min, avg, max] = [params.min(), params.avg(), params.max()].map(|n| n as usize);
    model::cut_volume(min, avg, max, segment)
}

/// Few parameters, so that zeros and cuts meet often.
fn any_params() -> impl Strategy<Value = BlockParams> {
    let content = (1..=4_u32, 2..=6_u32, 2..=12_u32);
    let content = content.prop_map(|(min, avg, max)| BlockParams::new(min.min(avg), avg, max.max(avg)));
    prop_oneof![6 => content, 1 => (2..=6_u32).prop_map(BlockParams::fixed)]
        .prop_map(|params| params.unwrap())
}

/// A run of blocks: how many, and of what.
#[derive(Clone, Copy, Debug)]
enum Kind {
    Zeros,
    Random,
    /// The same block in all segments.
    Alike,
}

fn any_kind() -> impl Strategy<Value = Kind> {
    prop_oneof![2 => Just(Kind::Zeros), 1 => Just(Kind::Random), 1 => Just(Kind::Alike)]
}

fn fill(kind: Kind, seed: u32, bytes: &mut [u8]) {
    match kind {
        Kind::Zeros => bytes.fill(0),
        Kind::Random => bytes.copy_from_slice(&model::random_bytes(&seed.to_string(), bytes.len())),
        Kind::Alike => {
            let block = model::random_bytes("alike", BLOCK_LEN);
            bytes.chunks_mut(BLOCK_LEN).for_each(|chunk| chunk.copy_from_slice(&block[..chunk.len()]));
        }
    }
}

#[derive(Clone, Debug)]
struct Case {
    params: BlockParams,
    runs: Vec<(usize, Kind)>,
    tail_len: usize,
    /// Block, count, and what becomes of it; nothing for blocks that only may have changed.
    edits: Vec<(prop::sample::Index, usize, Option<Kind>)>,
    seed: u32,
}

fn any_case() -> impl Strategy<Value = Case> {
    let len = prop_oneof![6 => 1..5_usize, 2 => 1..14_usize, 1 => 1..60_usize];
    let count = prop_oneof![4 => 1..3_usize, 1 => 1..9_usize];
    let edits = vec((any::<prop::sample::Index>(), count, prop::option::weighted(0.8, any_kind())), 0..5);
    (any_params(), vec((len, any_kind()), 1..30), 0..BLOCK_LEN, edits, any::<u32>())
        .prop_map(|(params, runs, tail_len, edits, seed)| Case { params, runs, tail_len, edits, seed })
}

impl Case {
    /// The segment before and after, and the byte ranges that may differ.
    fn build(&self) -> (Vec<u8>, Vec<u8>, Vec<Range<usize>>) {
        let mut before = Vec::new();
        for (n, (count, kind)) in self.runs.iter().enumerate() {
            let at = before.len();
            before.resize(at + count * BLOCK_LEN, 0);
            fill(*kind, self.seed.wrapping_add(n as u32), &mut before[at..]);
        }
        before.truncate(self.params.segment_len() as usize);
        let len = before.len();
        before.truncate(len - len.min(BLOCK_LEN) + 1 + self.tail_len);
        let blocks = before.len().div_ceil(BLOCK_LEN);
        let (mut after, mut dirty) = (before.clone(), Vec::new());
        for (n, (at, count, kind)) in self.edits.iter().enumerate() {
            let start = at.index(blocks) * BLOCK_LEN;
            let range = start..before.len().min(start + count * BLOCK_LEN);
            if let Some(kind) = kind {
                fill(*kind, self.seed.wrapping_add(1000 + n as u32), &mut after[range.clone()]);
            }
            dirty.push(range);
        }
        dirty.sort_by_key(|range| range.start);
        (before, after, dirty)
    }
}

/// Whether a range holds some of a hole that did not change.
fn reads_a_hole(old: &[Cut], dirty: &[Range<usize>], wanted: &Range<usize>) -> bool {
    let meets = |a: &Range<usize>, b: &Range<usize>| a.start < b.end && b.start < a.end;
    let mut end = 0;
    old.iter().any(|cut| {
        let range = end..end + cut.len as usize;
        end = range.end;
        cut.id.is_none() && meets(&range, wanted) && !dirty.iter().any(|dirty| meets(dirty, &range))
    })
}

/// The new list, and how many bytes were read for it; what was not asked for is garbage. Chunks that are not kept can
/// be taken out of a buffer that began as zeros.
fn recut(params: BlockParams, old: &[Cut], after: &[u8], dirty: &[Range<usize>]) -> (Vec<Cut>, usize) {
    let keys = model::keys();
    let mut recut = Recut::new(params, &keys, old, dirty).unwrap();
    let (mut segment, mut zeroed, mut read_len) = (vec![0xa5; after.len()], vec![0; after.len()], 0);
    loop {
        let wanted: Vec<_> = recut.wants().collect();
        if wanted.is_empty() {
            break;
        }
        for range in wanted {
            assert!(!reads_a_hole(old, dirty, &range), "{range:?} of a hole is read");
            segment[range.clone()].copy_from_slice(&after[range.clone()]);
            zeroed[range.clone()].copy_from_slice(&after[range.clone()]);
            read_len += range.len();
        }
        recut.supply(&keys, &segment);
    }
    let (entries, mut at) = (recut.finish(), 0);
    for entry in &entries {
        let bytes = &zeroed[at..at + entry.cut.len as usize];
        at += bytes.len();
        assert!(entry.is_kept || entry.cut.id.is_none_or(|id| id == chunker::chunk_id(&keys, bytes)));
    }
    (entries.iter().map(|entry| entry.cut).collect(), read_len)
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(2048))]

    #[test]
    fn a_recut_is_a_cut_of_the_whole(case in any_case()) {
        let (before, after, dirty) = case.build();
        let old = model_cuts(case.params, &before);
        let (new, read_len) = recut(case.params, &old, &after, &dirty);
        prop_assert_eq!(new, model_cuts(case.params, &after));
        prop_assert!(dirty.iter().any(|range| !range.is_empty()) || read_len == 0);
    }

    #[test]
    fn hostile_lists_end_and_do_not_panic(
        params in any_params(),
        old in vec((0..20_000_u32, any::<bool>()), 0..12),
        dirty in vec((0..200_000_usize, 0..30_000_usize), 0..4),
    ) {
        let entry = |(len, is_hole): &(u32, bool)| {
            let len = if *len % 3 == 0 { *len } else { (len / 4096 + 1) * 4096 };
            Cut { len, id: (!is_hole).then_some([7; 32]) }
        };
        let old: Vec<Cut> = old.iter().map(entry).collect();
        let dirty: Vec<Range<usize>> = dirty.iter().map(|(at, len)| *at..at + len).collect();
        let len: usize = old.iter().map(|cut| cut.len as usize).sum();
        let keys = model::keys();
        if let Some(mut recut) = Recut::new(params, &keys, &old, &dirty) {
            let segment = vec![0; len];
            while recut.wants().next().is_some() {
                recut.supply(&keys, &segment);
            }
            let new: usize = recut.finish().iter().map(|entry| entry.cut.len as usize).sum();
            prop_assert_eq!(new, len);
        }
    }
}

/// Of the default parameters: a changed block costs the chunk that holds it and hardly more.
#[test]
fn little_is_read_of_a_segment() {
    let params = BlockParams::new(2, 8, 32).unwrap();
    let before = model::random_bytes("little", params.segment_len() as usize);
    let old = model_cuts(params, &before);
    let (mut read, mut chunks) = (0, 0);
    for block in (0..1024).step_by(7) {
        let at = block * BLOCK_LEN;
        let mut after = before.clone();
        after[at] ^= 1;
        let changed = at..at + 1;
        let (new, read_len) = recut(params, &old, &after, std::slice::from_ref(&changed));
        assert_eq!(new, model_cuts(params, &after));
        let mut end = 0;
        let chunk = old.iter().find(|cut| {
            end += cut.len as usize;
            end > at
        });
        (read, chunks) = (read + read_len, chunks + chunk.unwrap().len as usize);
    }
    assert!(read < 2 * chunks, "{read} bytes read, {chunks} in the chunks that hold the changes");
}
