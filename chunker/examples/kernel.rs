//! Prints the speed of the chunkers' kernels on this machine, one thread, best of several rounds:
//! `cargo run --release -p chunker --example kernel`

use std::hint::black_box;
use std::time::Instant;

use chunker::blocks::{BlockParams, Scratch, cut_segment};
use chunker::stream::StreamChunker;
use chunker::{BLOCK_LEN, BlockKeys, chunk_id};

const LEN: usize = 256 << 20;

fn measure(name: &str, bytes: &[u8], mut kernel: impl FnMut(&[u8])) {
    let mut best = f64::MAX;
    for _ in 0..7 {
        let start = Instant::now();
        kernel(black_box(bytes));
        best = best.min(start.elapsed().as_secs_f64());
    }
    println!("{name:<36} {:>6.2} GB/s", bytes.len() as f64 / best / 1e9);
}

fn measure_cuts(name: &str, bytes: &[u8], keys: &BlockKeys, params: BlockParams) {
    let (mut scratch, mut cuts) = (Scratch::default(), Vec::new());
    measure(name, bytes, |bytes| {
        cuts.clear();
        for segment in bytes.chunks(params.segment_len() as usize) {
            cut_segment(params, keys, segment, &mut scratch, &mut cuts);
        }
        black_box(&cuts);
    });
}

fn main() -> Result<(), chunker::blocks::ParamsError> {
    let mut random = vec![0; LEN];
    blake3::Hasher::new().finalize_xof().fill(&mut random);
    let mut zeros = vec![1; LEN];
    zeros.fill(black_box(0));
    let keys = BlockKeys::new(&[1; 32], &[2; 32]);
    let default = BlockParams::new(2, 8, 32)?;

    measure("zero test, zeros", &zeros, |bytes| {
        for block in bytes.as_chunks::<BLOCK_LEN>().0 {
            black_box(*block == [0; BLOCK_LEN]);
        }
    });
    measure("blake3::keyed_hash per 4 KiB", &random, |bytes| {
        for block in bytes.chunks(BLOCK_LEN) {
            black_box(blake3::keyed_hash(&[1; 32], block));
        }
    });
    measure("blake3::keyed_hash per 4 MiB", &random, |bytes| {
        for block in bytes.chunks(4 << 20) {
            black_box(blake3::keyed_hash(&[1; 32], block));
        }
    });
    measure_cuts("cut_segment 2/8/32, random", &random, &keys, default);
    measure_cuts("cut_segment 2/8/32, random, cached", &random[..512 << 10], &keys, default);
    measure_cuts("cut_segment 2/8/32, zeros", &zeros, &keys, default);
    measure_cuts("cut_segment 32/128/512, random", &random, &keys, BlockParams::new(32, 128, 512)?);
    measure_cuts("cut_segment fixed 16, random", &random, &keys, BlockParams::fixed(16)?);
    measure("chunk_id of 32 KiB", &random, |bytes| {
        for chunk in bytes.chunks(32 << 10) {
            black_box(chunk_id(&keys, chunk));
        }
    });
    let mut gear = [0; 2048];
    blake3::Hasher::new().finalize_xof().fill(&mut gear);
    let chunker = StreamChunker::new(&gear);
    measure("stream cuts, random", &random, |mut bytes| {
        while let Some(len) = chunker.next_cut(bytes, true) {
            bytes = &bytes[len..];
        }
    });
    Ok(())
}
