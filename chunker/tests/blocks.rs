//! The block chunker against the naive model, and what follows from the rule.

#![allow(clippy::unwrap_used, reason = "helpers of tests may panic")]

mod model;

use chunker::blocks::{BlockParams, Cut, Scratch, cut_segment};
use chunker::chunk_id;
use proptest::collection::vec;
use proptest::prelude::*;

fn cut_volume(params: BlockParams, volume: &[u8]) -> Vec<Cut> {
    let (mut scratch, mut cuts) = (Scratch::default(), Vec::new());
    for segment in volume.chunks(params.segment_len() as usize) {
        cut_segment(params, &model::keys(), segment, &mut scratch, &mut cuts);
    }
    cuts
}

fn model_cuts(params: BlockParams, volume: &[u8]) -> Vec<Cut> {
    let [min, avg, max] = [params.min(), params.avg(), params.max()].map(|n| n as usize);
    model::cut_volume(min, avg, max, volume)
}

/// Small averages, so that segments are small (1 to 3 MiB) and volumes have several.
fn any_params() -> impl Strategy<Value = BlockParams> {
    let content = (1..=6_u32).prop_flat_map(|avg| (1..=avg, Just(avg), avg..=20));
    let content = content.prop_map(|(min, avg, max)| BlockParams::new(min, avg.max(2), max.max(2)));
    prop_oneof![4 => content, 1 => (2..=6_u32).prop_map(BlockParams::fixed)]
        .prop_map(|params| params.unwrap())
}

#[derive(Clone, Debug)]
enum Piece {
    Random(usize),
    Zeros(usize),
    /// Blocks that are zero but for one byte.
    Sparse(usize, usize),
    /// One block of random bytes, repeated: hashes alike.
    Repeated(usize),
}

fn any_volume() -> impl Strategy<Value = Vec<u8>> {
    let piece = prop_oneof![
        4 => (1..40_usize).prop_map(Piece::Random),
        5 => (1..12_usize).prop_map(Piece::Zeros),
        1 => (12..300_usize).prop_map(Piece::Zeros),
        2 => (1..5_usize, 0..4096_usize).prop_map(|(count, at)| Piece::Sparse(count, at)),
        1 => (1..30_usize).prop_map(Piece::Repeated),
    ];
    let tail = prop_oneof![
        Just(vec![]),
        (1..4096_usize).prop_map(|len| vec![0; len]),
        (1..4096_usize).prop_map(|len| model::random_bytes("tail", len)),
        (1..4096_usize).prop_map(|len| [vec![0; len - 1], vec![1]].concat()),
    ];
    (vec(piece, 0..40), any::<u32>(), tail).prop_map(|(pieces, seed, tail)| {
        let mut volume = Vec::new();
        for (i, piece) in pieces.into_iter().enumerate() {
            let random = |len| model::random_bytes(&format!("{seed} {i}"), len);
            match piece {
                Piece::Random(count) => volume.extend(random(count * 4096)),
                Piece::Zeros(count) => volume.extend(vec![0; count * 4096]),
                Piece::Repeated(count) => volume.extend(random(4096).repeat(count)),
                Piece::Sparse(count, at) => {
                    let mut block = vec![0; 4096];
                    block[at] = 1;
                    volume.extend(block.repeat(count));
                }
            }
        }
        volume.extend(tail);
        volume
    })
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(96))]

    #[test]
    fn equals_the_model(params in any_params(), volume in any_volume()) {
        prop_assert_eq!(cut_volume(params, &volume), model_cuts(params, &volume));
    }

    #[test]
    fn cuts_cover_the_volume_and_name_its_bytes(params in any_params(), volume in any_volume()) {
        let mut rest = &volume[..];
        for cut in cut_volume(params, &volume) {
            prop_assert!(cut.len > 0);
            let (bytes, after) = rest.split_at(cut.len as usize);
            match cut.id {
                Some(id) => prop_assert_eq!(id, chunk_id(&model::keys(), bytes)),
                None => prop_assert!(bytes.iter().all(|&byte| byte == 0)),
            }
            rest = after;
        }
        prop_assert!(rest.is_empty());
    }

    #[test]
    fn several_segments_in_one_call_are_cut_one_by_one(params in any_params(), volume in any_volume()) {
        let mut cuts = Vec::new();
        cut_segment(params, &model::keys(), &volume, &mut Scratch::default(), &mut cuts);
        prop_assert_eq!(cuts, cut_volume(params, &volume));
    }

    #[test]
    fn cutting_only_touched_segments_equals_a_full_scan(
        params in any_params(),
        volume in any_volume(),
        writes in vec((any::<prop::sample::Index>(), 1..20_000_usize, any::<bool>()), 0..6),
        resized in any::<Option<prop::sample::Index>>(),
    ) {
        let segment_len = params.segment_len() as usize;
        let mut changed = volume.clone();
        if let Some(len) = resized {
            changed.resize(len.index(2 * volume.len() + 1), 0);
        }
        let mut touched = vec![false; changed.len().div_ceil(segment_len)];
        let writes = if changed.is_empty() { vec![] } else { writes };
        for (at, len, zero) in writes {
            let start = at.index(changed.len());
            let end = changed.len().min(start + len);
            let bytes = if zero { vec![0; len] } else { model::random_bytes("write", len) };
            changed[start..end].copy_from_slice(&bytes[..end - start]);
            touched[start / segment_len..=(end - 1) / segment_len].fill(true);
        }
        let old: Vec<&[u8]> = volume.chunks(segment_len).collect();
        let mut incremental = Vec::new();
        for (i, segment) in changed.chunks(segment_len).enumerate() {
            let same_len = old.get(i).is_some_and(|old| old.len() == segment.len());
            let source = if touched[i] || !same_len { segment } else { old[i] };
            incremental.extend(cut_volume(params, source));
        }
        prop_assert_eq!(incremental, cut_volume(params, &changed));
    }

    #[test]
    fn ids_equal_the_model_at_any_length(len in 0..200_000_usize) {
        let bytes = model::random_bytes("chunk", len);
        prop_assert_eq!(chunk_id(&model::keys(), &bytes), model::id(&bytes));
    }
}

