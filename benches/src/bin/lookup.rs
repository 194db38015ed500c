//! Measures looking ids up in an index that is larger than what of it may be in memory.

use anyhow::{Context, Result, ensure};
use benches::report::{mib, peak_memory_len};
use clap::Parser;
use repo_format::keys::keyfile;
use repository::reader::Reader;
use repository::store::{StoreUrl, connect};
use repository::vfs::{self, MapWalker};
use repository::{Credential, Env, Exec, Repository};
use std::path::PathBuf;
use std::time::Instant;

/// Look ids of a repository up, as backups and restores do.
#[derive(Parser)]
struct Args {
    /// The repository, a directory.
    repository: PathBuf,
    /// The file with its key.
    key: PathBuf,
    /// Where sealed copies are kept; a temporary file if not given.
    #[arg(long)]
    cache_dir: Option<PathBuf>,
    /// MiB that may be used by the engine's own account.
    #[arg(long, default_value_t = 192)]
    memory: u64,
    /// Ids looked up on each path.
    #[arg(long, default_value_t = 100_000)]
    ids: usize,
    /// Ids looked up together: a segment of a volume has some 128.
    #[arg(long, default_value_t = 128)]
    batch: usize,
    /// Threads that compute.
    #[arg(long, default_value_t = 2)]
    threads: usize,
}

fn main() -> Result<()> {
    let args = Args::parse();
    let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build()?;
    runtime.block_on(measure(&args))
}

async fn measure(args: &Args) -> Result<()> {
    let exec = Exec::threads(args.threads)?.with_memory(args.memory << 20);
    let url = StoreUrl::parse(args.repository.to_str().context("a path in UTF-8 expected")?)?;
    let text = std::fs::read_to_string(&args.key)?;
    let credential = Credential::KeyFile(keyfile::parse(text.trim())?);
    let repository = Repository::open(connect(&url, false)?, &exec, &Env::system(), &credential).await?;
    if let Some(folder) = &args.cache_dir {
        ensure!(repository.keep_copies(folder, 4 << 30), "{} cannot be used", folder.display());
    }
    let before = repository.store().stats();
    let start = Instant::now();
    let (reader, problems) = vfs::reader(&repository).await?;
    ensure!(problems.is_empty(), "{problems:?}");
    let known = reader.index();
    let entries = known.entry_count();
    let stats = repository.store().stats();
    let read = stats.downloaded_bytes - before.downloaded_bytes;
    println!(
        "{entries} entries, {}in memory; opened in {:.2} s with {} requests, {:.2} bytes an entry; peak {:.0} MiB",
        if known.is_in_memory() { "" } else { "not " },
        start.elapsed().as_secs_f64(),
        stats.requests - before.requests,
        read as f64 / entries.max(1) as f64,
        mib(peak_memory_len())
    );
    let ordered = ids_of(&reader, args.ids).await?;
    ensure!(!ordered.is_empty(), "no chunks found");
    let mut shuffled = ordered.clone();
    shuffled.sort_unstable_by_key(|id| *other_id(id).first_chunk::<16>().unwrap_or(&[0; 16]));
    let absent: Vec<[u8; 16]> = ordered.iter().map(other_id).collect();
    for (what, ids, there) in [
        ("absent", &absent, false),
        ("in order", &ordered, true),
        ("in no order", &shuffled, true),
        ("in order again", &ordered, true),
    ] {
        let (start, before) = (Instant::now(), repository.store().stats());
        for batch in ids.chunks(args.batch) {
            let found = known.find(batch).await?;
            ensure!(found.iter().all(|pack| pack.is_some() == there), "a wrong answer");
        }
        let (seconds, stats) = (start.elapsed().as_secs_f64(), repository.store().stats());
        println!(
            "{what}: {:.0} ids/s, {} requests, {:.2} MiB read for {} ids; peak {:.0} MiB",
            ids.len() as f64 / seconds,
            stats.requests - before.requests,
            mib(stats.downloaded_bytes - before.downloaded_bytes),
            ids.len(),
            mib(peak_memory_len())
        );
    }
    Ok(())
}

/// Bytes that look like an id, and follow from one.
fn other_id(id: &[u8; 16]) -> [u8; 16] {
    let mut out = [0; 16];
    let mut state = u64::from_le_bytes(id[..8].try_into().unwrap_or_default());
    for part in out.chunks_mut(8) {
        // splitmix64
        state = state.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut mixed = (state ^ state >> 30).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        mixed = (mixed ^ mixed >> 27).wrapping_mul(0x94d0_49bb_1331_11eb);
        part.copy_from_slice(&(mixed ^ mixed >> 31).to_le_bytes());
    }
    out
}

/// Short ids of the first chunks of the first volume, in its order.
async fn ids_of(reader: &Reader, count: usize) -> Result<Vec<[u8; 16]>> {
    let (entries, _) = repository::snapshots::list(reader.repository()).await?;
    let snapshot = &entries.first().context("a snapshot expected")?.snapshot;
    let volume = snapshot.volumes.first().context("a volume expected")?;
    let mut walker = MapWalker::volume(reader, "volume", volume)?;
    let (mut ids, mut extents) = (Vec::new(), Vec::new());
    while ids.len() < count && walker.next_batch(&mut extents).await? {
        ids.extend(extents.drain(..).filter_map(|extent| extent.id).map(|id| id.short()));
    }
    ids.truncate(count);
    Ok(ids)
}
