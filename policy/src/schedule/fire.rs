//! The next slot, and the one that is due.

use super::days::Days;
use super::{SchedulePolicy, ScheduleType};
use crate::zone::moment;
use std::iter::successors;

/// How far ahead the next slot is looked for. The longest wait is 40 years: a fifth Sunday in February from 2088 on.
const DAYS_MAX: usize = 41 * 366;
/// How far back missed slots are looked for: the longest wait, and less than `DAYS_MAX` days with a slot each.
const MISSED_MAX_MS: u64 = 40 * 366 * 86_400_000;

/// A slot whose backup is to be made now.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Due {
    /// Which part of the policy.
    pub kind: ScheduleType,
    /// The slot, in Unix milliseconds.
    pub slot_ms: u64,
}

/// The first slot after `after_ms`, in Unix milliseconds; for an interval, `after_ms` is the last run.
///
/// `None` if the policy does not have the type, and after the year 9999.
pub fn next_fire(policy: &SchedulePolicy, kind: ScheduleType, after_ms: u64) -> Option<u64> {
    if kind == ScheduleType::Interval {
        return after_ms.checked_add(policy.interval.as_ref()?.every.as_ms());
    }
    let (days, time) = Days::of(policy, kind)?;
    // a slot that the clock leaps over is later than its day, none is earlier: so no earlier day matters
    let first = policy.zone.local(moment(after_ms)).date();
    successors(Some(first), |date| date.tomorrow().ok())
        .take(DAYS_MAX)
        .filter(|date| days.contain(*date))
        .filter_map(|date| policy.zone.first_moment(date.to_datetime(time.time())))
        .filter_map(|slot| u64::try_from(slot.as_millisecond()).ok())
        .find(|slot| *slot > after_ms)
}

/// The slot to run now, if there is one: the newest after `last_ms` and not after `now_ms`, unless the starting deadline is over.
///
/// Of several missed slots only the newest counts, so what was missed is run once. `last_ms` is when the last run of the type began or,
/// before the first, when the schedule was made; a run that ends without success counts, too.
pub fn due(policy: &SchedulePolicy, kind: ScheduleType, last_ms: u64, now_ms: u64) -> Option<u64> {
    let slot = newest_slot(policy, kind, last_ms, now_ms)?;
    let late = now_ms.checked_sub(slot)?;
    policy.starting_deadline.is_none_or(|deadline| late <= deadline.as_ms()).then_some(slot)
}

/// The first type with a slot to run now, in the order of [`ScheduleType::ALL`]. `last_ms` says for each when it was last run, as in [`due`].
pub fn first_due(policy: &SchedulePolicy, last_ms: impl Fn(ScheduleType) -> u64, now_ms: u64) -> Option<Due> {
    ScheduleType::ALL
        .into_iter()
        .find_map(|kind| due(policy, kind, last_ms(kind), now_ms).map(|slot_ms| Due { kind, slot_ms }))
}

fn newest_slot(policy: &SchedulePolicy, kind: ScheduleType, last_ms: u64, now_ms: u64) -> Option<u64> {
    if kind == ScheduleType::Interval {
        let every = policy.interval.as_ref()?.every.as_ms();
        let since = now_ms.checked_sub(last_ms)?;
        return (since >= every).then(|| now_ms - since % every);
    }
    let start = last_ms.max(now_ms.saturating_sub(MISSED_MAX_MS));
    let first = next_fire(policy, kind, start)?;
    let slots = successors(Some(first), |slot| next_fire(policy, kind, *slot)).take(DAYS_MAX);
    slots.take_while(|slot| *slot <= now_ms).last()
}

/// `SCHEDULE-TYPE-YYYY-MM-DD-hhmmss`, in UTC: an hour that comes twice must not give two backups one name.
pub fn backup_name(schedule: &str, kind: ScheduleType, begun_ms: u64) -> String {
    format!("{schedule}-{kind}-{}", moment(begun_ms).strftime("%Y-%m-%d-%H%M%S"))
}
