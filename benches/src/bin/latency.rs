//! Backup and restore over a slow line: a real S3 server behind a proxy with latency and bandwidth.

use anyhow::{Context, Result, ensure};
use benches::cpu::Reading;
use benches::line::{Line, LineProxy, Traffic};
use benches::make::{Recipe, default_sources, make};
use benches::process::{Cost, remove_tree, run};
use benches::report::{machine, median, mib};
use benches::s3::Server;
use clap::Parser;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Duration;

/// What issue 5 allows over the bound.
const RATIO_MAX: f64 = 1.2;

/// Time backups to and restores from S3 at 20 and 100 ms and 100 and 1000 Mbit/s, beside the same without a proxy.
#[derive(Parser)]
struct Args {
    /// The program under test.
    #[arg(long, default_value = "target/release/orlop")]
    orlop: PathBuf,
    /// Where the image, the server's objects and the restored file are.
    #[arg(long, default_value = "target/bench")]
    dir: PathBuf,
    /// MiB of the image, seven tenths of it filled.
    #[arg(long, default_value_t = 4096, value_parser = clap::value_parser!(u64).range(256..))]
    mib: u64,
    /// Rounds; each has a run without the proxy and one of each line.
    #[arg(long, default_value_t = 3, value_parser = clap::value_parser!(u8).range(1..))]
    rounds: u8,
    /// Round trips in ms.
    #[arg(long, value_delimiter = ',', default_values_t = [20, 100])]
    rtt: Vec<u64>,
    /// Bandwidths in Mbit/s.
    #[arg(long, value_delimiter = ',', default_values_t = [100, 1000], value_parser = clap::value_parser!(u64).range(1..100_000))]
    mbit: Vec<u64>,
    /// Print each request and answer with the time at which the proxy saw it.
    #[arg(long)]
    trace: bool,
}

/// What a command took, what its line carried, and the processor time that the line took: it is this process.
type Taken = (Cost, Traffic, Duration);

/// A backup and a restore.
#[derive(Clone, Copy)]
struct Sample {
    backup: Taken,
    restore: Taken,
}

struct Bench<'a> {
    args: &'a Args,
    server: &'a Server,
    image: PathBuf,
    work: PathBuf,
    repositories: u32,
}

fn main() -> Result<()> {
    let args = Args::parse();
    println!("{}", machine());
    let dir = std::path::absolute(&args.dir)?;
    let work = dir.join("latency-work");
    remove_tree(&work)?;
    std::fs::create_dir_all(&work).with_context(|| work.display().to_string())?;
    let Some(server) = Server::start(&work)? else {
        println!("SKIPPED: latency: versitygw is not there: dev/versitygw.sh build");
        return Ok(());
    };
    let image = dir.join(format!("latency-{}.img", args.mib));
    if !image.exists() {
        // under another name until it is whole: what is there is used again
        let (part, image_len) = (work.join("image"), args.mib << 20);
        make(&part, &Recipe { image_len, files_len: image_len / 10 * 7, from: default_sources() })?;
        std::fs::rename(&part, &image)?;
    }
    let lines: Vec<Line> =
        args.mbit.iter().flat_map(|mbit| args.rtt.iter().map(|ms| line(*ms, *mbit))).collect();
    let mut bench = Bench { args: &args, server: &server, image, work: work.clone(), repositories: 0 };
    let mut rounds = Vec::new();
    for _ in 0..args.rounds {
        let near = bench.sample(None)?;
        let far = lines.iter().map(|line| bench.sample(Some(*line))).collect::<Result<Vec<_>>>()?;
        rounds.push((near, far));
    }
    print(&lines, &rounds);
    println!("{}", machine());
    drop(server);
    remove_tree(&work)
}

fn line(ms: u64, mbit: u64) -> Line {
    Line { round_trip: Duration::from_millis(ms), bits_per_s: mbit * 1_000_000 }
}

