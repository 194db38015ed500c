//! A time zone by its IANA name.

use crate::Error;
use jiff::civil::DateTime;
use jiff::tz::{AmbiguousOffset, Offset, TimeZone, TimeZoneDatabase};
use jiff::{SignedDuration, Timestamp};
use serde::{Deserialize, Serialize};
use std::fmt;

/// A time zone of the IANA database, such as `Europe/Berlin`. The default is UTC.
#[derive(Clone, PartialEq, Eq, Deserialize, Serialize)]
#[serde(try_from = "String", into = "String")]
pub struct Zone {
    name: String,
    zone: TimeZone,
}

impl Zone {
    /// Coordinated Universal Time.
    pub fn utc() -> Zone {
        Zone { name: "UTC".to_owned(), zone: TimeZone::UTC }
    }

    /// Finds a zone by its name in the database of this program; the machine's own is not asked.
    ///
    /// # Errors
    /// A name that the database does not have.
    pub fn parse(name: &str) -> Result<Zone, Error> {
        let zone = TimeZoneDatabase::bundled()
            .get(name)
            .map_err(|_| Error::new("time zone", name, "an IANA name such as Europe/Berlin"))?;
        let name = zone.iana_name().unwrap_or(name).to_owned();
        Ok(Zone { name, zone })
    }

    /// The IANA name.
    pub fn name(&self) -> &str {
        &self.name
    }

    /// The first moment at which the clock on the wall shows `local` or, where it never does, the first after the leap of the clock.
    /// `None` outside of the years that can be computed with.
    pub(crate) fn first_moment(&self, local: DateTime) -> Option<Timestamp> {
        match self.zone.to_ambiguous_timestamp(local).offset() {
            AmbiguousOffset::Unambiguous { offset } | AmbiguousOffset::Fold { before: offset, .. } => {
                offset.to_timestamp(local).ok()
            }
            AmbiguousOffset::Gap { after, .. } => {
                let before_leap = after.to_timestamp(local).ok()?;
                self.zone.following(before_leap).next().map(|leap| leap.timestamp())
            }
        }
    }

    /// What the clock on the wall shows.
    pub(crate) fn local(&self, time: Timestamp) -> DateTime {
        self.zone.to_datetime(time)
    }

    /// The moment at which the clock on the wall shows `local`, chosen as restic (Go's `time.Date`) does where there are two or none.
    /// `None` outside of the years that can be computed with.
    pub(crate) fn moment_like_restic(&self, local: DateTime) -> Option<Timestamp> {
        let guess = Offset::UTC.to_timestamp(local).ok()?;
        let offset = self.zone.to_offset(shift_back(guess, self.zone.to_offset(guess))?);
        shift_back(guess, offset)
    }
}

fn shift_back(time: Timestamp, offset: Offset) -> Option<Timestamp> {
    time.checked_sub(SignedDuration::from_secs(offset.seconds().into())).ok()
}

impl TryFrom<String> for Zone {
    type Error = Error;

    fn try_from(name: String) -> Result<Zone, Error> {
        Zone::parse(&name)
    }
}

impl From<Zone> for String {
    fn from(zone: Zone) -> String {
        zone.name
    }
}

impl Default for Zone {
    fn default() -> Zone {
        Zone::utc()
    }
}

impl fmt::Debug for Zone {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("Zone").field(&self.name).finish()
    }
}

impl fmt::Display for Zone {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.name)
    }
}

/// The moment of Unix milliseconds; what lies after the year 9999 counts as its end.
pub(crate) fn moment(unix_ms: u64) -> Timestamp {
    i64::try_from(unix_ms).ok().and_then(|ms| Timestamp::from_millisecond(ms).ok()).unwrap_or(Timestamp::MAX)
}
