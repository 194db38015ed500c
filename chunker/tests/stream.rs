//! The stream chunker against the naive model, and its independence of read sizes.

#![allow(clippy::unwrap_used, reason = "helpers of tests may panic")]

mod model;

use chunker::stream::{MAX_LEN, MIN_LEN, StreamChunker};
use proptest::collection::vec;
use proptest::prelude::*;

/// Cuts a stream that arrives in reads of the given sizes, over and over.
fn cut_in_reads(bytes: &[u8], reads: &[usize]) -> Vec<usize> {
    let chunker = StreamChunker::new(&model::gear());
    let mut reads = reads.iter().cycle();
    let (mut start, mut end) = (0, 0);
    let mut lens = Vec::new();
    loop {
        match chunker.next_cut(&bytes[start..end], end == bytes.len()) {
            Some(len) => {
                lens.push(len);
                start += len;
            }
            None if end == bytes.len() => return lens,
            None => end = bytes.len().min(end + reads.next().unwrap()),
        }
    }
}

/// Random bytes, and stretches that repeat, on which the gear hash settles.
fn any_stream() -> impl Strategy<Value = Vec<u8>> {
    let piece = (any::<u16>(), 1..300_000_usize, any::<bool>());
    vec(piece, 0..6).prop_map(|pieces| {
        let pieces = pieces.into_iter().map(|(seed, len, repeats)| match repeats {
            true => vec![seed as u8; len],
            false => model::random_bytes(&seed.to_string(), len),
        });
        pieces.collect::<Vec<_>>().concat()
    })
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(96))]

    #[test]
    fn equals_the_model(bytes in any_stream()) {
        prop_assert_eq!(cut_in_reads(&bytes, &[usize::MAX >> 1]), model::cut_stream(&bytes));
    }

    #[test]
    fn read_sizes_do_not_move_cuts(bytes in any_stream(), reads in vec(1..400_000_usize, 1..8)) {
        prop_assert_eq!(cut_in_reads(&bytes, &reads), model::cut_stream(&bytes));
    }

    #[test]
    fn lengths_keep_their_bounds(bytes in any_stream()) {
        let lens = cut_in_reads(&bytes, &[MAX_LEN]);
        prop_assert_eq!(lens.iter().sum::<usize>(), bytes.len());
        prop_assert!(lens.iter().all(|&len| (1..=MAX_LEN).contains(&len)));
        prop_assert!(lens.iter().rev().skip(1).all(|&len| len >= MIN_LEN));
    }
}

#[test]
fn one_byte_at_a_time_gives_the_same_cuts() {
    let bytes = model::random_bytes("slow", 700_001);
    assert_eq!(cut_in_reads(&bytes, &[1]), model::cut_stream(&bytes));
}

#[test]
fn lengths_at_each_boundary_equal_the_model() {
    for len in [1, 2, 16_383, 16_384, 16_385, 16_386, 65_535, 65_536, 65_537, 262_143, 262_144, 262_145] {
        for bytes in [vec![0; len], model::random_bytes("edge", len)] {
            assert_eq!(cut_in_reads(&bytes, &[4096]), model::cut_stream(&bytes), "{len} bytes");
        }
    }
}

#[test]
fn an_insertion_moves_cuts_only_near_it() {
    let old = model::random_bytes("shift", 4 << 20);
    let new = [&old[..1000], b"inserted", &old[1000..]].concat();
    let (old, new) = (model::cut_stream(&old), model::cut_stream(&new));
    let common = old.iter().rev().zip(new.iter().rev()).take_while(|(a, b)| a == b).count();
    assert!(common + 8 >= old.len(), "{common} of {} chunks stayed", old.len());
}
