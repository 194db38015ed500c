//! How near the engine comes to the fused loop, and how much memory it takes.

use anyhow::{Context, Result, ensure};
use benches::cpu::{Reading, Usage};
use benches::engine::Engine;
use benches::fused::{self, Kept, Mode};
use benches::image::Image;
use benches::report::{Rate, machine, median, mib, peak_memory_len};
use benches::unpack::Plan;
use benches::{Keys, kernels, params};
use clap::{Parser, Subcommand, ValueEnum};
use repo_format::Id;
use repository::store::{Driver, StoreUrl, connect};
use std::path::{Path, PathBuf};
use std::process::{Command, ExitCode};
use std::sync::Arc;

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
    /// What is compared; all of it if none is named.
    #[arg(long = "case", value_enum)]
    cases: Vec<Case>,
    /// Where restored images go, for a moment: in memory, since a disk would be measured instead.
    #[arg(long, default_value = "/dev/shm")]
    restore_dir: PathBuf,
    /// Where local repositories are made; removed afterwards.
    #[arg(long, default_value_os_t = std::env::temp_dir())]
    dir: PathBuf,
    /// Fail if a median is below this many percent of the loop.
    #[arg(long, default_value_t = 0)]
    floor: u8,
    /// Fail if the engine's peak memory is above this many MiB.
    #[arg(long)]
    memory_max: Option<u64>,
}

/// A backup or a restore that both can do.
#[derive(Clone, Copy, PartialEq, Eq, ValueEnum)]
enum Case {
    /// All is new, to a store in memory.
    Initial,
    /// All is read again, and nothing is new.
    Unchanged,
    /// All is new, to a local store: packs are written and synced.
    Local,
    /// From a store in memory to a file.
    Restore,
}

impl Case {
    fn name(self) -> &'static str {
        match self {
            Case::Initial => "initial",
            Case::Unchanged => "unchanged",
            Case::Local => "local",
            Case::Restore => "restore",
        }
    }
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

/// What glibc's allocator is told: memory that was touched stays with the process. A store in memory keeps whole packs;
/// without this the first touch of each of its pages, which takes as long as to seal it, would be measured as the engine's.
const ALLOCATOR: [(&str, &str); 3] = [
    ("MALLOC_ARENA_MAX", "1"),
    ("MALLOC_MMAP_THRESHOLD_", "4294967296"),
    ("MALLOC_TRIM_THRESHOLD_", "17179869184"),
];
/// Runs of each case before those that count: memory is touched, files are in the page cache.
const WARM_UPS: usize = 2;

