//! The macro benchmark: orlop and its peers on the same images, in turns.

use anyhow::{Context, Result};
use benches::macrobench::images::{Images, Sizes, used_len};
use benches::macrobench::programs::{Kind, Program};
use benches::macrobench::report::{Setting, page};
use benches::macrobench::rounds::Bench;
use benches::report::machine;
use clap::Parser;
use std::path::{Path, PathBuf};

/// MiB of the images A to D unless told otherwise.
const FULL: u64 = 8192;
const QUICK: u64 = 1024;

/// Run orlop and its peers on the same images in turns, and write a page of results.
#[derive(Parser)]
struct Args {
    /// The program under test.
    #[arg(long, default_value = "target/release/orlop")]
    orlop: PathBuf,
    /// A peer: restic, rustic, kopia or borg, and where it is.
    #[arg(long = "peer", value_name = "NAME=PATH")]
    peers: Vec<String>,
    /// Where images are made and kept, and repositories come and go.
    #[arg(long, default_value = "target/bench")]
    dir: PathBuf,
    /// Images of 1 GiB, and three rounds: minutes.
    #[arg(long)]
    quick: bool,
    /// MiB of the images A to D (8192, or what the disk holds); the others shrink along.
    #[arg(long, value_name = "MIB", value_parser = clap::value_parser!(u64).range(64..))]
    scale: Option<u64>,
    /// Rounds (5, or 3).
    #[arg(long, value_parser = clap::value_parser!(u8).range(1..))]
    rounds: Option<u8>,
    /// Write the page to this file, too, after each round.
    #[arg(long)]
    results: Option<PathBuf>,
}

fn main() -> Result<()> {
    let args = Args::parse();
    let before = machine();
    println!("{before}");
    let dir = std::path::absolute(&args.dir)?;
    std::fs::create_dir_all(&dir).with_context(|| dir.display().to_string())?;
    let work = dir.join("macro-work");
    let (programs, missing) = programs(&args, &work)?;
    let versions = programs.iter().map(Program::version).collect::<Result<Vec<_>>>()?;
    for name in &missing {
        println!("SKIPPED: {name} is not there: dev/peers.sh build {name}");
    }
    let scale = match args.scale {
        Some(mib) => mib,
        None if args.quick => QUICK,
        None => largest(&dir)?,
    };
    let sizes = Sizes::of(scale);
    let images = Images::make(&images_of(&dir, scale), &sizes)?;
    let base_len = used_len(&images.volume())?;
    print!("{}", images.description);
    let description = images.description.clone();
    let rounds = usize::from(args.rounds.unwrap_or(if args.quick { 3 } else { 5 }));
    let mut bench = Bench::new(images, programs, &work)?;
    let mut setting = Setting {
        machine: before,
        versions,
        missing,
        command: std::env::args().collect::<Vec<_>>().join(" "),
        rounds: 0,
        images: description,
        structure: None,
        small: scale < FULL,
    };
    for round in 0..rounds {
        bench.round(round)?;
        setting.rounds = round + 1;
        setting.structure = bench.structure_len.map(|len| (len, base_len));
        // hours may be lost otherwise
        if let Some(path) = &args.results {
            std::fs::write(path, page(&setting, &bench.samples))
                .with_context(|| path.display().to_string())?;
        }
    }
    benches::process::remove_tree(&work)?;
    println!("{}", page(&setting, &bench.samples));
    Ok(())
}

/// Ours and the peers that are named; the names of the others.
fn programs(args: &Args, work: &Path) -> Result<(Vec<Program>, Vec<String>)> {
    let mut programs = vec![Program::new(Kind::Orlop, &args.orlop, work)?];
    for peer in &args.peers {
        let (name, path) = peer.split_once('=').with_context(|| format!("{peer}: NAME=PATH expected"))?;
        programs.push(Program::new(Kind::peer(name)?, Path::new(path), work)?);
    }
    let is_there = |kind: &Kind| programs.iter().any(|program| program.kind == *kind);
    let missing = Kind::PEERS.iter().filter(|kind| !is_there(kind));
    let missing = missing.map(|kind| kind.name().to_owned()).collect();
    Ok((programs, missing))
}

/// The full size, or the largest that the disk holds.
fn largest(dir: &Path) -> Result<u64> {
    let disk = rustix::fs::statvfs(dir)?;
    let free = disk.f_bavail * disk.f_frsize;
    let wanted = |mib: u64| {
        let is_made = images_of(dir, mib).join("description").exists();
        Sizes::of(mib).wanted_len(is_made)
    };
    let found = [FULL, 6144, 4096, 3072, 2048, QUICK].into_iter().find(|mib| wanted(*mib) <= free);
    let mib =
        found.with_context(|| format!("{}: less than {} MiB free", dir.display(), wanted(QUICK) >> 20))?;
    if mib < FULL {
        println!("images of {mib} MiB only: {} MiB free, {} wanted", free >> 20, wanted(FULL) >> 20);
    }
    Ok(mib)
}

/// Where images of this size are kept.
fn images_of(dir: &Path, mib: u64) -> PathBuf {
    dir.join(format!("images-{mib}"))
}
