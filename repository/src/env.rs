//! Everything ambient is injected: clock, randomness, the cost of passwords.
//!
//! The engine asks [`Env`] and nothing else, so that a seeded environment makes a run
//! reproducible to the byte.

use crate::{Error, Result};
use repo_format::keys::slot::KdfParams;
use repo_format::{PackId, SnapshotId};
use std::sync::Arc;
use std::time::Duration;

/// Wall clock and stop watch.
pub trait Clock: Send + Sync {
    /// Unix time in milliseconds. Orders snapshots for people; safety never rests on it.
    fn now_ms(&self) -> u64;
    /// Time since some fixed moment, never going back.
    fn monotonic(&self) -> Duration;
}

/// Source of keys, nonces and names.
pub trait Random: Send + Sync {
    /// Fills `out`, or fails where the operating system has no randomness.
    fn fill(&self, out: &mut [u8]) -> std::io::Result<()>;
}

/// The injected surroundings of a repository.
#[derive(Clone)]
pub struct Env {
    /// Wall clock and stop watch.
    pub clock: Arc<dyn Clock>,
    /// Source of keys, nonces and names.
    pub random: Arc<dyn Random>,
    /// Argon2id cost of new password slots.
    pub kdf_cost: KdfParams,
    /// The rule of the deletion protocol that this environment breaks, to see that tests notice.
    #[cfg(feature = "mutants")]
    pub mutant: Option<Mutant>,
}

/// A rule of the deletion protocol that may be left out: what models and simulator have to catch.
///
/// Switches exist only with the feature `mutants`, which the shipped binary never has.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Mutant {
    /// c4 does not look again.
    NoRecheckAtC4,
    /// p5 does not list again.
    NoRelistAtP5,
    /// Snapshots are listed before pending records.
    SnapshotsBeforePending,
    /// c3 does not wait.
    NoWaitAtC3,
    /// p4 does not wait after its put.
    NoWaitAfterP4,
    /// No wait between the two lists of p5.
    NoWaitBetweenListsOfP5,
    /// A plan that was found unfinished is resumed at p5 without the wait.
    ResumeWithoutWait,
    /// p1 takes a dead pack for a location.
    DeadLocationInP1,
    /// p5 takes a dead pack for a location.
    DeadLocationInP5,
    /// `forget` deletes the snapshot itself.
    ForgetDeletes,
    /// p8 removes a stale pending without a tombstone.
    NoTombstone,
    /// c4 does not look whether a parent was forgotten.
    NoParentCheckAtC4,
    /// No pending record at all.
    NoPending,
    /// c5 commits something other than the bytes of its pending record.
    CommitOtherBytes,
    /// F names only what this generation forgets.
    ForgottenNotCumulative,
    /// F drops entries by the floor of the plan itself.
    ForgottenByOwnFloor,
    /// Runs below the floor are read all the same.
    NoFloor,
    /// p5 does not look at the runs again for its floor.
    FloorNotReadAgainAtP5,
    /// A merged run claims the highest `built` there is.
    MergeWithoutBuilt,
    /// A merge deletes its inputs without looking at the floor again.
    MergeWithoutFloorCheck,
    /// A session that starts anew trusts its own packs without a fresh LIST.
    OwnPacksWithoutList,
    /// Deletion by the list that the process remembers, not by the newest sweep.
    DeleteByOldList,
    /// c5 is sent twice.
    CommitTwice,
    /// Plain forget may take the last snapshot of a group.
    ForgetLastOfGroup,
    /// A pack leaves `dead` by a LIST made after the wait.
    DeadLeavesByLateList,
    /// Looking up an id passes over one of the runs that are not in memory. No rule of the protocol: it shows that
    /// tests reach that path.
    LookupSkipsRun,
    /// A run that a merge removed under a look-up is passed over. No rule of the protocol, either.
    LookupWithoutReload,
}

impl Mutant {
    /// Every one.
    pub const ALL: [Mutant; 25] = [
        Mutant::NoRecheckAtC4,
        Mutant::NoRelistAtP5,
        Mutant::SnapshotsBeforePending,
        Mutant::NoWaitAtC3,
        Mutant::NoWaitAfterP4,
        Mutant::NoWaitBetweenListsOfP5,
        Mutant::ResumeWithoutWait,
        Mutant::DeadLocationInP1,
        Mutant::DeadLocationInP5,
        Mutant::ForgetDeletes,
        Mutant::NoTombstone,
        Mutant::NoParentCheckAtC4,
        Mutant::NoPending,
        Mutant::CommitOtherBytes,
        Mutant::ForgottenNotCumulative,
        Mutant::ForgottenByOwnFloor,
        Mutant::NoFloor,
        Mutant::FloorNotReadAgainAtP5,
        Mutant::MergeWithoutBuilt,
        Mutant::MergeWithoutFloorCheck,
        Mutant::OwnPacksWithoutList,
        Mutant::DeleteByOldList,
        Mutant::CommitTwice,
        Mutant::ForgetLastOfGroup,
        Mutant::DeadLeavesByLateList,
    ];
}

