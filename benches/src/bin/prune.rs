//! Measures prune: beside restic's, beside a backup, and its memory.

use anyhow::{Context, Result, ensure};
use benches::cpu::Reading;
use benches::process::{Cost, Running, run};
use benches::prune::{Case, Orlop, Program, Restic, Shape, Subject, once};
use benches::report::{machine, median, mib, peak_memory_len};
use benches::synthetic::{Layout, Source};
use clap::{Parser, Subcommand};
use std::io::Write;
use std::path::{Path, PathBuf};

/// Measure what prune takes.
#[derive(Parser)]
struct Args {
    /// The program under test.
    #[arg(long, default_value = "target/release/orlop")]
    orlop: PathBuf,
    /// Prune by the engine alone instead, as a process of this program.
    #[arg(long)]
    engine: bool,
    /// Where repositories are made and kept: some 20 GB for a million chunks.
    #[arg(long, default_value = "target/bench")]
    dir: PathBuf,
    #[command(subcommand)]
    what: What,
}

#[derive(Subcommand)]
enum What {
    /// Prune a repository by the engine alone.
    Once {
        /// A folder.
        repository: PathBuf,
        /// The file with its key.
        key: PathBuf,
        /// MiB that it may hold by its own account, if not the default.
        #[arg(long)]
        memory: Option<u64>,
    },
    /// Prune a million chunks, and restic's million files, in turns.
    Compare {
        /// restic.
        #[arg(long)]
        restic: PathBuf,
        /// Chunks, and files.
        #[arg(long, default_value_t = 1_000_000)]
        chunks: u64,
        /// Runs of each; the median counts.
        #[arg(long, default_value_t = 5)]
        rounds: usize,
    },
    /// Back up alone and beside a prune, in turns.
    Beside {
        /// Chunks.
        #[arg(long, default_value_t = 1_000_000)]
        chunks: u64,
        /// Runs of each.
        #[arg(long, default_value_t = 5)]
        rounds: usize,
        /// MiB that are backed up.
        #[arg(long, default_value_t = 2048)]
        mib: u64,
        /// How chunks that die lie in packs: scattered ones make prune copy.
        #[arg(long, value_enum, default_value_t = Layout::Clustered)]
        layout: Layout,
        /// Their share, in percent.
        #[arg(long, default_value_t = 20)]
        dead: u64,
    },
    /// The most memory that prune holds; the repository is made for it, and removed.
    Memory {
        /// Chunks.
        #[arg(long, default_value_t = 100_000_000)]
        chunks: u64,
        /// How chunks that die lie in packs.
        #[arg(long, value_enum, default_value_t = Layout::Scattered)]
        layout: Layout,
        /// Their share, in percent. Packs are copied if more than a quarter of them is dead.
        #[arg(long, default_value_t = 40)]
        dead: u64,
        /// Keep the repository for the next time.
        #[arg(long)]
        keep: bool,
    },
}

fn main() -> Result<()> {
    let args = Args::parse();
    if let What::Once { repository, key, memory } = &args.what {
        let report = once(repository, key, memory.map(|mib| mib << 20))?;
        println!(
            "{} packs condemned, {} deleted, {} bytes repacked, {} runs written; lost: {:?}; {:?}",
            report.packs_condemned,
            report.packs_deleted,
            report.bytes_repacked,
            report.runs_written,
            report.lost,
            report.warnings
        );
        println!("{} bytes at most", peak_memory_len());
        return Ok(());
    }
    std::fs::create_dir_all(&args.dir).with_context(|| args.dir.display().to_string())?;
    println!("{}", machine());
    match &args.what {
        What::Once { .. } => Ok(()),
        What::Compare { restic, chunks, rounds } => compare(&args, restic, *chunks, *rounds),
        What::Beside { chunks, rounds, mib, layout, dead } => {
            beside(&args, *chunks, *rounds, *mib, *layout, *dead)
        }
        What::Memory { chunks, layout, dead, keep } => memory(&args, *chunks, *layout, *dead, *keep),
    }
}

impl Args {
    fn program(&self) -> Program {
        Program { path: self.orlop.clone(), is_engine: self.engine }
    }
}

fn show(who: &str, costs: &[Cost]) {
    let middle = |pick: fn(&Cost) -> f64| median(costs.iter().map(pick));
    println!(
        "  {who:<20} wall {:>7.3} s   CPU {:>7.2} s   peak {:>5.0} MiB   wall of each: {}",
        middle(|cost| cost.wall.as_secs_f64()),
        middle(|cost| cost.cpu.as_secs_f64()),
        middle(|cost| mib(cost.memory_len)),
        costs.iter().map(|cost| format!("{:.2}", cost.wall.as_secs_f64())).collect::<Vec<_>>().join(" ")
    );
}

