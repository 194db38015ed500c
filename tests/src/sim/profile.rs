//! What may happen in a schedule, and how often. Every seed draws its own mixture, so that each kind
//! of trouble is also seen alone.

use super::rng::Rng;
use repository::env::Mutant;
use repository::prune::Pace;
use std::ops::Range;
use std::time::Duration;

/// One second, in the simulator's milliseconds.
pub const SECOND: u64 = 1000;
/// One minute.
pub const MINUTE: u64 = 60 * SECOND;
/// One hour.
pub const HOUR: u64 = 60 * MINUTE;
/// One day.
pub const DAY: u64 = 24 * HOUR;

/// Longest time after which a put lands late or twice: signatures of S3 end after it (A4).
pub const LATE_MAX_MS: u64 = 15 * MINUTE;

/// A mixture. Chances are of a thousand store calls.
#[derive(Debug, Clone)]
pub struct Profile {
    /// How late others see a change, at most; 0 or [`Profile::LAG_MS`].
    pub delta_ms: u64,
    /// Objects that are seen late at all.
    pub lag: u64,
    /// The process ends before or after the call.
    pub crash: u64,
    /// The process is stopped for a while.
    pub stop: u64,
    /// How long, each as likely as the other: up to twice as long.
    pub stops_ms: Vec<u64>,
    /// How long at least: writers, keepers.
    pub stop_least_ms: (u64, u64),
    /// Of a thousand stops, those before the call is sent; the others are when its answer arrives. Writers, keepers.
    pub stop_unsent: (u64, u64),
    /// What a call takes one way at most, in milliseconds: one of these for a process.
    pub latencies_ms: &'static [u64],
    /// The call fails, before or after its effect.
    pub fail: u64,
    /// Keepers' calls fail, too.
    pub fail_keepers: bool,
    /// The call is answered after the caller has given up, or never.
    pub late: u64,
    /// A put or a delete happens twice.
    pub twice: u64,
    /// The store refuses everything to one process for some minutes.
    pub outage: u64,
    /// Names in a page of a listing.
    pub page_len: usize,
    /// Machines that back up.
    pub writers: u64,
    /// Machines that do everything else.
    pub keepers: u64,
    /// Jobs of each machine.
    pub jobs: u64,
    /// Times between jobs are below one of these.
    pub pauses_ms: Vec<u64>,
    /// Volumes of two segments, of a thousand; they cost most of the time.
    pub wide: u64,
    /// Undelete windows of prunes.
    pub windows_ms: Vec<u64>,
    /// How far behind prunes leave things alone.
    pub pace: Pace,
    /// What keepers do, with weights.
    pub chores: Vec<(Chore, u64)>,
    /// Letters of the alphabet, chunks of a volume, names of volumes: fewer meet more often.
    pub letters: u64,
    /// Chunks of a volume at most.
    pub chunks: u64,
    /// Names of volumes.
    pub names: u64,
    /// Every lag is the longest.
    pub full_lag: bool,
    /// Processes stop only after these calls: verb and beginning of the name; anywhere if empty.
    pub stop_at: &'static [(&'static str, &'static str)],
    /// Who stops: `Some(true)` only keepers, `Some(false)` only writers.
    pub stop_keepers: Option<bool>,
    /// Machines and their jobs, if not by chance: who keeps, and when what begins at the earliest.
    pub script: Vec<Part>,
    /// Some backups read only what changed since a snapshot that is there.
    pub ranges: bool,
    /// Volumes of a script say whether they have changed: those that have not are inherited unread.
    pub script_tokens: bool,
    /// The rule that is left out.
    pub mutant: Option<Mutant>,
    /// What of the index is in memory, in bytes, if not all.
    pub index_len: Option<u64>,
}

/// One machine of a script: whether it is a keeper, and its jobs.
pub type Part = (bool, Vec<(Range<u64>, Act)>);

