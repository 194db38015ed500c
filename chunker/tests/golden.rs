//! The cut lists in `golden/` are a promise of the format: repositories hold ids and maps made by these rules,
//! and a chunk that is cut or named otherwise is stored again, or not found. Never edit a list to make the
//! test pass. A change needs a decision record and a changelog entry in the same commit.

#![allow(clippy::unwrap_used, clippy::panic, reason = "helpers of tests may panic")]

mod model;

use std::fmt::Write;

use chunker::blocks::{BlockParams, Cut, Scratch, cut_segment};
use chunker::chunk_id;
use chunker::stream::StreamChunker;

const BLOCKS: &str = include_str!("golden/blocks.txt");
const STREAM: &str = include_str!("golden/stream.txt");

/// `xN` is the next N bytes of the case's random data, `zN` is N zeros.
fn data(case: &str, layout: &str) -> Vec<u8> {
    let mut random = blake3::Hasher::new().update(case.as_bytes()).finalize_xof();
    let mut bytes = Vec::new();
    for piece in layout.split_whitespace() {
        let (kind, len) = piece.split_at(1);
        let start = bytes.len();
        bytes.resize(start + len.parse::<usize>().unwrap(), 0);
        match kind {
            "x" => random.fill(&mut bytes[start..]),
            "z" => {}
            other => panic!("unknown piece {other}"),
        }
    }
    bytes
}

/// Renders a list anew from the `case` lines of a golden file: the rest of it must come out the same.
fn render(golden: &str, cut: impl Fn(&str, &[u8]) -> Vec<Cut>) -> String {
    let mut text = String::new();
    for line in golden.lines() {
        if line.starts_with('#') {
            writeln!(text, "{line}").unwrap();
        } else if let Some(case) = line.strip_prefix("case ") {
            let [name, params, layout] = case.splitn(3, ' ').collect::<Vec<_>>()[..] else {
                panic!("malformed case: {line}");
            };
            writeln!(text, "{line}").unwrap();
            for Cut { len, id } in cut(params, &data(name, layout)) {
                let id = id.map_or("hole".to_owned(), |id| blake3::Hash::from(id).to_string());
                writeln!(text, "{len} {id}").unwrap();
            }
        }
    }
    text
}

fn parse_params(params: &str) -> [u32; 3] {
    let sizes: Vec<u32> = params.split('/').map(|size| size.parse().unwrap()).collect();
    sizes.try_into().unwrap()
}

/// On a difference the list that was found is left beside the build's files, for a look.
fn compare(name: &str, golden: &str, found: &str) {
    if golden != found {
        let path = format!("{}/{name}", env!("CARGO_TARGET_TMPDIR"));
        std::fs::write(&path, found).unwrap();
        panic!("golden/{name}: the cuts differ from the promised ones; found {path}");
    }
}

#[test]
fn blocks_are_cut_as_promised() {
    assert!(BLOCKS.matches("\ncase ").count() >= 20);
    let found = render(BLOCKS, |params, volume| {
        let [min, avg, max] = parse_params(params);
        let params = BlockParams::new(min, avg, max).unwrap();
        let (mut scratch, mut cuts) = (Scratch::default(), Vec::new());
        for segment in volume.chunks(params.segment_len() as usize) {
            cut_segment(params, &model::keys(), segment, &mut scratch, &mut cuts);
        }
        cuts
    });
    compare("blocks.txt", BLOCKS, &found);
}

#[test]
fn the_model_agrees_on_blocks() {
    let found = render(BLOCKS, |params, volume| {
        let [min, avg, max] = parse_params(params).map(|size| size as usize);
        model::cut_volume(min, avg, max, volume)
    });
    compare("blocks.txt", BLOCKS, &found);
}

#[test]
fn streams_are_cut_as_promised() {
    assert!(STREAM.matches("\ncase ").count() >= 10);
    let chunker = StreamChunker::new(&model::gear());
    let found = render(STREAM, |_, mut bytes| {
        let mut cuts = Vec::new();
        while let Some(len) = chunker.next_cut(bytes, true) {
            let id = Some(chunk_id(&model::keys(), &bytes[..len]));
            cuts.push(Cut { len: len as u32, id });
            bytes = &bytes[len..];
        }
        cuts
    });
    compare("stream.txt", STREAM, &found);
}

#[test]
fn the_model_agrees_on_streams() {
    let found = render(STREAM, |_, mut bytes| {
        let mut cuts = Vec::new();
        for len in model::cut_stream(bytes) {
            cuts.push(Cut { len: len as u32, id: Some(model::id(&bytes[..len])) });
            bytes = &bytes[len..];
        }
        cuts
    });
    compare("stream.txt", STREAM, &found);
}
