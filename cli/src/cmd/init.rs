//! `init`: a new repository.

use crate::args::{Chunker, InitArgs, Size};
use crate::context::Context;
use crate::credential;
use crate::exit::Failure;
use crate::format::{Chunking, ChunkingRow, FMT, StoreMode};
use crate::text;
use repository::init::{InitOptions, init};
use serde::Serialize;

/// Length of fixed chunks where nothing else is asked for.
const FIXED_LEN: u64 = 64 << 10;
const BLOCK_LEN: u64 = 4096;
const BLOCKS_MAX: u64 = 1024;

#[derive(Serialize)]
struct Summary<'a> {
    repository_id: String,
    recovery_key: &'a str,
    format: u16,
    store_mode: &'static str,
}

pub(super) async fn run(context: &Context, args: InitArgs) -> Result<(), Failure> {
    let chunking = chunking(args.chunker, args.chunk_size)?;
    let driver = context.driver(true)?;
    let output = context.output;
    let new = credential::new(&args.secret, Some((&context.global, output)), &context.env)?;
    let url = driver.url().to_owned();
    let options = InitOptions { credential: Some(new.credential), label: args.label, chunking };
    let work = init(driver, &context.exec, &context.env, options);
    let made = context.exec.unless_cancelled(work).await?;
    if let Some(file) = new.file {
        file.keep();
    }
    if output.json() {
        let repository_id = made.repo_id.to_string();
        return output.summary(Summary {
            repository_id,
            recovery_key: &made.recovery_key,
            format: FMT,
            store_mode: text::mode(made.mode),
        });
    }
    output.line(format!("repository {} made at {}", made.repo_id, text::one_line(&url)))?;
    output.line(format!("recovery key: {}", *made.recovery_key))?;
    output.line(match made.mode {
        StoreMode::Many => "store mode many: any number of backups and prunes may run at once",
        StoreMode::One => {
            "store mode one: the store ignores put-if-absent, so one prune runs at a time, beside any number of backups"
        }
    })?;
    if made.mode == StoreMode::One {
        output.told(
            "What a killed prune leaves behind is taken over by hand: `orlop prune --help` says how.",
        )?;
    }
    output.told(
        "Keep the recovery key where the repository is not: it opens everything, and is not shown again.",
    )
}

/// Turns chunker and size into the table of the config.
fn chunking(chunker: Chunker, size: Option<Size>) -> Result<Chunking, Failure> {
    let Some(Size(len)) = size else {
        return match chunker {
            Chunker::Blocks => Ok(Chunking::blocks()),
            Chunker::Fixed => fixed(FIXED_LEN / BLOCK_LEN),
        };
    };
    let blocks = len / BLOCK_LEN;
    if !len.is_multiple_of(BLOCK_LEN) || !(2..=BLOCKS_MAX).contains(&blocks) {
        let what = format!("--chunk-size of {len} bytes: a multiple of 4KiB from 8KiB to 4MiB expected");
        return Err(Failure::usage(what));
    }
    match chunker {
        Chunker::Fixed => fixed(blocks),
        Chunker::Blocks => by_content(blocks),
    }
}

fn fixed(blocks: u64) -> Result<Chunking, Failure> {
    Chunking::fixed(narrow(blocks)).map_err(|e| Failure::usage(e.to_string()))
}

/// A quarter to four times the average, for volumes of every size.
fn by_content(avg: u64) -> Result<Chunking, Failure> {
    let row = ChunkingRow {
        up_to: u64::MAX,
        min: narrow((avg / 4).max(1)),
        avg: narrow(avg),
        max: narrow((avg * 4).min(BLOCKS_MAX)),
    };
    Chunking::new(vec![row]).map_err(|e| Failure::usage(e.to_string()))
}

fn narrow(blocks: u64) -> u32 {
    u32::try_from(blocks).unwrap_or(u32::MAX)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_size_that_is_taken_makes_a_table() {
        for blocks in 2..=BLOCKS_MAX {
            let size = Some(Size(blocks * BLOCK_LEN));
            let table = chunking(Chunker::Blocks, size).unwrap();
            assert_eq!(u64::from(table.rows()[0].avg), blocks);
            let table = chunking(Chunker::Fixed, size).unwrap();
            assert_eq!((table.rows()[0].min, table.rows()[0].max), (narrow(blocks), narrow(blocks)));
        }
        for bad in [0, 1, 4096, 8191, 9000, (4 << 20) + 4096, u64::MAX] {
            assert!(chunking(Chunker::Fixed, Some(Size(bad))).is_err(), "{bad}");
        }
        assert_eq!(chunking(Chunker::Blocks, None).unwrap(), Chunking::blocks());
        assert_eq!(chunking(Chunker::Fixed, None).unwrap().rows()[0].max, 16);
    }
}
