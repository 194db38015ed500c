//! Makes a file system image of real files, without root.

use anyhow::{Result, ensure};
use benches::make::{Recipe, default_sources, make};
use benches::report::mib;
use clap::Parser;
use std::os::unix::fs::MetadataExt;
use std::path::PathBuf;

/// Make an ext4 image of files that are on this machine, and a SQLite database.
#[derive(Parser)]
struct Args {
    /// The image; replaced if it exists.
    out: PathBuf,
    /// Size of the image in MiB, as 2GiB or 2048MiB.
    #[arg(long, default_value = "2GiB", value_parser = parse_size)]
    size: u64,
    /// How much of the image is filled, in percent.
    #[arg(long, default_value_t = 70, value_parser = clap::value_parser!(u64).range(1..=90))]
    fill: u64,
    /// Directories to take files from; /usr/share, /usr/lib and the Rust toolchain if none is given.
    #[arg(long, num_args = 1..)]
    from: Vec<PathBuf>,
}

/// Whole MiB or GiB.
fn parse_size(text: &str) -> Result<u64, String> {
    let (number, shift) = match (text.strip_suffix("GiB"), text.strip_suffix("MiB")) {
        (Some(number), _) => (number, 30),
        (_, Some(number)) => (number, 20),
        _ => return Err("a number with MiB or GiB expected".into()),
    };
    let number: u64 = number.trim().parse().map_err(|_| "a whole number expected".to_owned())?;
    if (1..=1 << 12).contains(&number) { Ok(number << shift) } else { Err("1 to 4096 expected".into()) }
}

fn main() -> Result<()> {
    let args = Args::parse();
    let from = if args.from.is_empty() { default_sources() } else { args.from };
    ensure!(!from.is_empty(), "no directory to take files from: give some by --from");
    let recipe = Recipe { image_len: args.size, files_len: args.size / 100 * args.fill, from };
    for used in make(&args.out, &recipe)? {
        println!("{:>8.1} MiB in {:>6} files  {}", mib(used.len), used.count, used.what);
    }
    let data = std::fs::metadata(&args.out)?;
    let shown = args.out.display();
    println!("{:>8.1} MiB, {:.1} MiB of them on disk: {shown}", mib(data.len()), mib(data.blocks() * 512));
    Ok(())
}
