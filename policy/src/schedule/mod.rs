//! When a backup is due: schedule policies, the next time they fire, and slots that were missed.
//!
//! A slot is a moment at which a policy fires. Calendar slots (daily, weekly, monthly) are times of the policy's zone: one that comes
//! twice is the first, one that does not come is the moment of the leap. An interval counts from the last run.

mod clock;
mod days;
mod document;
mod fire;
mod place;

pub use clock::{Every, TimeOfDay};
pub use document::{Daily, Interval, Monthly, MonthlyOn, SchedulePolicy, Weekly};
pub use fire::{Due, backup_name, due, first_due, next_fire};
pub use place::Place;

use serde::{Deserialize, Serialize};
use std::fmt;

/// Which of the four parts of a schedule policy.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum ScheduleType {
    /// Again and again after a length of time.
    Interval,
    /// Each day.
    Daily,
    /// On days of the week.
    Weekly,
    /// On a day of the month.
    Monthly,
}

impl ScheduleType {
    /// All, in the order in which they are tried.
    pub const ALL: [ScheduleType; 4] =
        [ScheduleType::Interval, ScheduleType::Daily, ScheduleType::Weekly, ScheduleType::Monthly];

    /// The type of a group of backups, which is called `SCHEDULE/TYPE`; `None` for any other name.
    pub fn of_group(group: &str) -> Option<ScheduleType> {
        let (schedule, kind) = group.split_once('/')?;
        let kind = Self::ALL.into_iter().find(|one| one.to_string() == kind)?;
        (!schedule.is_empty()).then_some(kind)
    }
}

impl fmt::Display for ScheduleType {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            ScheduleType::Interval => "interval",
            ScheduleType::Daily => "daily",
            ScheduleType::Weekly => "weekly",
            ScheduleType::Monthly => "monthly",
        })
    }
}

/// A day of the week; in documents `mon`, `tue` and so on.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Deserialize, Serialize)]
#[serde(rename_all = "lowercase")]
#[expect(missing_docs, reason = "the names say it")]
pub enum Weekday {
    Mon,
    Tue,
    Wed,
    Thu,
    Fri,
    Sat,
    Sun,
}

/// A month; in documents `jan`, `feb` and so on.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Deserialize, Serialize)]
#[serde(rename_all = "lowercase")]
#[expect(missing_docs, reason = "the names say it")]
pub enum Month {
    Jan,
    Feb,
    Mar,
    Apr,
    May,
    Jun,
    Jul,
    Aug,
    Sep,
    Oct,
    Nov,
    Dec,
}

impl Month {
    pub(crate) const ALL: [Month; 12] = [
        Month::Jan,
        Month::Feb,
        Month::Mar,
        Month::Apr,
        Month::May,
        Month::Jun,
        Month::Jul,
        Month::Aug,
        Month::Sep,
        Month::Oct,
        Month::Nov,
        Month::Dec,
    ];

    /// The most days that the month can have.
    pub(crate) fn longest(self) -> u8 {
        match self {
            Month::Feb => 29,
            Month::Apr | Month::Jun | Month::Sep | Month::Nov => 30,
            Month::Jan | Month::Mar | Month::May | Month::Jul | Month::Aug | Month::Oct | Month::Dec => 31,
        }
    }
}
