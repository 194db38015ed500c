//! Makes a repository of any number of chunks, for measuring what prune and others do with it.

use anyhow::{Context, Result, ensure};
use benches::report::{mib, peak_memory_len};
use benches::synthetic::{Layout, Spec, make};
use clap::Parser;
use std::io::Write;
use std::os::unix::fs::OpenOptionsExt;
use std::path::PathBuf;
use std::time::Instant;

/// Make a repository of synthetic chunks in a directory, and its key beside it.
#[derive(Parser)]
struct Args {
    /// The repository; it must not exist.
    out: PathBuf,
    /// Where its key goes; OUT.key if not given.
    #[arg(long)]
    key_out: Option<PathBuf>,
    /// Chunks.
    #[arg(long, default_value_t = 1_000_000)]
    chunks: u64,
    /// Plain bytes of a chunk. Chunks below 8 bytes have ids that are not theirs.
    #[arg(long, default_value_t = 8192)]
    chunk_len: u32,
    /// Snapshots.
    #[arg(long, default_value_t = 5)]
    snapshots: u64,
    /// How many of them are to be forgotten.
    #[arg(long, default_value_t = 1)]
    forgotten: u64,
    /// Share of the chunks that only those need, in percent.
    #[arg(long, default_value_t = 0)]
    dead: u64,
    /// How chunks that die lie in packs.
    #[arg(long, value_enum, default_value_t = Layout::Clustered)]
    layout: Layout,
    /// Packs that an index run names at most, as backups leave them; 0: as many as fit.
    #[arg(long, default_value_t = 32)]
    packs_per_run: usize,
    /// Write the forget markers, too.
    #[arg(long)]
    marked: bool,
    /// Decides all bytes, keys included.
    #[arg(long, default_value_t = 1)]
    seed: u64,
    /// Threads that make packs.
    #[arg(long, default_value_t = 2)]
    threads: usize,
}

fn main() -> Result<()> {
    let args = Args::parse();
    ensure!(!args.out.exists(), "{} exists", args.out.display());
    let key_out = args.key_out.clone().unwrap_or_else(|| {
        let mut name = args.out.clone().into_os_string();
        name.push(".key");
        name.into()
    });
    let spec = Spec {
        chunks: args.chunks,
        chunk_len: args.chunk_len,
        snapshots: args.snapshots,
        forgotten: args.forgotten,
        dead_percent: args.dead,
        layout: args.layout,
        packs_per_run: args.packs_per_run,
        marked: args.marked,
        seed: args.seed,
    };
    let start = Instant::now();
    let made = make(&args.out, &spec, args.threads)?;
    let time = start.elapsed();
    let shown = || key_out.display().to_string();
    let mut options = std::fs::OpenOptions::new();
    let mut file = options.write(true).create_new(true).mode(0o600).open(&key_out).with_context(shown)?;
    writeln!(file, "{}", *made.key).with_context(shown)?;
    println!(
        "{} chunks of {} bytes, {} map pages; {} + {} packs of {:.0} MiB in all, {} runs; {:.1} s, peak {:.0} MiB",
        spec.chunks,
        spec.chunk_len,
        made.pages,
        made.data_packs,
        made.map_packs,
        mib(made.packs_len),
        made.runs,
        time.as_secs_f64(),
        mib(peak_memory_len())
    );
    for sid in made.forgotten {
        println!("{} {sid}", if spec.marked { "forgotten" } else { "to forget" });
    }
    Ok(())
}
