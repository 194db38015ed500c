//! Measures the memory of a backup of many chunks: every one is new, small, and made up while it is read.

use anyhow::{Result, ensure};
use benches::report::{mib, peak_memory_len};
use clap::Parser;
use repo_format::config::Chunking;
use repo_format::keys::keyfile;
use repository::backup::{BackupRequest, VolumeInput, backup};
use repository::init::{InitOptions, init};
use repository::progress::Progress;
use repository::source::{BlockSource, VolumeSource};
use repository::store::{StoreUrl, connect};
use repository::{Credential, Env, Exec, Repository};
use std::io;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Instant;

const BLOCK_LEN: u64 = 4096;
/// A block of data and two of a hole: one chunk.
const CHUNK_BLOCKS: u64 = 3;

/// Back a made-up volume up into a new repository.
#[derive(Parser)]
struct Args {
    /// The repository, a directory that does not exist.
    repository: PathBuf,
    /// Chunks of the volume.
    #[arg(long, default_value_t = 4_000_000)]
    chunks: u64,
    /// How many times the volume says the same.
    #[arg(long, default_value_t = 1)]
    times: u64,
    /// MiB that the engine may use by its own account.
    #[arg(long, default_value_t = 192)]
    memory: u64,
    /// Threads that compute.
    #[arg(long, default_value_t = 2)]
    threads: usize,
}

/// Every third block holds its number.
struct Numbers {
    chunks: u64,
    times: u64,
}

impl BlockSource for Numbers {
    fn byte_len(&self) -> u64 {
        self.chunks * self.times * CHUNK_BLOCKS * BLOCK_LEN
    }

    fn read_at(&self, offset: u64, buf: &mut [u8]) -> io::Result<()> {
        buf.fill(0);
        let first = offset / BLOCK_LEN;
        for (n, block) in (first..).zip(buf.chunks_mut(BLOCK_LEN as usize)) {
            if n.is_multiple_of(CHUNK_BLOCKS)
                && let Some(head) = block.first_chunk_mut::<8>()
            {
                *head = (n / CHUNK_BLOCKS % self.chunks + 1).to_le_bytes();
            }
        }
        Ok(())
    }
}

fn main() -> Result<()> {
    let args = Args::parse();
    let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build()?;
    runtime.block_on(measure(&args))
}

async fn measure(args: &Args) -> Result<()> {
    ensure!(!args.repository.exists(), "{} exists", args.repository.display());
    let exec = Exec::threads(args.threads)?.with_memory(args.memory << 20);
    let env = Env::system();
    let url = StoreUrl::parse(&args.repository.display().to_string())?;
    std::fs::create_dir_all(&args.repository)?;
    let options = InitOptions { credential: None, label: String::new(), chunking: Chunking::blocks() };
    let made = init(connect(&url, true)?, &exec, &env, options).await?;
    let credential = Credential::KeyFile(keyfile::parse(made.recovery_key.as_ref())?);
    let repository = Repository::open(connect(&url, false)?, &exec, &env, &credential).await?;
    let source = Arc::new(Numbers { chunks: args.chunks, times: args.times });
    let input = VolumeInput { name: "bench/numbers".into(), source: VolumeSource::Blocks(source) };
    let request = BackupRequest { volumes: vec![input], tool: "benches".into(), ..BackupRequest::default() };
    let start = Instant::now();
    let report = backup(&repository, request, &Arc::new(Progress::default())).await?;
    let seconds = start.elapsed().as_secs_f64();
    println!(
        "{} chunks new, {} reused in {seconds:.1} s, {:.0} a second; peak {:.0} MiB",
        report.chunks_new,
        report.chunks_reused,
        (report.chunks_new + report.chunks_reused) as f64 / seconds,
        mib(peak_memory_len())
    );
    Ok(())
}
