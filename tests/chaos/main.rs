//! Chaos: the shipped command on real servers, as a crowd of processes that overtake and kill each other.
//!
//! Eight writers, two pruners (one where the store allows no more), forgets by rule and by name, undeletes and listings work on one repository until a deadline;
//! a part of all processes ends by `kill -9` at a drawn moment. Then everything stands still, and the verdict
//! is given: every snapshot that was committed and not let go is listed and restores to the very bytes, all content
//! checks, no command has ended in a way that it must not, and what prune made sessions upload again is little.
//!
//! Choices are drawn from a seed (`ORLOP_CHAOS_SEED`, printed); what the machine makes of them is its own. No verdict
//! depends on speed: a slow machine does less until the deadline. `ORLOP_CHAOS_SECONDS` is how long the crowd works
//! on each server: 10 in `make test`, 600 in `make chaos`.

mod crew;
mod dice;
mod ends;
mod image;
mod ledger;
mod verdict;
mod world;

use std::sync::{Mutex, PoisonError};
use std::time::{Duration, Instant};
use tests::servers::{Kind, S3Server};
use world::World;

/// How long the crowd works where nothing else is said.
const SECONDS: u64 = 10;
/// The crowd stands still for a verdict this often.
const EPOCH: Duration = Duration::from_secs(60);
/// Less than this many uploaded bytes are too few to say anything of a share of one percent: a single
/// overtaken session would decide.
const SAMPLE_LEN: u64 = 256 << 20;

fn number(name: &str) -> Option<u64> {
    std::env::var(name)
        .ok()
        .map(|text| text.parse().unwrap_or_else(|_| panic!("{name}={text}: not a number")))
}

fn chaos(kind: Kind) {
    // one crowd at a time
    static TURN: Mutex<()> = Mutex::new(());
    let _turn = TURN.lock().unwrap_or_else(PoisonError::into_inner);
    let Ok(server) = S3Server::start(kind) else { return };
    let seed = number("ORLOP_CHAOS_SEED").unwrap_or_else(|| u64::from(std::process::id()));
    let time = Duration::from_secs(number("ORLOP_CHAOS_SECONDS").unwrap_or(SECONDS));
    println!("{}: seed {seed}, {} s, {}", kind.name(), time.as_secs(), tests::binary::orlop().display());
    let world = World::new(&server, seed);
    let (end, mut epoch) = (Instant::now() + time, 0);
    while Instant::now() < end {
        crew::work(&world, epoch, end.min(Instant::now() + EPOCH));
        verdict::give(&world);
        epoch += 1;
    }
    verdict::prune(&world);
    verdict::give(&world);
    println!("{}: {}", kind.name(), world.tally());
    verdict::little_again(&world.tally(), SAMPLE_LEN);
}

#[test]
fn on_versitygw() {
    chaos(Kind::Versitygw);
}

#[test]
fn on_minio() {
    chaos(Kind::Minio);
}

/// A store that ignores put-if-absent.
#[test]
fn on_s3rver() {
    chaos(Kind::S3rver);
}
