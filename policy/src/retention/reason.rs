//! Why a backup is kept or dropped, for people.

use super::{LabelSet, Period, Span};
use std::fmt;

/// One reason of a decision. Those of keep rules read as restic's do.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Reason {
    /// One of the newest (no period), or the newest of its hour, day, week, month or year.
    Counted {
        /// Of which the backup is the newest.
        period: Option<Period>,
        /// It is not, but is the oldest of all, and the rule had some left.
        oldest: bool,
    },
    /// Young enough, seen from the newest of what is counted together, and, with a period, the newest of it.
    Within {
        /// Of which the backup is the newest.
        period: Option<Period>,
        /// How young is young enough.
        span: Span,
        /// It is not the newest of its period, but is the oldest of all.
        oldest: bool,
    },
    /// It has all these labels.
    Labels(LabelSet),
    /// It failed, and nothing of its group has been complete since.
    FailedSince,
    /// A success, the `number`-th from the newest, of `retain` to keep.
    Success {
        /// From 1, the newest.
        number: u32,
        /// How many stay.
        retain: u32,
    },
    /// Not a success, but no older than those that stay.
    Among {
        /// How many successes stay.
        retain: u32,
    },
    /// No rule keeps it, but it is the last successful backup of its group.
    LastSuccessful,
    /// No rule keeps it, but it is the newest of a group in which none was complete.
    LastPartial,
    /// Dropped: no rule keeps it.
    NoRule,
    /// Dropped: older than the successes that stay.
    Beyond {
        /// How many successes stay.
        retain: u32,
    },
    /// Kept because there are no rules at all.
    NoRules,
    /// Kept because its group is not one that the schedule policy decides on.
    OtherGroup,
}

impl fmt::Display for Reason {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let adjective = |period: &Option<Period>| period.map_or("last", Period::adjective);
        let prefix = |oldest: &bool| if *oldest { "oldest " } else { "" };
        match self {
            Reason::Counted { period, oldest } => {
                write!(f, "{}{} snapshot", prefix(oldest), adjective(period))
            }
            Reason::Within { period: None, span, .. } => write!(f, "within {span}"),
            Reason::Within { period, span, oldest } => {
                write!(f, "{}{} within {span}", prefix(oldest), adjective(period))
            }
            Reason::Labels(set) if set.0.is_empty() => f.write_str("has no labels"),
            Reason::Labels(set) => write!(f, "has labels {set}"),
            Reason::FailedSince => f.write_str("failed since the last successful"),
            Reason::Success { number, retain } => write!(f, "success {number} of {retain}"),
            Reason::Among { retain } => write!(f, "among the newest {retain} successful"),
            Reason::LastSuccessful => f.write_str("last successful of its group"),
            Reason::LastPartial => f.write_str("newest of a group without a successful one"),
            Reason::NoRule => f.write_str("no rule keeps it"),
            Reason::Beyond { retain } => write!(f, "beyond the newest {retain} successful"),
            Reason::NoRules => f.write_str("no rules"),
            Reason::OtherGroup => f.write_str("not of this schedule policy"),
        }
    }
}
