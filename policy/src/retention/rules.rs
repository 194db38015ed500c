//! The rules that say what to keep, as restic's users know them.

use jiff::civil::DateTime;
use std::collections::BTreeMap;
use std::fmt;

/// What to keep. A backup stays if any rule keeps it; a rule that is `None`, zero or empty keeps nothing.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct KeepRules {
    /// The newest so many.
    pub last: Option<Count>,
    /// The newest of each of the last so many hours that have one.
    pub hourly: Option<Count>,
    /// The same for days.
    pub daily: Option<Count>,
    /// The same for ISO weeks, which begin on Monday.
    pub weekly: Option<Count>,
    /// The same for months.
    pub monthly: Option<Count>,
    /// The same for years.
    pub yearly: Option<Count>,
    /// All that are younger than this, seen from the newest of the group.
    pub within: Option<Span>,
    /// The newest of each hour within this span of the newest of the group.
    pub within_hourly: Option<Span>,
    /// The same for days.
    pub within_daily: Option<Span>,
    /// The same for ISO weeks.
    pub within_weekly: Option<Span>,
    /// The same for months.
    pub within_monthly: Option<Span>,
    /// The same for years.
    pub within_yearly: Option<Span>,
    /// All that have all labels of any of these sets.
    pub labels: Vec<LabelSet>,
}

impl KeepRules {
    /// Whether no rule can keep anything. A command should refuse such rules instead of running them.
    pub fn is_empty(&self) -> bool {
        self.counts().next().is_none() && self.spans().next().is_none() && self.labels.is_empty()
    }

    /// The counting rules that are in force; the period of `last` is `None`.
    pub(crate) fn counts(&self) -> impl Iterator<Item = (Option<Period>, Count)> {
        let rules = [
            (None, self.last),
            (Some(Period::Hour), self.hourly),
            (Some(Period::Day), self.daily),
            (Some(Period::Week), self.weekly),
            (Some(Period::Month), self.monthly),
            (Some(Period::Year), self.yearly),
        ];
        rules.into_iter().filter_map(|(period, count)| {
            count.filter(|count| !count.is_spent()).map(|count| (period, count))
        })
    }

    /// The rules of spans that are in force; the period of `within` is `None`.
    pub(crate) fn spans(&self) -> impl Iterator<Item = (Option<Period>, Span)> {
        let rules = [
            (None, self.within),
            (Some(Period::Hour), self.within_hourly),
            (Some(Period::Day), self.within_daily),
            (Some(Period::Week), self.within_weekly),
            (Some(Period::Month), self.within_monthly),
            (Some(Period::Year), self.within_yearly),
        ];
        rules.into_iter().filter_map(|(period, span)| {
            span.filter(|span| *span != Span::default()).map(|span| (period, span))
        })
    }
}

/// How many to keep.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Count {
    /// The newest so many.
    Newest(u32),
    /// As many as there are.
    All,
}

impl Count {
    /// Whether nothing is left to count.
    pub(crate) fn is_spent(self) -> bool {
        self == Count::Newest(0)
    }

    /// What is left after one more.
    pub(crate) fn less_one(self) -> Count {
        match self {
            Count::Newest(count) => Count::Newest(count.saturating_sub(1)),
            Count::All => Count::All,
        }
    }
}

/// A span of calendar time.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Span {
    /// Calendar years.
    pub years: u32,
    /// Calendar months.
    pub months: u32,
    /// Calendar days.
    pub days: u32,
    /// Hours of 3,600 seconds.
    pub hours: u32,
}

impl fmt::Display for Span {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let parts = [(self.years, 'y'), (self.months, 'm'), (self.days, 'd'), (self.hours, 'h')];
        parts
            .iter()
            .filter(|(number, _)| *number != 0)
            .try_for_each(|(number, unit)| write!(f, "{number}{unit}"))
    }
}

/// Labels that a backup must have, all of them. The empty set is that of backups without labels.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct LabelSet(pub BTreeMap<String, String>);

impl LabelSet {
    pub(crate) fn matches(&self, labels: &BTreeMap<String, String>) -> bool {
        if self.0.is_empty() {
            return labels.is_empty();
        }
        self.0.iter().all(|(name, value)| labels.get(name) == Some(value))
    }
}

impl fmt::Display for LabelSet {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let labels: Vec<String> = self.0.iter().map(|(name, value)| format!("{name}={value}")).collect();
        f.write_str(&labels.join(","))
    }
}

/// A stretch of the calendar of which one backup is kept.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Period {
    /// A full hour of the clock on the wall. The hour that comes twice in autumn is one.
    Hour,
    /// A calendar day.
    Day,
    /// An ISO week, from Monday.
    Week,
    /// A calendar month.
    Month,
    /// A calendar year.
    Year,
}

/// Which hour, day, week, month or year: unlike numbers for unlike periods of one kind.
pub(crate) type Slot = (i16, i8, i8, i8);

impl Period {
    pub(crate) fn slot(self, local: DateTime) -> Slot {
        let (year, month, day) = (local.year(), local.month(), local.day());
        match self {
            Period::Hour => (year, month, day, local.hour()),
            Period::Day => (year, month, day, 0),
            Period::Week => {
                let week = local.date().iso_week_date();
                (week.year(), week.week(), 0, 0)
            }
            Period::Month => (year, month, 0, 0),
            Period::Year => (year, 0, 0, 0),
        }
    }

    /// As in "hourly snapshot".
    pub(crate) fn adjective(self) -> &'static str {
        match self {
            Period::Hour => "hourly",
            Period::Day => "daily",
            Period::Week => "weekly",
            Period::Month => "monthly",
            Period::Year => "yearly",
        }
    }
}
