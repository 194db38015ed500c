//! Schedule policies as users write them. What does not make sense is refused when it is read.

use super::{Every, Month, Place, ScheduleType, TimeOfDay, Weekday};
use crate::Zone;
use serde::{Deserialize, Serialize};
use std::collections::BTreeSet;
use std::num::NonZeroU32;

/// When backups are made, and how many of each type stay.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize, Serialize)]
#[serde(try_from = "Document", into = "Document")]
pub struct SchedulePolicy {
    /// In which times of day are meant.
    pub zone: Zone,
    /// Again and again.
    pub interval: Option<Interval>,
    /// Each day.
    pub daily: Option<Daily>,
    /// On days of the week.
    pub weekly: Option<Weekly>,
    /// On a day of the month.
    pub monthly: Option<Monthly>,
    /// How late a missed slot may still be run; `None`: until the next slot.
    pub starting_deadline: Option<Every>,
}

impl SchedulePolicy {
    /// How many successful backups of a type stay; `None` if the policy does not have the type.
    pub fn retain(&self, kind: ScheduleType) -> Option<NonZeroU32> {
        match kind {
            ScheduleType::Interval => self.interval.as_ref().map(|part| part.retain),
            ScheduleType::Daily => self.daily.as_ref().map(|part| part.retain),
            ScheduleType::Weekly => self.weekly.as_ref().map(|part| part.retain),
            ScheduleType::Monthly => self.monthly.as_ref().map(|part| part.retain),
        }
    }
}

/// Counted from the last run.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize, Serialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct Interval {
    /// From one run to the next.
    pub every: Every,
    /// How many successful ones stay.
    #[serde(default = "retain::<10>")]
    pub retain: NonZeroU32,
}

/// Once a day.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize, Serialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct Daily {
    /// When.
    pub time: TimeOfDay,
    /// How many successful ones stay.
    #[serde(default = "retain::<30>")]
    pub retain: NonZeroU32,
}

/// On some days of a week.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize, Serialize)]
#[serde(try_from = "WeeklyDocument", into = "WeeklyDocument")]
pub struct Weekly {
    /// At least one.
    pub days: BTreeSet<Weekday>,
    /// When.
    pub time: TimeOfDay,
    /// Every how many weeks, 1 to 52. Weeks begin on Monday and are counted from that of 5 January 1970, alike for all schedules.
    pub every_weeks: u8,
    /// How many successful ones stay.
    pub retain: NonZeroU32,
}

/// Once in a month.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize, Serialize)]
#[serde(try_from = "MonthlyDocument", into = "MonthlyDocument")]
pub struct Monthly {
    /// On which day. A month without it is skipped.
    pub on: MonthlyOn,
    /// In which months; at least one.
    pub months: BTreeSet<Month>,
    /// When.
    pub time: TimeOfDay,
    /// How many successful ones stay.
    pub retain: NonZeroU32,
}

/// A day of a month.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum MonthlyOn {
    /// By its number.
    Date(Place<31>),
    /// By the day of the week: which of those in the month.
    Weekday(Weekday, Place<5>),
}

const fn retain<const COUNT: u32>() -> NonZeroU32 {
    NonZeroU32::MIN.saturating_add(COUNT - 1)
}

fn once() -> u8 {
    1
}

#[derive(Clone, Deserialize, Serialize)]
enum ApiVersion {
    #[serde(rename = "orlop.dev/v1alpha1")]
    V1Alpha1,
}

#[derive(Clone, Deserialize, Serialize)]
enum Kind {
    SchedulePolicy,
}

#[derive(Clone, Deserialize, Serialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
struct Document {
    #[serde(default, skip_serializing)]
    #[expect(dead_code, reason = "read only to be checked")]
    api_version: Option<ApiVersion>,
    #[serde(skip_serializing_if = "Option::is_none")]
    kind: Option<Kind>,
    #[serde(default)]
    time_zone: Zone,
    #[serde(skip_serializing_if = "Option::is_none")]
    interval: Option<Interval>,
    #[serde(skip_serializing_if = "Option::is_none")]
    daily: Option<Daily>,
    #[serde(skip_serializing_if = "Option::is_none")]
    weekly: Option<Weekly>,
    #[serde(skip_serializing_if = "Option::is_none")]
    monthly: Option<Monthly>,
    #[serde(skip_serializing_if = "Option::is_none")]
    starting_deadline: Option<Every>,
}