fn main() -> Result<ExitCode> {
    let args = Args::parse();
    let is_told = ALLOCATOR.iter().all(|(name, _)| std::env::var_os(name).is_some());
    if args.child.is_none() && !is_told {
        let mut again = Command::new(std::env::current_exe()?);
        again.args(std::env::args_os().skip(1)).envs(ALLOCATOR);
        let code = again.status()?.code().and_then(|code| u8::try_from(code).ok());
        return Ok(code.map_or(ExitCode::FAILURE, ExitCode::from));
    }
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

/// Runs of one case, loop and engine side by side.
struct Pairs {
    case: Case,
    name: &'static str,
    noise_max: f64,
    quiet: Vec<(Sample, Sample)>,
}

impl Pairs {
    fn new(case: Case, noise_max: u8) -> Self {
        Pairs { case, name: case.name(), noise_max: f64::from(noise_max) / 100.0, quiet: vec![] }
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

/// Each case by both.
struct Compared<'a> {
    args: &'a Args,
    path: &'a Path,
    image: Image,
    keys: Keys,
    engine: Engine,
    threads: usize,
    page_ids: Vec<Id>,
    kept: Kept,
    /// A repository that holds the image.
    store: Arc<dyn Driver>,
    key: String,
}

impl<'a> Compared<'a> {
    fn new(args: &'a Args, path: &'a Path) -> Result<Self> {
        let threads = usize::from(args.threads);
        let (image, keys) = (Image::open(path, params()?.segment_len())?, Keys::new()?);
        let page_ids = kernels::run(&image, &keys, threads, None)?.page_ids;
        let engine = Engine::new(threads, None)?;
        let restores = args.wants(Case::Restore);
        let kept = match restores {
            true => fused::run_kept(&image, &keys, threads, Mode::Kept { level: 1 })?.1,
            false => Kept::default(),
        };
        let store = engine.memory_store();
        let key = engine.init(&store)?;
        if restores || args.wants(Case::Unchanged) {
            engine.backup(&store, &key, path)?;
        }
        Ok(Compared { args, path, image, keys, engine, threads, page_ids, kept, store, key })
    }

    fn fused(&self, mode: Mode<'_>) -> Result<Sample> {
        Sample::take(|| {
            let run = fused::run(&self.image, &self.keys, self.threads, mode)?;
            Ok(Rate { bytes: run.read_len, time: run.time })
        })
    }

    fn pair(&self, case: Case) -> Result<(Sample, Sample)> {
        let (limit, engine) = match case {
            Case::Initial => {
                let limit = self.fused(Mode::Initial { level: 1, out: None })?;
                let store = self.engine.memory_store();
                let key = self.engine.init(&store)?;
                (limit, Sample::take(|| Ok(self.engine.backup(&store, &key, self.path)?.rate))?)
            }
            Case::Unchanged => {
                let limit = self.fused(Mode::Unchanged(&self.page_ids))?;
                let mut new_len = 0;
                let engine = Sample::take(|| {
                    let run = self.engine.backup(&self.store, &self.key, self.path)?;
                    new_len = run.report.bytes_new;
                    Ok(run.rate)
                })?;
                ensure!(new_len < 1 << 16, "an unchanged image gave {new_len} new bytes");
                (limit, engine)
            }
            Case::Local => self.local()?,
            Case::Restore => self.restore()?,
        };
        ensure!(limit.rate.bytes == engine.rate.bytes, "engine and loop did not do the same");
        Ok((limit, engine))
    }

    fn local(&self) -> Result<(Sample, Sample)> {
        let folder = || {
            let dir = &self.args.dir;
            tempfile::tempdir_in(dir).with_context(|| dir.display().to_string())
        };
        let out = folder()?;
        let limit = self.fused(Mode::Initial { level: 1, out: Some(out.path()) })?;
        drop(out);
        let dir = folder()?;
        let store = connect(&StoreUrl::Local(dir.path().join("repository")), true)?;
        let key = self.engine.init(&store)?;
        Ok((limit, Sample::take(|| Ok(self.engine.backup(&store, &key, self.path)?.rate))?))
    }

    fn restore(&self) -> Result<(Sample, Sample)> {
        let dir = &self.args.restore_dir;
        let dir = tempfile::tempdir_in(dir).with_context(|| dir.display().to_string())?;
        let (first, second) = (dir.path().join("fused"), dir.path().join("engine"));
        let plan = Plan::new(&self.kept, params()?.segment_len(), self.image.byte_len());
        let limit = Sample::take(|| plan.restore(&self.keys, self.threads, &first))?;
        ensure!(same(&first, self.path)?, "the loop restored another image");
        std::fs::remove_file(&first)?;
        let engine = Sample::take(|| self.engine.restore(&self.store, &self.key, &second))?;
        ensure!(same(&second, self.path)?, "the engine restored another image");
        Ok((limit, engine))
    }
}

fn same(one: &Path, other: &Path) -> Result<bool> {
    Ok(Command::new("cmp").arg("-s").args([one, other]).status()?.success())
}

impl Args {
    fn wants(&self, case: Case) -> bool {
        self.cases.is_empty() || self.cases.contains(&case)
    }
}

fn compare(args: &Args, path: &Path) -> Result<ExitCode> {
    println!("{}", machine());
    let compared = Compared::new(args, path)?;
    let cases = Case::value_variants().iter().filter(|case| args.wants(**case));
    let mut all: Vec<Pairs> = cases.map(|case| Pairs::new(*case, args.noise_max)).collect();
    let wanted = usize::from(args.runs);
    for pairs in &all {
        for _ in 0..WARM_UPS {
            compared.pair(pairs.case)?;
        }
    }
    for _ in 0..4 * wanted {
        for pairs in all.iter_mut().filter(|pairs| pairs.quiet.len() < wanted) {
            let (limit, engine) = compared.pair(pairs.case)?;
            pairs.push(limit, engine);
        }
    }
    let mut failed = false;
    for pairs in &all {
        pairs.show();
        if pairs.quiet.len() < wanted {
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
        for (name, _) in ALLOCATOR {
            command.env_remove(name);
        }
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