/// A job of a script.
#[derive(Debug, Clone, Copy)]
pub enum Act {
    /// A backup of volumes: names, and letters of their chunks.
    Backup(&'static [(&'static str, &'static str)]),
    /// Something else.
    Do(Chore),
    /// A prune with this undelete window.
    Prune(u64),
}

/// A job of a keeper.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Chore {
    /// Forget a snapshot.
    Forget,
    /// Forget a snapshot even if it is the last of its group.
    ForgetLast,
    /// Prune.
    Prune,
    /// Merge index runs.
    Merge,
    /// Bring a forgotten snapshot back.
    Undelete,
    /// Repair the index.
    Repair,
    /// End a session.
    Drop,
    /// Back up, as writers do.
    Backup,
}

impl Profile {
    /// Delta of stores that have one.
    pub const LAG_MS: u64 = 2 * SECOND;

    /// From a store next door to one behind a bad line.
    pub const LATENCIES_MS: &'static [u64] = &[2, 20, 20, 200, 2000];

    /// The mixture of a seed.
    pub fn draw(rng: &mut Rng) -> Self {
        let delta_ms = rng.pick(&[0, Self::LAG_MS]);
        let some = |rng: &mut Rng, of: &[u64]| if rng.chance(500) { 0 } else { rng.pick(of) };
        Profile {
            delta_ms,
            lag: if delta_ms == 0 { 0 } else { rng.pick(&[50, 300, 900]) },
            crash: some(rng, &[2, 10]),
            stop: some(rng, &[5, 20, 60]),
            stops_ms: stops(rng),
            stop_least_ms: (0, 0),
            stop_unsent: (250, 250),
            latencies_ms: Profile::LATENCIES_MS,
            fail: some(rng, &[5, 30, 100]),
            fail_keepers: true,
            late: some(rng, &[5, 30]),
            twice: some(rng, &[20, 200]),
            outage: some(rng, &[2]),
            page_len: rng.pick(&[2, 5, 1000]),
            writers: 1 + rng.below(3),
            keepers: 1 + rng.below(3),
            jobs: 2 + rng.below(3),
            pauses_ms: rng
                .pick(&[[SECOND, SECOND, SECOND], [SECOND, MINUTE, HOUR], [MINUTE, DAY, 9 * DAY]])
                .to_vec(),
            wide: if rng.chance(100) { 300 } else { 0 },
            windows_ms: rng.pick(&[[0, 0], [DAY, DAY], [HOUR, DAY]]).to_vec(),
            pace: pace(rng),
            chores: vec![
                (Chore::Forget, 3),
                (Chore::ForgetLast, 3),
                (Chore::Prune, 8),
                (Chore::Merge, 2),
                (Chore::Undelete, 1),
                (Chore::Repair, 1),
                (Chore::Drop, 1),
                (Chore::Backup, 2),
            ],
            letters: 6,
            chunks: 4,
            names: 2,
            full_lag: rng.chance(200),
            stop_at: &[],
            stop_keepers: None,
            script: vec![],
            ranges: true,
            script_tokens: false,
            mutant: None,
            index_len: None,
        }
    }

    /// A4 as far as this schedule keeps it: nothing lands after the shortest window.
    pub fn window_ms(&self) -> u64 {
        self.windows_ms.iter().copied().min().unwrap_or(0)
    }
}

fn stops(rng: &mut Rng) -> Vec<u64> {
    match rng.below(4) {
        0 => vec![SECOND],
        1 => vec![SECOND, 3 * SECOND, MINUTE],
        2 => vec![3 * SECOND, HOUR, 2 * DAY],
        _ => vec![3 * SECOND, 2 * DAY, 8 * DAY, 366 * DAY],
    }
}

/// The usual distances, or short ones: what is left alone for a week is met in hours then. Sessions'
/// packs are spared for longer than anything here takes.
fn pace(rng: &mut Rng) -> Pace {
    if rng.chance(300) {
        return Pace::default();
    }
    Pace {
        session_age: Duration::from_millis(rng.pick(&[0, MINUTE, DAY])),
        pending_age: Duration::from_millis(rng.pick(&[MINUTE, DAY])),
        floor_generations: rng.below(3),
        floor_age: Duration::from_millis(rng.pick(&[0, 0, MINUTE])),
        small_runs: usize::try_from(rng.pick(&[0, 1, 3])).unwrap_or(0),
    }
}
