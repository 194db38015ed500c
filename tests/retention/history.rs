//! Random histories of backups, dense where calendars are treacherous.

use jiff::Timestamp;
use jiff::tz::TimeZone;
use policy::retention::Status;
use std::collections::BTreeMap;

/// The zones of the histories: none, the usual two directions, and one that moves its clock by half an hour.
pub(crate) const ZONES: [&str; 4] = ["UTC", "Europe/Berlin", "America/New_York", "Australia/Lord_Howe"];

/// One backup, as both sides see it. restic has no status; it takes all for the same.
#[derive(Debug, Clone)]
pub(crate) struct Backup {
    pub(crate) time_ms: u64,
    pub(crate) labels: BTreeMap<String, String>,
    pub(crate) status: Status,
}

/// The backups of one host, in no order.
#[derive(Debug, Clone)]
pub(crate) struct History {
    pub(crate) host: String,
    /// Index in [`ZONES`].
    pub(crate) zone: usize,
    pub(crate) backups: Vec<Backup>,
}

/// SplitMix64.
struct Dice(u64);

impl Dice {
    fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        z ^ (z >> 31)
    }

    /// From `low` to `high`, both included.
    fn between(&mut self, low: i64, high: i64) -> i64 {
        let width = u64::try_from(high - low).unwrap() + 1;
        low + i64::try_from(self.next() % width).unwrap()
    }

    fn one_in(&mut self, n: i64) -> bool {
        self.between(1, n) == 1
    }
}

const SECOND: i64 = 1_000;
const MINUTE: i64 = 60 * SECOND;
const HOUR: i64 = 60 * MINUTE;
const DAY: i64 = 24 * HOUR;
const YEAR: i64 = 365 * DAY;
/// 2019-01-01 and 2025-06-01: everything but clocks that are wrong lies between.
const FIRST: i64 = 1_546_300_800_000;
const LAST: i64 = 1_748_736_000_000;
/// 2090-01-01: a future for whoever runs this.
const FUTURE: i64 = 3_786_912_000_000;

/// `count` histories of 5 to 40 backups; the same for the same seed.
pub(crate) fn histories(seed: u64, count: usize) -> Vec<History> {
    let mut dice = Dice(seed);
    (0..count).map(|number| history(&mut dice, number)).collect()
}

fn history(dice: &mut Dice, number: usize) -> History {
    let zone = number % ZONES.len();
    let tz = jiff::tz::TimeZoneDatabase::bundled().get(ZONES[zone]).unwrap();
    let len = dice.between(5, 40);
    let shape = dice.between(0, 7);
    let anchor = dice.between(FIRST + YEAR, LAST);
    let mut times: Vec<i64> = Vec::new();
    for nth in 0..len {
        let again = times.last().copied().filter(|_| dice.one_in(5));
        let time = match again {
            Some(before) => near(dice, before),
            None => fresh(dice, shape, anchor, nth, &tz),
        };
        times.push(if dice.one_in(3) { time - time % SECOND } else { time });
    }
    // a clock that was wrong; in some histories of all backups
    if dice.one_in(20) {
        let wrong = if dice.one_in(3) { times.len() } else { 1 };
        for time in times.iter_mut().take(wrong) {
            *time = FUTURE + dice.between(0, YEAR);
        }
    }
    let backups = with_labels(dice, &times);
    History { host: format!("host{number:03}"), zone, backups }
}

/// The very same moment, the same second, the same minute, or the same hour.
fn near(dice: &mut Dice, before: i64) -> i64 {
    match dice.between(0, 3) {
        0 => before,
        1 => before - before % SECOND + dice.between(0, SECOND - 1),
        2 => before - before % MINUTE + dice.between(0, MINUTE - 1),
        _ => before - before % HOUR + dice.between(0, HOUR - 1),
    }
}

fn fresh(dice: &mut Dice, shape: i64, anchor: i64, nth: i64, tz: &TimeZone) -> i64 {
    match shape {
        // every day, every hour, every week, more or less
        0 => anchor - nth * DAY + dice.between(-2 * HOUR, 2 * HOUR),
        1 => anchor - nth * HOUR + dice.between(-10 * MINUTE, 10 * MINUTE),
        2 => anchor - nth * 7 * DAY + dice.between(-DAY, DAY),
        // clusters, and all over the years
        3 => anchor - dice.between(0, 3) * 40 * DAY + dice.between(0, 20 * MINUTE),
        4 => dice.between(FIRST, LAST),
        // around new year, where ISO weeks belong to another year
        5 => {
            let year = i16::try_from(dice.between(2019, 2025)).unwrap();
            local_ms(tz, year, 1, 1) + dice.between(-6 * DAY, 6 * DAY)
        }
        // around a change of the clock, and exactly a calendar step before it and after it
        6 => {
            let step = dice.between(0, 2) * [HOUR, DAY, DAY, 7 * DAY, 30 * DAY][index(dice, 5)];
            clock_change(tz, anchor) + step * dice.between(-1, 1) + dice.between(-8, 8) * 15 * MINUTE
        }
        // at the ends of months, where going back by a month overflows
        _ => {
            let month = i8::try_from(dice.between(1, 12)).unwrap();
            let year = i16::try_from(dice.between(2022, 2025)).unwrap();
            let noon = if dice.one_in(2) { 12 * HOUR } else { 0 };
            local_ms(tz, year, month, 1).min(LAST) - dice.between(-3, 3) * DAY + noon + dice.between(-1, 1)
        }
    }
}

fn index(dice: &mut Dice, len: i64) -> usize {
    usize::try_from(dice.between(0, len - 1)).unwrap()
}

/// Midnight of a day.
fn local_ms(tz: &TimeZone, year: i16, month: i8, day: i8) -> i64 {
    let midnight = jiff::civil::date(year, month, day).at(0, 0, 0, 0);
    tz.to_timestamp(midnight).unwrap().as_millisecond()
}

/// When the clock moved before `anchor`; `anchor` where it never does.
fn clock_change(tz: &TimeZone, anchor: i64) -> i64 {
    let anchor = Timestamp::from_millisecond(anchor).unwrap();
    tz.preceding(anchor).next().map_or(anchor, |change| change.timestamp()).as_millisecond()
}

/// Labels and status. Backups of one moment get the same labels: which of them restic takes for the newer is chance.
fn with_labels(dice: &mut Dice, times: &[i64]) -> Vec<Backup> {
    let labelled = dice.one_in(2);
    // in most histories all went well, as it should be
    let troubled = dice.one_in(4);
    let mut labels_at: BTreeMap<i64, BTreeMap<String, String>> = BTreeMap::new();
    for time in times {
        let mut labels = BTreeMap::new();
        for (name, values) in [("keep", ["yes", "no"]), ("tier", ["1", "2"])] {
            if labelled && dice.one_in(6) {
                labels.insert(name.to_owned(), values[index(dice, 2)].to_owned());
            }
        }
        labels_at.insert(*time, labels);
    }
    let mut backup = |time: &i64| {
        let status = if troubled && !dice.one_in(4) { Status::Partial } else { Status::Complete };
        Backup { time_ms: u64::try_from(*time).unwrap(), labels: labels_at[time].clone(), status }
    };
    times.iter().map(&mut backup).collect()
}

/// RFC 3339 with the zone's offset at that moment, as restic stores it.
pub(crate) fn rfc3339(time_ms: u64, tz: &TimeZone) -> String {
    let time = Timestamp::from_millisecond(i64::try_from(time_ms).unwrap()).unwrap();
    time.to_zoned(tz.clone()).strftime("%Y-%m-%dT%H:%M:%S%.3f%:z").to_string()
}