fn compare(args: &Args, restic: &Path, chunks: u64, rounds: usize) -> Result<()> {
    let orlop = Orlop::new(&args.program(), &args.dir, Shape::beside_restic(chunks))?;
    let restic = Restic::new(restic, &args.dir, chunks)?;
    let subjects: [&dyn Subject; 2] = [&orlop, &restic];
    for case in Case::ALL {
        let mut costs = [Vec::new(), Vec::new()];
        let mut others: Vec<f64> = Vec::new();
        for round in 0..rounds {
            for (subject, costs) in subjects.iter().zip(&mut costs) {
                subject.prepare(case)?;
                let before = subject.packs()?;
                let reading = Reading::now();
                let cost = subject.prune()?;
                let ours = cost.cpu.as_secs_f64() / cost.wall.as_secs_f64() / 2.0;
                others.push((reading.until_now().others - ours).max(0.0));
                costs.push(cost);
                if round == 0 {
                    let after = subject.packs()?;
                    let share = after.1 as f64 / before.1 as f64 * 100.0;
                    println!(
                        "  {} {}: {} packs, then {}; {share:.1} % of the bytes stay",
                        subject.name(),
                        case.text(),
                        before.0,
                        after.0
                    );
                    ensure!((share < 90.0) == (case == Case::Dead), "that is not what was to be pruned");
                }
            }
        }
        println!("{}, {chunks} chunks:", case.text());
        for (subject, costs) in subjects.iter().zip(&costs) {
            show(subject.name(), costs);
        }
        let ratios = costs[1]
            .iter()
            .zip(&costs[0])
            .map(|(theirs, ours)| theirs.wall.as_secs_f64() / ours.wall.as_secs_f64());
        println!(
            "  restic takes {:.1} times as long (median of the pairs); others had {:.0} % of the CPUs",
            median(ratios),
            median(others) * 100.0
        );
    }
    Ok(())
}

/// An image that no part of which is in the repository.
fn image(folder: &Path, mib: u64) -> Result<PathBuf> {
    let path = folder.join(format!("image-{mib}"));
    let made = path.with_extension("unfinished");
    if !path.exists() {
        let mut file = std::fs::File::create(&made)?;
        let (source, mut buffer) = (Source::new(2), vec![0; 1 << 20]);
        for n in 0..mib {
            source.fill(n, &mut buffer);
            file.write_all(&buffer)?;
        }
        file.sync_all()?;
        std::fs::rename(&made, &path)?;
    }
    // into the page cache
    std::io::copy(&mut std::fs::File::open(&path)?, &mut std::io::sink())?;
    Ok(path)
}

fn beside(args: &Args, chunks: u64, rounds: usize, mib: u64, layout: Layout, dead: u64) -> Result<()> {
    let shape = Shape { layout, dead_percent: dead, ..Shape::beside_restic(chunks) };
    let orlop = Orlop::new(&args.program(), &args.dir, shape)?;
    let volume = format!("bench/image={}", image(&args.dir, mib)?.display());
    let arguments = ["backup", "--volume", &volume, "--force-read"];
    let (mut alone, mut beside, mut prunes, mut overlaps) = (Vec::new(), Vec::new(), Vec::new(), Vec::new());
    for _ in 0..rounds {
        orlop.prepare(Case::Dead)?;
        alone.push(run(&mut orlop.command(&arguments), &orlop.log())?);
        orlop.prepare(Case::Dead)?;
        let backup = Running::start(&mut orlop.command(&arguments), &orlop.log())?;
        std::thread::sleep(std::time::Duration::from_millis(300));
        let prune = Running::start(&mut orlop.prune_command()?, &args.dir.join("prune.log"))?;
        let (backup, prune) = std::thread::scope(|scope| {
            let prune = scope.spawn(|| prune.finish());
            (backup.finish(), prune.join())
        });
        let prune = prune.map_err(|_| anyhow::anyhow!("a thread panicked"))??;
        let backup = backup?;
        overlaps.push(prune.wall.as_secs_f64() / backup.wall.as_secs_f64());
        beside.push(backup);
        prunes.push(prune);
        run(&mut orlop.command(&["check"]), &orlop.log())?;
    }
    println!("backup of {mib} MiB into {chunks} chunks, and a prune of {dead} % dead ones, {layout:?}:");
    show("backup alone", &alone);
    show("backup beside prune", &beside);
    show("prune", &prunes);
    let slower =
        alone.iter().zip(&beside).map(|(alone, beside)| beside.wall.as_secs_f64() / alone.wall.as_secs_f64());
    println!(
        "  slowed by {:.1} % (median of the pairs); prune took {:.0} % of the backup's time; none failed, every repository checked clean",
        (median(slower) - 1.0) * 100.0,
        median(overlaps) * 100.0
    );
    Ok(())
}

fn memory(args: &Args, chunks: u64, layout: Layout, dead: u64, keep: bool) -> Result<()> {
    let shape = Shape { chunks, chunk_len: 1, layout, dead_percent: dead, packs_per_run: 0 };
    let orlop = Orlop::new(&args.program(), &args.dir, shape)?;
    for case in Case::ALL {
        orlop.prepare(case)?;
        let cost = orlop.prune()?;
        println!("{}, {chunks} chunks of 1 byte, {dead} % dead, {layout:?}:", case.text());
        show("orlop", &[cost]);
        print!("{}", std::fs::read_to_string(orlop.log())?);
    }
    if keep { Ok(()) } else { orlop.remove() }
}
