//! What to keep of a history: by rules with restic's meanings ([`retain`]), or the newest so many of a schedule ([`rolling`]).
//!
//! Every decision comes with reasons. The last successful backup of a group is never let go, whatever the rules say.

mod group;
mod keep;
mod reason;
mod rolling;
mod rules;

pub use group::{GroupBy, Traits};
pub use keep::retain;
pub use reason::Reason;
pub use rolling::{rolling, rolling_by_policy};
pub use rules::{Count, KeepRules, LabelSet, Period, Span};

use std::collections::{BTreeMap, BTreeSet};

/// How a backup ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Status {
    /// All that was asked for is there.
    Complete,
    /// Something is missing.
    Partial,
    /// Nothing to restore: kept as evidence only.
    Failed,
}

/// One backup of a history.
#[derive(Debug, Clone, Copy)]
pub struct Entry<'a> {
    /// The caller's handle; comes back in the decision and means nothing here.
    pub index: usize,
    /// When the backup began, in Unix milliseconds. Among equal times, what comes first in the history counts as newer.
    pub time_ms: u64,
    /// The group that the backup was made for; its last successful backup is never let go.
    pub group: &'a str,
    /// What the rules count together: [`GroupBy::key`], or `group` again. [`rolling`] does not look at it.
    pub counted_in: &'a str,
    /// The user's labels.
    pub labels: &'a BTreeMap<String, String>,
    /// How it ended.
    pub status: Status,
}

/// What becomes of one backup, and why.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Decision {
    /// The handle that the entry came with.
    pub index: usize,
    /// Whether it stays.
    pub keep: bool,
    /// At least one; of a backup that stays, every rule that keeps it.
    pub reasons: Vec<Reason>,
}

/// Positions of the history by group, newest first.
fn grouped<'a>(
    history: &[Entry<'a>],
    group: impl Fn(&Entry<'a>) -> &'a str,
) -> BTreeMap<&'a str, Vec<usize>> {
    let mut newest_first: Vec<usize> = (0..history.len()).collect();
    newest_first.sort_by_key(|at| std::cmp::Reverse(history[*at].time_ms));
    let mut groups: BTreeMap<&str, Vec<usize>> = BTreeMap::new();
    for at in newest_first {
        groups.entry(group(&history[at])).or_default().push(at);
    }
    groups
}

/// Of each group the newest complete backup, or the newest partial one where none is complete: what may not go.
fn indispensable<'a>(groups: &BTreeMap<&'a str, Vec<usize>>, history: &[Entry<'a>]) -> BTreeSet<usize> {
    let newest = |members: &[usize], status| members.iter().copied().find(|at| history[*at].status == status);
    groups
        .values()
        .filter_map(|members| newest(members, Status::Complete).or_else(|| newest(members, Status::Partial)))
        .collect()
}

/// Joins what the rules said with what may not go. `kept` holds the reasons to keep, in the order of the history.
fn decide(
    history: &[Entry<'_>],
    kept: Vec<Vec<Reason>>,
    indispensable: &BTreeSet<usize>,
    otherwise: impl Fn(&Entry<'_>) -> Reason,
) -> Vec<Decision> {
    let last = |status| match status {
        Status::Complete => Reason::LastSuccessful,
        Status::Partial | Status::Failed => Reason::LastPartial,
    };
    let decide = |(at, (entry, mut reasons)): (usize, (&Entry<'_>, Vec<Reason>))| {
        if reasons.is_empty() && indispensable.contains(&at) {
            reasons.push(last(entry.status));
        }
        let keep = !reasons.is_empty();
        if !keep {
            reasons.push(otherwise(entry));
        }
        Decision { index: entry.index, keep, reasons }
    };
    history.iter().zip(kept).enumerate().map(decide).collect()
}
