//! How processes end, how they may end, and what their ends add up to.

use serde_json::Value;
use std::collections::BTreeMap;
use std::fmt;
use std::time::Duration;

/// What a process was sent to do.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Verb {
    Backup,
    Prune,
    Forget,
    Undelete,
    Look,
}

impl Verb {
    /// Why it may end with a code that is not 0, if it may.
    fn allows(self, code: i32, err: &str) -> bool {
        match (self, code) {
            // overtaken too often: nothing is committed, and it says so
            (Verb::Backup | Verb::Prune | Verb::Undelete, 11) => true,
            // what was named is deleted since it was chosen, or was never let go by a forget that was killed
            (Verb::Forget, 2) => err.contains("not found") || err.contains("none matches"),
            (Verb::Undelete, 2) => ["not found", "none matches", "not forgotten", "being deleted"]
                .iter()
                .any(|why| err.contains(why)),
            _ => false,
        }
    }
}

/// How a process ended.
#[derive(Debug)]
pub(crate) struct End {
    /// Exit code; none if it was killed.
    pub(crate) code: Option<i32>,
    pub(crate) out: String,
    pub(crate) err: String,
    pub(crate) took: Duration,
}

impl End {
    /// Whether it did what it was sent for.
    pub(crate) fn is_done(&self) -> bool {
        self.code == Some(0)
    }

    /// Nothing wrong, but for a kill: an end that the verb may have, in one clear line or none.
    pub(crate) fn is_expected(&self, verb: Verb) -> bool {
        match self.code {
            None => true,
            Some(0) => self.err.is_empty(),
            Some(code) => verb.allows(code, &self.err) && self.err.lines().count() == 1,
        }
    }

    /// The options that a prune tells to end what dead ones have left; none if it does not.
    pub(crate) fn take_over(&self) -> Option<String> {
        let named = self.err.split("--take-over ").skip(1);
        let is_hex = |c: char| c.is_ascii_hexdigit();
        let options: Vec<String> = named
            .map(|rest| format!(" --take-over {}", rest.split(|c| !is_hex(c)).next().unwrap()))
            .collect();
        (!options.is_empty()).then(|| options.concat())
    }

    /// The last JSON line.
    pub(crate) fn summary(&self) -> Value {
        let last = self.out.lines().last().unwrap_or_default();
        serde_json::from_str(last).unwrap_or_else(|error| panic!("{error}: {last:?}"))
    }

    /// A string of the summary.
    pub(crate) fn text(&self, field: &str) -> String {
        self.summary()[field].as_str().unwrap_or_else(|| panic!("no {field}: {}", self.out)).to_owned()
    }
}

/// How often a verb ended in which way.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Ends {
    pub(crate) done: u64,
    pub(crate) refused: u64,
    pub(crate) killed: u64,
    /// Of those that were done.
    pub(crate) time: Duration,
}

/// Sums over a whole run.
#[derive(Clone, Debug, Default)]
pub(crate) struct Tally {
    pub(crate) ends: BTreeMap<Verb, Ends>,
    pub(crate) packs_deleted: u64,
    pub(crate) bytes_freed: u64,
    pub(crate) bytes_repacked: u64,
    /// By backups that were done.
    pub(crate) bytes_stored: u64,
    /// Uploaded only since a prune overtook the session, as the session says.
    pub(crate) bytes_mended: u64,
    /// Content that was stored although the writer's newest snapshot, which is never let go, has it: seen from
    /// outside, where the session said that the chunk was new.
    pub(crate) bytes_known: u64,
    pub(crate) restores: u64,
}

impl Tally {
    /// Counts an end.
    pub(crate) fn add(&mut self, verb: Verb, end: &End) {
        let ends = self.ends.entry(verb).or_default();
        match end.code {
            None => ends.killed += 1,
            Some(0) => {
                ends.done += 1;
                ends.time += end.took;
            }
            Some(_) => ends.refused += 1,
        }
        if !end.is_done() || !matches!(verb, Verb::Backup | Verb::Prune) {
            return;
        }
        let summary = end.summary();
        let number = |field: &str| summary[field].as_u64().unwrap_or_default();
        self.packs_deleted += number("packs_deleted");
        self.bytes_freed += number("bytes_freed");
        self.bytes_repacked += number("bytes_repacked");
        self.bytes_stored += number("bytes_stored");
        self.bytes_mended += number("bytes_mended");
    }

    /// How long a verb takes here, on average; something to begin with while none has ended.
    pub(crate) fn usual(&self, verb: Verb) -> Duration {
        let ends = self.ends.get(&verb).copied().unwrap_or_default();
        u32::try_from(ends.done)
            .ok()
            .and_then(|done| ends.time.checked_div(done))
            .unwrap_or(Duration::from_millis(300))
    }

    /// Bytes that sessions uploaded again because of prune. What prune itself copies is no part of it: repacking is
    /// asked for, and bounded by options. What killed sessions have uploaded in vain is none either. An upper
    /// bound: an overtaken session whose later start stores known content is counted twice.
    pub(crate) fn bytes_again(&self) -> u64 {
        self.bytes_mended + self.bytes_known
    }

    /// Share of what was uploaded again in what backups that were done have uploaded, in percent.
    pub(crate) fn again_percent(&self) -> f64 {
        self.bytes_again() as f64 * 100.0 / self.bytes_stored.max(1) as f64
    }
}

impl fmt::Display for Tally {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (verb, ends) in &self.ends {
            let each = self.usual(*verb).as_secs_f64();
            write!(
                f,
                "{verb:?} {} done ({each:.1} s each), {} refused, {} killed; ",
                ends.done, ends.refused, ends.killed
            )?;
        }
        write!(
            f,
            "{} packs deleted ({} bytes), {} bytes repacked, {} restores compared; {} bytes uploaded, again because of \
             prune {} ({} mended, {} known), {:.3} %",
            self.packs_deleted,
            self.bytes_freed,
            self.bytes_repacked,
            self.restores,
            self.bytes_stored,
            self.bytes_again(),
            self.bytes_mended,
            self.bytes_known,
            self.again_percent()
        )
    }
}
