//! How near the engine comes to the fused loop, and how much memory it takes.

use anyhow::{Context, Result, ensure};
use benches::engine::Engine;
use benches::fused::{self, Mode};
use benches::image::Image;
use benches::report::{Rate, load, machine, median, mib, peak_memory_len};
use benches::{Keys, kernels, params};
use clap::{Parser, Subcommand};
use repository::store::{StoreUrl, connect};
use std::path::{Path, PathBuf};
use std::process::{Command, ExitCode};

/// Run the engine and the fused loop in turns, in one process, and the engine alone for its memory.
#[derive(Parser)]
#[command(args_conflicts_with_subcommands = true)]
struct Args {
    #[command(subcommand)]
    child: Option<Child>,
    /// An image, as make-image makes them.
    #[arg(required = true)]
    image: Option<PathBuf>,
    /// CPU threads of both.
    #[arg(long, default_value_t = 2, value_parser = clap::value_parser!(u8).range(1..))]
    threads: u8,
    /// Pairs of runs.
    #[arg(long, default_value_t = 5, value_parser = clap::value_parser!(u8).range(1..))]
    runs: u8,
    /// Where the local repository for the memory figures is made; removed afterwards.
    #[arg(long, default_value_os_t = std::env::temp_dir())]
    dir: PathBuf,
    /// Fail if a median is below this many percent of the loop.
    #[arg(long, default_value_t = 0)]
    floor: u8,
    /// Fail if the engine's peak memory is above this many MiB.
    #[arg(long)]
    memory_max: Option<u64>,
}

#[derive(Subcommand)]
enum Child {
    /// One backup to a local repository: prints peak memory in bytes and seconds.
    Child {
        /// The image.
        image: PathBuf,
        /// The repository.
        #[arg(long)]
        store: PathBuf,
        /// A file with its key.
        #[arg(long)]
        key_file: PathBuf,
        /// CPU threads.
        #[arg(long)]
        threads: u8,
    },
}

fn main() -> Result<ExitCode> {
    let args = Args::parse();
    match (&args.child, &args.image) {
        (Some(Child::Child { image, store, key_file, threads }), _) => {
            child(image, store, key_file, *threads)
        }
        (None, Some(image)) => compare(&args, image),
        (None, None) => anyhow::bail!("an image is needed"),
    }
}

/// Times of one kind of backup, loop and engine side by side.
struct Pairs {
    name: &'static str,
    limits: Vec<Rate>,
    engine: Vec<Rate>,
}

impl Pairs {
    fn new(name: &'static str) -> Self {
        Pairs { name, limits: vec![], engine: vec![] }
    }

    fn push(&mut self, limit: fused::Run, engine: Rate) {
        let limit = Rate { bytes: limit.read_len, time: limit.time };
        let ratio = ratio(limit, engine) * 100.0;
        println!("{:<10} fused {limit}   engine {engine}   {ratio:>5.1} %   load {}", self.name, load());
        self.limits.push(limit);
        self.engine.push(engine);
    }

    /// The median of the pairs' ratios.
    fn ratio(&self) -> f64 {
        median(self.limits.iter().zip(&self.engine).map(|(limit, engine)| ratio(*limit, *engine)))
    }

    fn show(&self) {
        let middle = |rates: &[Rate]| median(rates.iter().map(|rate| rate.gb_per_s()));
        println!(
            "{:<10} median: fused {:.2} GB/s, engine {:.2} GB/s, {:.1} % of the loop",
            self.name,
            middle(&self.limits),
            middle(&self.engine),
            self.ratio() * 100.0
        );
    }
}

/// The engine's speed as a part of the loop's.
fn ratio(limit: Rate, engine: Rate) -> f64 {
    limit.time.as_secs_f64() / engine.time.as_secs_f64().max(1e-9)
}

fn compare(args: &Args, path: &Path) -> Result<ExitCode> {
    println!("{}", machine());
    let threads = usize::from(args.threads);
    let image = Image::open(path, params()?.segment_len())?;
    let (keys, engine) = (Keys::new()?, Engine::new(threads, None)?);
    let parent = kernels::run(&image, &keys, threads, None)?.page_ids;
    let (mut initial, mut unchanged) = (Pairs::new("initial"), Pairs::new("unchanged"));
    for _ in 0..args.runs {
        let limit = fused::run(&image, &keys, threads, Mode::Initial { level: 1, out: None })?;
        let store = engine.memory_store();
        let key = engine.init(&store)?;
        let first = engine.backup(&store, &key, path)?;
        ensure!(first.rate.bytes == limit.read_len, "engine and loop read different amounts");
        initial.push(limit, first.rate);
        let limit = fused::run(&image, &keys, threads, Mode::Unchanged(&parent))?;
        let second = engine.backup(&store, &key, path)?;
        ensure!(
            second.report.bytes_new < 1 << 16,
            "an unchanged image gave {} new bytes",
            second.report.bytes_new
        );
        unchanged.push(limit, second.rate);
    }
    initial.show();
    unchanged.show();
    let peak_len = measure_memory(args, &engine, path)?;
    println!("{}", machine());
    let floor = f64::from(args.floor) / 100.0;
    let slow = initial.ratio() < floor || unchanged.ratio() < floor;
    let large = args.memory_max.is_some_and(|max| mib(peak_len) > max as f64);
    Ok(if slow || large { ExitCode::FAILURE } else { ExitCode::SUCCESS })
}

/// Runs both backups in processes of their own, with a local repository, and gives the larger peak.
fn measure_memory(args: &Args, engine: &Engine, image: &Path) -> Result<u64> {
    let dir = tempfile::tempdir_in(&args.dir).with_context(|| args.dir.display().to_string())?;
    let (store, key_file) = (dir.path().join("repository"), dir.path().join("key"));
    let driver = connect(&StoreUrl::Local(store.clone()), true)?;
    std::fs::write(&key_file, engine.init(&driver)?)?;
    let mut highest = 0;
    for name in ["initial", "unchanged"] {
        let mut command = Command::new(std::env::current_exe()?);
        command.arg("child").arg(image).arg("--store").arg(&store).arg("--key-file").arg(&key_file);
        let output = command.args(["--threads", &args.threads.to_string()]).output()?;
        ensure!(output.status.success(), "{name}: {}", String::from_utf8_lossy(&output.stderr));
        let text = String::from_utf8(output.stdout)?;
        let (peak, seconds) = text.trim().split_once(' ').context("two numbers of the child")?;
        let peak_len: u64 = peak.parse()?;
        println!("{name:<10} to a local repository: {seconds} s, peak memory {:.0} MiB", mib(peak_len));
        highest = highest.max(peak_len);
    }
    Ok(highest)
}

fn child(image: &Path, store: &Path, key_file: &Path, threads: u8) -> Result<ExitCode> {
    let engine = Engine::new(threads.into(), None)?;
    let driver = connect(&StoreUrl::Local(store.to_owned()), false)?;
    let run = engine.backup(&driver, &std::fs::read_to_string(key_file)?, image)?;
    println!("{} {:.3}", peak_memory_len(), run.rate.time.as_secs_f64());
    Ok(ExitCode::SUCCESS)
}