/// `.` is a zero block, `x` one of ones: with `min` 3 only holes and the end cut layouts as short as these.
fn lens(layout: &str, tail: usize) -> Vec<(u32, bool)> {
    let mut volume = Vec::new();
    for kind in layout.chars() {
        volume.extend(vec![u8::from(kind == 'x'); 4096]);
    }
    volume.extend(vec![0; tail]);
    let params = BlockParams::new(3, 48, 1024).unwrap();
    let cuts = cut_volume(params, &volume);
    cuts.into_iter().map(|cut| (cut.len, cut.id.is_none())).collect()
}

#[test]
fn a_run_is_a_hole_from_min_blocks_on() {
    assert_eq!(lens("x..x", 0), [(4 * 4096, false)]);
    assert_eq!(lens("x...x", 0), [(4096, false), (3 * 4096, true), (4096, false)]);
    assert_eq!(lens("..x", 0), [(3 * 4096, false)]);
}

#[test]
fn a_run_that_reaches_the_end_is_a_hole_of_any_length() {
    assert_eq!(lens("x.", 0), [(4096, false), (4096, true)]);
    assert_eq!(lens("x", 1), [(4096, false), (1, true)]);
    assert_eq!(lens("x.", 4095), [(4096, false), (4096 + 4095, true)]);
    assert_eq!(lens("", 5), [(5, true)]);
    assert_eq!(lens("", 0), []);
}

#[test]
fn an_empty_segment_is_one_hole_of_its_length() {
    let params = BlockParams::new(2, 8, 32).unwrap();
    let cuts = cut_volume(params, &vec![0; params.segment_len() as usize]);
    assert_eq!(cuts, [Cut { len: 4 << 20, id: None }]);
}

#[test]
fn fixed_holes_are_not_joined_and_short_runs_are_data() {
    let params = BlockParams::fixed(2).unwrap();
    let mut volume = vec![0; 9 * 4096];
    volume[5 * 4096] = 1;
    let cuts = cut_volume(params, &volume);
    let holes: Vec<bool> = cuts.iter().map(|cut| cut.id.is_none()).collect();
    assert_eq!(holes, [true, true, false, true, true]);
    assert_eq!(cuts[4].len, 4096);
}
