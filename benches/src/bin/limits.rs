//! What this machine can do: the fused loop and the kernels it is made of.

use anyhow::{Context, Result};
use benches::fused::{self, Mode, Run};
use benches::image::Image;
use benches::kernels::{self, Kernel, Pass};
use benches::make::{Recipe, default_sources, make};
use benches::report::{Rate, machine, median, mib};
use benches::{Keys, params};
use clap::Parser;
use std::path::PathBuf;
use std::process::ExitCode;
use std::time::Duration;

/// Measure the loop that the engine is compared with. Fails if the loop itself is slow.
#[derive(Parser)]
struct Args {
    /// An image; one of 2 GiB is made in the directory for temporary files if none is given.
    image: Option<PathBuf>,
    /// Threads of the second column.
    #[arg(long, default_value_t = 2, value_parser = clap::value_parser!(u8).range(1..))]
    threads: u8,
    /// zstd level.
    #[arg(long, default_value_t = 1, allow_negative_numbers = true)]
    level: i32,
    /// Kernels and loop run in turns, so often; medians are shown.
    #[arg(long, default_value_t = 3, value_parser = clap::value_parser!(u8).range(1..))]
    rounds: u8,
    /// Also write packs into this directory and sync them; they are removed afterwards.
    #[arg(long)]
    out: Option<PathBuf>,
    /// The loop must reach this many percent of what its kernels add up to.
    #[arg(long, default_value_t = 90)]
    floor: u8,
}

/// One turn of everything.
struct Round {
    /// All kernels.
    full: Pass,
    /// Those of an unchanged image, without the others' traces in the caches.
    light: Pass,
    initial: Run,
    unchanged: Run,
}

impl Round {
    fn measure(image: &Image, keys: &Keys, threads: usize, level: i32) -> Result<Self> {
        let full = kernels::run(image, keys, threads, Some(level))?;
        let initial = fused::run(image, keys, threads, Mode::Initial { level, out: None })?;
        let light = kernels::run(image, keys, threads, None)?;
        let unchanged = fused::run(image, keys, threads, Mode::Unchanged(&light.page_ids))?;
        Ok(Round { full, light, initial, unchanged })
    }

    fn initial_sum(&self) -> Duration {
        self.full.times.sum(Kernel::in_initial)
    }

    fn unchanged_sum(&self) -> Duration {
        self.light.times.sum(Kernel::in_unchanged)
    }
}

/// All turns with so many threads.
struct Column {
    threads: usize,
    rounds: Vec<Round>,
}

impl Column {
    fn rate(&self, of: impl Fn(&Round) -> Rate) -> Rate {
        let bytes = self.rounds.first().map_or(0, |round| of(round).bytes);
        let time = median(self.rounds.iter().map(|round| of(round).time.as_secs_f64()));
        Rate { bytes, time: Duration::from_secs_f64(time) }
    }

    fn kernel(&self, kernel: Kernel) -> Rate {
        self.rate(|round| round.full.times.of(kernel))
    }

    /// The loop's speed as a part of what its kernels add up to.
    fn share(&self, of: impl Fn(&Round) -> (Duration, Run)) -> f64 {
        median(
            self.rounds.iter().map(of).map(|(sum, run)| sum.as_secs_f64() / run.time.as_secs_f64().max(1e-9)),
        )
    }

    fn head(&self) -> String {
        if self.threads == 1 { "1 thread".into() } else { format!("{} threads", self.threads) }
    }
}

fn main() -> Result<ExitCode> {
    let args = Args::parse();
    println!("{}", machine());
    let path = args.image.clone().map_or_else(default_image, Ok)?;
    let image = Image::open(&path, params()?.segment_len())?;
    let keys = Keys::new()?;
    let mut columns = vec![Column { threads: 1, rounds: vec![] }];
    if args.threads > 1 {
        columns.push(Column { threads: args.threads.into(), rounds: vec![] });
    }
    for _ in 0..args.rounds {
        for column in &mut columns {
            column.rounds.push(Round::measure(&image, &keys, column.threads, args.level)?);
        }
    }
    show(&image, &columns, args.level);
    if let Some(dir) = &args.out {
        show_synced(&image, &keys, &args, dir)?;
    }
    println!("{}", machine());
    Ok(verdict(&columns, f64::from(args.floor) / 100.0))
}