impl TryFrom<Document> for SchedulePolicy {
    type Error = &'static str;

    fn try_from(read: Document) -> Result<SchedulePolicy, &'static str> {
        let policy = SchedulePolicy {
            zone: read.time_zone,
            interval: read.interval,
            daily: read.daily,
            weekly: read.weekly,
            monthly: read.monthly,
            starting_deadline: read.starting_deadline,
        };
        if ScheduleType::ALL.iter().all(|kind| policy.retain(*kind).is_none()) {
            return Err("schedule policy without any of interval, daily, weekly and monthly");
        }
        Ok(policy)
    }
}

impl From<SchedulePolicy> for Document {
    fn from(policy: SchedulePolicy) -> Document {
        Document {
            api_version: None,
            kind: Some(Kind::SchedulePolicy),
            time_zone: policy.zone,
            interval: policy.interval,
            daily: policy.daily,
            weekly: policy.weekly,
            monthly: policy.monthly,
            starting_deadline: policy.starting_deadline,
        }
    }
}

#[derive(Clone, Deserialize, Serialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
struct WeeklyDocument {
    days: BTreeSet<Weekday>,
    time: TimeOfDay,
    #[serde(default = "once")]
    every_weeks: u8,
    #[serde(default = "retain::<7>")]
    retain: NonZeroU32,
}

impl TryFrom<WeeklyDocument> for Weekly {
    type Error = &'static str;

    fn try_from(read: WeeklyDocument) -> Result<Weekly, &'static str> {
        if read.days.is_empty() {
            return Err("weekly without days: expected mon, tue and so on");
        }
        if !(1..=52).contains(&read.every_weeks) {
            return Err("everyWeeks out of range: expected 1 to 52");
        }
        Ok(Weekly { days: read.days, time: read.time, every_weeks: read.every_weeks, retain: read.retain })
    }
}

impl From<Weekly> for WeeklyDocument {
    fn from(part: Weekly) -> WeeklyDocument {
        WeeklyDocument {
            days: part.days,
            time: part.time,
            every_weeks: part.every_weeks,
            retain: part.retain,
        }
    }
}

#[derive(Clone, Deserialize, Serialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
struct MonthlyDocument {
    #[serde(skip_serializing_if = "Option::is_none")]
    date: Option<Place<31>>,
    #[serde(skip_serializing_if = "Option::is_none")]
    day: Option<Weekday>,
    #[serde(skip_serializing_if = "Option::is_none")]
    week: Option<Place<5>>,
    #[serde(skip_serializing_if = "Option::is_none")]
    months: Option<BTreeSet<Month>>,
    time: TimeOfDay,
    #[serde(default = "retain::<12>")]
    retain: NonZeroU32,
}

impl TryFrom<MonthlyDocument> for Monthly {
    type Error = &'static str;

    fn try_from(read: MonthlyDocument) -> Result<Monthly, &'static str> {
        let on = match (read.date, read.day, read.week) {
            (Some(date), None, None) => MonthlyOn::Date(date),
            (None, Some(day), Some(week)) => MonthlyOn::Weekday(day, week),
            _ => return Err("monthly on no certain day: expected either date, or day and week"),
        };
        let months = read.months.unwrap_or_else(|| BTreeSet::from(Month::ALL));
        if months.is_empty() {
            return Err("monthly without months: expected jan, feb and so on, or no months at all");
        }
        if let MonthlyOn::Date(Place::Nth(date)) = on
            && months.iter().all(|month| month.longest() < date)
        {
            return Err("monthly on a date that none of its months has");
        }
        Ok(Monthly { on, months, time: read.time, retain: read.retain })
    }
}

impl From<Monthly> for MonthlyDocument {
    fn from(part: Monthly) -> MonthlyDocument {
        let (date, day, week) = match part.on {
            MonthlyOn::Date(date) => (Some(date), None, None),
            MonthlyOn::Weekday(day, week) => (None, Some(day), Some(week)),
        };
        let months = (part.months != BTreeSet::from(Month::ALL)).then_some(part.months);
        MonthlyDocument { date, day, week, months, time: part.time, retain: part.retain }
    }
}
