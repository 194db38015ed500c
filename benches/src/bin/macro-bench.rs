//! The macro benchmark: orlop and its peers on the same images, in turns.

use anyhow::{Context, Result, ensure};
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
    /// Write the page to this file, too.
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
    let images = Images::make(&dir.join(format!("images-{scale}")), &sizes)?;
    let base_len = used_len(&images.volume())?;
    print!("{}", images.description);
    let description = images.description.clone();
    let rounds = usize::from(args.rounds.unwrap_or(if args.quick { 3 } else { 5 }));
    let mut bench = Bench::new(images, programs, &work)?;
    for round in 0..rounds {
        bench.round(round)?;
    }
    benches::process::remove_tree(&work)?;
    let setting = Setting {
        machine: before,
        versions,
        missing,
        command: std::env::args().collect::<Vec<_>>().join(" "),
        rounds,
        images: description,
        structure: bench.structure_len.map(|len| (len, base_len)),
        small: scale < FULL,
    };
    let page = page(&setting, &bench.samples);
    println!("{page}");
    if let Some(path) = &args.results {
        std::fs::write(path, &page).with_context(|| path.display().to_string())?;
    }
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

/// The full size, or the largest that the disk holds; images that are there already count.
fn largest(dir: &Path) -> Result<u64> {
    let disk = rustix::fs::statvfs(dir)?;
    let free = disk.f_bavail * disk.f_frsize;
    let fits = |mib: &u64| {
        dir.join(format!("images-{mib}/description")).exists() || Sizes::of(*mib).disk_len() <= free
    };
    let found = [FULL, 6144, 4096, 3072, 2048, QUICK].into_iter().find(fits);
    ensure!(found.is_some(), "{}: less than {} MiB free", dir.display(), Sizes::of(QUICK).disk_len() >> 20);
    if let Some(mib) = found.filter(|mib| *mib < FULL) {
        println!(
            "images of {mib} MiB only: {} MiB free, {} wanted",
            free >> 20,
            Sizes::of(FULL).disk_len() >> 20
        );
    }
    found.context("no size fits")
}