/// An image of 2 GiB that stays for the next time.
fn default_image() -> Result<PathBuf> {
    let path = std::env::temp_dir().join("orlop-bench-2GiB.img");
    if !path.exists() {
        println!("making {}", path.display());
        let recipe = Recipe { image_len: 2 << 30, files_len: 1434 << 20, from: default_sources() };
        make(&path, &recipe).context("no image given, and none could be made")?;
    }
    Ok(path)
}

fn show(image: &Image, columns: &[Column], level: i32) {
    if let Some(round) = columns.first().and_then(|column| column.rounds.first()) {
        let run = &round.initial;
        println!(
            "{:.0} MiB image, {:.0} MiB read, {:.0} MiB new, {:.0} MiB stored in {} packs, zstd level {level}",
            mib(image.byte_len()),
            mib(run.read_len),
            mib(run.new_len),
            mib(run.stored_len),
            run.pack_count
        );
    }
    let line = |name: &str, of: &dyn Fn(&Column) -> Rate| {
        let cells: Vec<String> = columns.iter().map(|column| of(column).to_string()).collect();
        println!("{name:<28}{}", cells.join("   "));
    };
    let heads: Vec<String> = columns.iter().map(|column| format!("{:>21}", column.head())).collect();
    println!("{:<28}{}", "", heads.join("   "));
    for kernel in Kernel::ALL {
        line(kernel.name(), &|column| column.kernel(kernel));
    }
    let read = |run: Run| Rate { bytes: run.read_len, time: run.time };
    let sum = |run: Run, time| Rate { bytes: run.read_len, time };
    line("initial: sum of kernels", &|column| column.rate(|round| sum(round.initial, round.initial_sum())));
    line("initial: fused", &|column| column.rate(|round| read(round.initial)));
    line("unchanged: sum of kernels", &|column| {
        column.rate(|round| sum(round.unchanged, round.unchanged_sum()))
    });
    line("unchanged: fused", &|column| column.rate(|round| read(round.unchanged)));
}

fn show_synced(image: &Image, keys: &Keys, args: &Args, parent: &std::path::Path) -> Result<()> {
    let mut times = Vec::new();
    let mut read_len = 0;
    for _ in 0..args.rounds {
        let dir = tempfile::tempdir_in(parent).with_context(|| parent.display().to_string())?;
        let mode = Mode::Initial { level: args.level, out: Some(dir.path()) };
        let run = fused::run(image, keys, args.threads.into(), mode)?;
        times.push(run.time.as_secs_f64());
        read_len = run.read_len;
    }
    let rate = Rate { bytes: read_len, time: Duration::from_secs_f64(median(times)) };
    println!("{:<28}{rate} with {} threads", "initial: written and synced", args.threads);
    Ok(())
}

fn verdict(columns: &[Column], floor: f64) -> ExitCode {
    let mut code = ExitCode::SUCCESS;
    for column in columns {
        let initial = column.share(|round| (round.initial_sum(), round.initial));
        let unchanged = column.share(|round| (round.unchanged_sum(), round.unchanged));
        for (name, share) in [("initial", initial), ("unchanged", unchanged)] {
            let slow = share < floor;
            let word = if slow { "FAILED: the loop is slower than its kernels allow" } else { "ok" };
            println!(
                "{}, {name}: {:.0} % of what its kernels add up to: {word}",
                column.head(),
                share * 100.0
            );
            if slow {
                code = ExitCode::FAILURE;
            }
        }
    }
    code
}
