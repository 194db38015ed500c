//! Times of day and lengths of time, as documents spell them.

use crate::{Error, parse};
use jiff::civil::Time;
use serde::{Deserialize, Serialize};
use std::fmt;

const MINUTE_MS: u64 = 60_000;

/// A minute of the day.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize, Serialize)]
#[serde(try_from = "String", into = "String")]
pub struct TimeOfDay(Time);

impl TimeOfDay {
    /// `None` if a day has no such time; hours go from 0 to 23.
    pub fn new(hour: u8, minute: u8) -> Option<TimeOfDay> {
        let (hour, minute) = (i8::try_from(hour).ok()?, i8::try_from(minute).ok()?);
        Time::new(hour, minute, 0, 0).ok().map(TimeOfDay)
    }

    pub(crate) fn time(self) -> Time {
        self.0
    }
}

impl fmt::Display for TimeOfDay {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:02}:{:02}", self.0.hour(), self.0.minute())
    }
}

impl TryFrom<String> for TimeOfDay {
    type Error = Error;

    fn try_from(text: String) -> Result<TimeOfDay, Error> {
        parse::time_of_day(&text)
    }
}

impl From<TimeOfDay> for String {
    fn from(time: TimeOfDay) -> String {
        time.to_string()
    }
}

/// A length of time in whole minutes, from a minute to 366 days.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize, Serialize)]
#[serde(try_from = "String", into = "String")]
pub struct Every {
    minutes: u32,
}

impl Every {
    /// `None` outside of a minute to 366 days.
    pub fn from_minutes(minutes: u32) -> Option<Every> {
        (1..=366 * 24 * 60).contains(&minutes).then_some(Every { minutes })
    }

    /// In milliseconds.
    pub fn as_ms(self) -> u64 {
        u64::from(self.minutes) * MINUTE_MS
    }
}

impl fmt::Display for Every {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let parts = [(self.minutes / 1440, 'd'), (self.minutes / 60 % 24, 'h'), (self.minutes % 60, 'm')];
        parts
            .iter()
            .filter(|(number, _)| *number != 0)
            .try_for_each(|(number, unit)| write!(f, "{number}{unit}"))
    }
}

impl TryFrom<String> for Every {
    type Error = Error;

    fn try_from(text: String) -> Result<Every, Error> {
        parse::every(&text)
    }
}

impl From<Every> for String {
    fn from(every: Every) -> String {
        every.to_string()
    }
}