struct SystemClock(std::time::Instant);

impl Clock for SystemClock {
    fn now_ms(&self) -> u64 {
        let since_epoch = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH);
        since_epoch.map_or(0, |d| u64::try_from(d.as_millis()).unwrap_or(u64::MAX))
    }

    fn monotonic(&self) -> Duration {
        self.0.elapsed()
    }
}

struct SystemRandom;

impl Random for SystemRandom {
    fn fill(&self, out: &mut [u8]) -> std::io::Result<()> {
        getrandom::fill(out).map_err(std::io::Error::other)
    }
}

impl Env {
    /// The real thing.
    pub fn system() -> Self {
        Env {
            clock: Arc::new(SystemClock(std::time::Instant::now())),
            random: Arc::new(SystemRandom),
            kdf_cost: KdfParams::DEFAULT,
            #[cfg(feature = "mutants")]
            mutant: None,
        }
    }

    /// Whether `mutant` is switched on; never without the feature `mutants`.
    #[cfg(feature = "mutants")]
    pub(crate) fn breaks(&self, mutant: Mutant) -> bool {
        self.mutant == Some(mutant)
    }

    /// Whether `mutant` is switched on; never without the feature `mutants`.
    #[cfg(not(feature = "mutants"))]
    #[inline(always)]
    #[allow(clippy::unused_self, reason = "the same call with and without the feature")]
    pub(crate) fn breaks(&self, _: Mutant) -> bool {
        false
    }

    /// `N` random bytes.
    pub fn random<const N: usize>(&self) -> Result<[u8; N]> {
        let mut out = [0; N];
        self.fill(&mut out)?;
        Ok(out)
    }

    /// Fills `out` with random bytes.
    pub fn fill(&self, out: &mut [u8]) -> Result<()> {
        self.random.fill(out).map_err(|source| Error::Randomness { source })
    }

    /// A fresh pack name.
    pub fn pack_id(&self) -> Result<PackId> {
        self.random().map(PackId)
    }

    /// A fresh sid: a UUIDv7 (RFC 9562) of the injected clock and randomness.
    pub fn snapshot_id(&self) -> Result<SnapshotId> {
        let mut raw: [u8; 16] = self.random()?;
        raw[..6].copy_from_slice(&self.clock.now_ms().to_be_bytes()[2..]);
        raw[6] = 0x70 | raw[6] & 0x0f;
        raw[8] = 0x80 | raw[8] & 0x3f;
        Ok(SnapshotId(raw))
    }
}

/// A reproducible environment: the same seed gives the same names, keys and times.
#[cfg(feature = "fault")]
pub mod seeded {
    use super::{Clock, Env, Random};
    use repo_format::keys::slot::KdfParams;
    use std::sync::atomic::{AtomicU64, Ordering};
    use std::sync::{Arc, Mutex};
    use std::time::Duration;

    /// A clock that moves by 1 ms at each reading, and by hand.
    pub struct ManualClock(AtomicU64);

    impl ManualClock {
        /// Starts at a Unix time in milliseconds.
        pub fn new(now_ms: u64) -> Self {
            ManualClock(AtomicU64::new(now_ms))
        }

        /// Moves the clock forward.
        pub fn advance(&self, by: Duration) {
            let by_ms = u64::try_from(by.as_millis()).unwrap_or(u64::MAX);
            self.0.fetch_add(by_ms, Ordering::Relaxed);
        }
    }

    impl Clock for ManualClock {
        fn now_ms(&self) -> u64 {
            self.0.fetch_add(1, Ordering::Relaxed)
        }

        fn monotonic(&self) -> Duration {
            Duration::from_millis(self.now_ms())
        }
    }

    struct SeededRandom(Mutex<blake3::OutputReader>);

    impl Random for SeededRandom {
        fn fill(&self, out: &mut [u8]) -> std::io::Result<()> {
            let mut stream = self.0.lock().map_err(|_| std::io::Error::other("poisoned"))?;
            stream.fill(out);
            Ok(())
        }
    }

    /// Environment and clock of a seed; passwords cost next to nothing.
    pub fn env(seed: u64) -> (Env, Arc<ManualClock>) {
        let clock = Arc::new(ManualClock::new(1_790_000_000_000));
        let mut hasher = blake3::Hasher::new();
        hasher.update(&seed.to_le_bytes());
        let random = SeededRandom(Mutex::new(hasher.finalize_xof()));
        let kdf_cost = KdfParams { m_kib: 8, t: 1, p: 1 };
        let env = Env {
            clock: clock.clone(),
            random: Arc::new(random),
            kdf_cost,
            #[cfg(feature = "mutants")]
            mutant: None,
        };
        (env, clock)
    }
}
