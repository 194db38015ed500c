//! A deterministic simulator: machines that back up, forget, prune and repair one repository at once,
//! over a store that fails, is late and forgets, in an order that one seed decides.
//!
//! The engine is the real one, in its inline mode; the bytes are real. Only time, randomness, the
//! store and the order of things are the simulator's. See `docs/simulator.md`.

mod content;
pub mod hunt;
mod jobs;
mod objects;
mod oracle;
mod process;
pub mod profile;
pub mod rng;
mod schedule;
mod trace;
mod world;

pub use schedule::{Report, Schedule};

use futures::FutureExt;
use objects::Objects;
use process::{SimClock, SimDriver};
use profile::Profile;
use repo_format::config::Chunking;
use repo_format::kdf::Secret;
use repo_format::keys::slot::KdfParams;
use repository::env::Random;
use repository::init::{InitOptions, init};
use repository::{Credential, Env, Exec};
use rng::Rng;
use std::sync::{Arc, Mutex, OnceLock, PoisonError};
use trace::Trace;
use world::{Shared, World};

/// When every schedule begins, Unix milliseconds.
pub const EPOCH_MS: u64 = 1_790_000_000_000;

/// A fresh repository that every schedule starts from.
struct Base {
    objects: Objects,
    owner: Credential,
    kdf_cost: KdfParams,
}

/// The base with this delta, made once.
fn base(delta_ms: u64) -> Arc<Base> {
    static BASES: [OnceLock<Arc<Base>>; 2] = [OnceLock::new(), OnceLock::new()];
    BASES[usize::from(delta_ms > 0)].get_or_init(|| Arc::new(make_base(delta_ms))).clone()
}

fn make_base(delta_ms: u64) -> Base {
    let mut rng = Rng::new(delta_ms);
    let profile = Profile { delta_ms, ..Profile::draw(&mut rng) };
    let world = Shared::new(World::new(Objects::default(), profile, rng.clone(), Trace::default()));
    let kdf_cost = KdfParams { m_kib: 8, t: 1, p: 1 };
    let env = Env {
        clock: Arc::new(SimClock { world: world.clone(), skew_ms: 0 }),
        random: Arc::new(SeededRandom::new(rng)),
        kdf_cost,
        mutant: None,
    };
    let owner = Credential::KeyFile(Secret::new([0x0e; 32]));
    let chunking = Chunking::fixed(content::CHUNK_BLOCKS).expect("a chunk size");
    let options = InitOptions { credential: Some(owner.clone()), label: "owner".into(), chunking };
    let driver = Arc::new(SimDriver::outside(&world));
    let made = init(driver, &Exec::inline(), &env, options).now_or_never();
    made.expect("nothing waits").expect("a repository");
    let objects = world.lock().store.clone();
    Base { objects, owner, kdf_cost }
}

struct SeededRandom(Mutex<Rng>);

impl SeededRandom {
    fn new(rng: Rng) -> Self {
        SeededRandom(Mutex::new(rng))
    }
}

impl Random for SeededRandom {
    fn fill(&self, out: &mut [u8]) -> std::io::Result<()> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).fill(out);
        Ok(())
    }
}
