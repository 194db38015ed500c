//! What a prune holds does not grow with the repository: four times the chunks, about the same peak.

use benches::synthetic::{Layout, Spec, make};
use std::path::Path;
use std::process::Command;

/// Chunks of the smaller repository: more than fit into the budget, so that sets of ids go to disk in both.
const CHUNKS: u64 = 200_000;
/// MiB that the engine may take by its own account.
const MEMORY: &str = "16";
/// How much more the larger one may take. Held whole, its index alone would take 100 bytes more for each of 600,000
/// chunks while it is read, and as much when runs of copies are written.
const MORE_MAX: u64 = 32 << 20;

/// Bytes that a prune of a repository of so many chunks holds at most; two fifths of its records are not needed, and
/// spread over all packs, so that the rest is copied.
fn peak(folder: &Path, chunks: u64) -> u64 {
    let spec = Spec {
        chunks,
        chunk_len: 1,
        snapshots: 5,
        forgotten: 1,
        dead_percent: 40,
        layout: Layout::Scattered,
        packs_per_run: 0,
        marked: true,
        seed: 1,
    };
    let (repository, key) = (folder.join(chunks.to_string()), folder.join(format!("{chunks}.key")));
    let made = make(&repository, &spec, 2).unwrap();
    std::fs::write(&key, made.key.as_bytes()).unwrap();
    let mut prune = Command::new(env!("CARGO_BIN_EXE_prune"));
    let out = prune.arg("once").arg(&repository).arg(&key).args(["--memory", MEMORY]).output().unwrap();
    let said = String::from_utf8(out.stdout).unwrap();
    assert!(out.status.success(), "{said}{}", String::from_utf8_lossy(&out.stderr));
    let packs = made.data_packs + made.map_packs;
    assert!(said.contains(&format!("{packs} packs condemned, {packs} deleted")), "{said}");
    let line = said.lines().find_map(|line| line.strip_suffix(" bytes at most")).unwrap();
    line.parse().unwrap()
}

#[test]
fn peak_memory_does_not_grow_with_the_number_of_chunks() {
    let folder = tempfile::tempdir().unwrap();
    let (few, many) = (peak(folder.path(), CHUNKS), peak(folder.path(), 4 * CHUNKS));
    println!("{} KiB for {CHUNKS} chunks, {} KiB for four times as many", few >> 10, many >> 10);
    assert!(many < few + MORE_MAX, "{few} bytes for {CHUNKS} chunks, {many} bytes for four times as many");
}
