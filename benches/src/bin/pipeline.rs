//! How near the engine comes to the fused loop, and how much memory it takes.

use anyhow::{Context, Result, ensure};
use benches::cpu::{Reading, Usage};
use benches::engine::Engine;
use benches::fused::{self, Mode};
use benches::image::Image;
use benches::report::{Rate, machine, median, mib, peak_memory_len};
use benches::{Keys, kernels, params};
use clap::{Parser, Subcommand};
use repo_format::Id;
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
    /// Pairs of runs that count.
    #[arg(long, default_value_t = 5, value_parser = clap::value_parser!(u8).range(1..))]
    runs: u8,
    /// A pair during which others used more than this many percent of the processors does not count; up to
    /// four times as many pairs are run to get enough of them.
    #[arg(long, default_value_t = 10)]
    noise_max: u8,
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

/// One run of either.
#[derive(Clone, Copy)]
struct Sample {
    rate: Rate,
    usage: Usage,
}

impl Sample {
    fn take(run: impl FnOnce() -> Result<Rate>) -> Result<Self> {
        let start = Reading::now();
        let rate = run()?;
        Ok(Sample { rate, usage: start.until_now() })
    }

    fn show(&self) -> String {
        format!("{}, {:.2} s of CPU", self.rate, self.usage.own.as_secs_f64())
    }
}

/// Runs of one kind of backup, loop and engine side by side.
struct Pairs {
    name: &'static str,
    noise_max: f64,
    quiet: Vec<(Sample, Sample)>,
}

impl Pairs {
    fn new(name: &'static str, noise_max: u8) -> Self {
        Pairs { name, noise_max: f64::from(noise_max) / 100.0, quiet: vec![] }
    }

    fn push(&mut self, limit: Sample, engine: Sample) {
        let noise = limit.usage.others.max(engine.usage.others);
        let counts = if noise > self.noise_max { " (not counted)" } else { "" };
        println!(
            "{:<10} fused {}   engine {}   {:>5.1} %   others {:.0} %{counts}",
            self.name,
            limit.show(),
            engine.show(),
            ratio((limit, engine)) * 100.0,
            noise * 100.0
        );
        if counts.is_empty() {
            self.quiet.push((limit, engine));
        }
    }

    /// The median of the pairs' ratios.
    fn ratio(&self) -> f64 {
        median(self.quiet.iter().copied().map(ratio))
    }

    fn show(&self) {
        let middle = |of: &dyn Fn(&(Sample, Sample)) -> f64| median(self.quiet.iter().map(of));
        println!(
            "{:<10} median of {} pairs: fused {:.2} GB/s, engine {:.2} GB/s, {:.1} % of the loop",
            self.name,
            self.quiet.len(),
            middle(&|(limit, _)| limit.rate.gb_per_s()),
            middle(&|(_, engine)| engine.rate.gb_per_s()),
            self.ratio() * 100.0
        );
    }
}

/// The engine's speed as a part of the loop's.
fn ratio((limit, engine): (Sample, Sample)) -> f64 {
    limit.rate.time.as_secs_f64() / engine.rate.time.as_secs_f64().max(1e-9)
}

/// One backup of each kind by both.
struct Compared<'a> {
    path: &'a Path,
    image: Image,
    keys: Keys,
    engine: Engine,
    threads: usize,
    page_ids: Vec<Id>,
}

impl Compared<'_> {
    fn fused(&self, mode: Mode<'_>) -> Result<Sample> {
        Sample::take(|| {
            let run = fused::run(&self.image, &self.keys, self.threads, mode)?;
            Ok(Rate { bytes: run.read_len, time: run.time })
        })
    }

    fn pair(&self, initial: &mut Pairs, unchanged: &mut Pairs) -> Result<()> {
        let limit = self.fused(Mode::Initial { level: 1, out: None })?;
        let store = self.engine.memory_store();
        let key = self.engine.init(&store)?;
        let first = Sample::take(|| Ok(self.engine.backup(&store, &key, self.path)?.rate))?;
        ensure!(first.rate.bytes == limit.rate.bytes, "engine and loop read different amounts");
        initial.push(limit, first);
        let limit = self.fused(Mode::Unchanged(&self.page_ids))?;
        let mut new_len = 0;
        let second = Sample::take(|| {
            let run = self.engine.backup(&store, &key, self.path)?;
            new_len = run.report.bytes_new;
            Ok(run.rate)
        })?;
        ensure!(new_len < 1 << 16, "an unchanged image gave {new_len} new bytes");
        unchanged.push(limit, second);
        Ok(())
    }
}

fn compare(args: &Args, path: &Path) -> Result<ExitCode> {
    println!("{}", machine());
    let threads = usize::from(args.threads);
    let (image, keys) = (Image::open(path, params()?.segment_len())?, Keys::new()?);
    let page_ids = kernels::run(&image, &keys, threads, None)?.page_ids;
    let compared = Compared { path, image, keys, engine: Engine::new(threads, None)?, threads, page_ids };
    let (mut initial, mut unchanged) =
        (Pairs::new("initial", args.noise_max), Pairs::new("unchanged", args.noise_max));
    let wanted = usize::from(args.runs);
    let enough = |pairs: &Pairs| pairs.quiet.len() >= wanted;
    for _ in 0..4 * wanted {
        if enough(&initial) && enough(&unchanged) {
            break;
        }
        compared.pair(&mut initial, &mut unchanged)?;
    }
    let mut failed = false;
    for pairs in [&initial, &unchanged] {
        pairs.show();
        if !enough(pairs) {
            println!("{:<10} the machine is too busy: {wanted} quiet pairs wanted", pairs.name);
            failed = true;
        }
        failed |= pairs.ratio() * 100.0 < f64::from(args.floor);
    }
    let peak_len = measure_memory(args, &compared.engine, path)?;
    failed |= args.memory_max.is_some_and(|max| mib(peak_len) > max as f64);
    println!("{}", machine());
    Ok(if failed { ExitCode::FAILURE } else { ExitCode::SUCCESS })
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