impl Bench<'_> {
    /// A fresh repository, a backup to it, and a restore without a cache.
    fn sample(&mut self, line: Option<Line>) -> Result<Sample> {
        self.repositories += 1;
        let url = format!("s3://{}/r{}", self.server.setting("S3_BUCKET")?, self.repositories);
        let direct = self.server.setting("S3_ENDPOINT")?.to_owned();
        let target = self.work.join("restored");
        let image = self.image.display();
        self.run(&direct, &url, &["init"])?;
        let backup = self.timed(line, &url, &["backup", "--volume", &format!("bench/image={image}")])?;
        let restored = format!("bench/image={}", target.display());
        let restore = self.timed(line, &url, &["restore", "latest", "--volume", &restored])?;
        let same = Command::new("cmp").arg("-s").args([&self.image, &target]).status()?;
        ensure!(same.success(), "{}: not what was backed up", target.display());
        std::fs::remove_file(&target)?;
        Ok(Sample { backup, restore })
    }

    fn timed(&self, line: Option<Line>, url: &str, arguments: &[&str]) -> Result<Taken> {
        let Some(line) = line else {
            let cost = self.run(self.server.setting("S3_ENDPOINT")?, url, arguments)?;
            return Ok((cost, Traffic::default(), Duration::ZERO));
        };
        if self.args.trace {
            println!("{} at {line:?}", arguments.first().copied().unwrap_or_default());
        }
        let proxy = LineProxy::start(self.server.address()?, line, self.args.trace)?;
        let before = Reading::now();
        let cost = self.run(&proxy.endpoint(), url, arguments)?;
        Ok((cost, proxy.traffic(), before.until_now().own))
    }

    fn run(&self, endpoint: &str, url: &str, arguments: &[&str]) -> Result<Cost> {
        let mut command = Command::new(&self.args.orlop);
        command.args(["-r", url, "-q", "--no-cache"]).args(arguments);
        // of a repository that lives for seconds
        command.env("ORLOP_PASSWORD", "latency");
        self.server.configure(&mut command, endpoint)?;
        run(&mut command, &self.log())
    }

    fn log(&self) -> PathBuf {
        Path::new(&self.work).join("log")
    }
}

/// Medians of all rounds; a ratio is the median of each round's own.
fn print(lines: &[Line], rounds: &[(Sample, Vec<Sample>)]) {
    println!(
        "| | RTT ms | Mbit/s | s | s near | MiB up | MiB down | requests | connections | peak MiB | CPU s | CPU s near | CPU s line | bound s | ratio | <= {RATIO_MAX} |"
    );
    println!("|---|---|---|---|---|---|---|---|---|---|---|---|---|---|---|---|");
    type Pick = fn(&Sample) -> Taken;
    let verbs: [(&str, Pick); 2] = [("backup", |sample| sample.backup), ("restore", |sample| sample.restore)];
    for (verb, pick) in verbs {
        for (n, line) in lines.iter().enumerate() {
            let pairs = rounds.iter().filter_map(|(near, far)| Some((pick(near).0, pick(far.get(n)?))));
            let pairs: Vec<(Cost, Taken)> = pairs.collect();
            let middle = |value: &dyn Fn(&Cost, &Cost, &Traffic) -> f64| {
                median(pairs.iter().map(|(near, (far, traffic, _))| value(near, far, traffic)))
            };
            let line_cpu = median(pairs.iter().map(|(_, (_, _, cpu))| cpu.as_secs_f64()));
            let bound = |near: &Cost, traffic: &Traffic| {
                traffic.shortest(*line).max(near.wall).as_secs_f64().max(1e-9)
            };
            let ratio = middle(&|near, far, traffic| far.wall.as_secs_f64() / bound(near, traffic));
            println!(
                "| {verb} | {} | {} | {:.2} | {:.2} | {:.1} | {:.1} | {:.0} | {:.0} | {:.0} | {:.1} | {:.1} | {line_cpu:.1} | {:.2} | {ratio:.2} | {} |",
                line.round_trip.as_millis(),
                line.bits_per_s / 1_000_000,
                middle(&|_, far, _| far.wall.as_secs_f64()),
                middle(&|near, _, _| near.wall.as_secs_f64()),
                middle(&|_, _, traffic| mib(traffic.up)),
                middle(&|_, _, traffic| mib(traffic.down)),
                middle(&|_, _, traffic| traffic.requests as f64),
                middle(&|_, _, traffic| traffic.connections as f64),
                middle(&|_, far, _| mib(far.memory_len)),
                middle(&|_, far, _| far.cpu.as_secs_f64()),
                middle(&|near, _, _| near.cpu.as_secs_f64()),
                middle(&|near, _, traffic| bound(near, traffic)),
                if ratio <= RATIO_MAX { "yes" } else { "no" },
            );
        }
    }
}
