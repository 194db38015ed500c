//! On which days of the calendar a part of a policy fires.

use super::{Month, Monthly, MonthlyOn, Place, SchedulePolicy, ScheduleType, TimeOfDay, Weekday, Weekly};
use jiff::civil::{self, Date};

/// The Monday from which weeks are counted.
const FIRST_MONDAY: Date = civil::date(1970, 1, 5);

/// The days of one part of a policy.
pub(crate) enum Days<'a> {
    Daily,
    Weekly(&'a Weekly),
    Monthly(&'a Monthly),
}

impl Days<'_> {
    /// The days and the time of a calendar part; `None` for the interval, and for a part that the policy does not have.
    pub(crate) fn of(policy: &SchedulePolicy, kind: ScheduleType) -> Option<(Days<'_>, TimeOfDay)> {
        match kind {
            ScheduleType::Interval => None,
            ScheduleType::Daily => policy.daily.as_ref().map(|part| (Days::Daily, part.time)),
            ScheduleType::Weekly => policy.weekly.as_ref().map(|part| (Days::Weekly(part), part.time)),
            ScheduleType::Monthly => policy.monthly.as_ref().map(|part| (Days::Monthly(part), part.time)),
        }
    }

    pub(crate) fn contain(&self, date: Date) -> bool {
        match self {
            Days::Daily => true,
            Days::Weekly(part) => {
                part.days.contains(&weekday(date))
                    && week_number(date).rem_euclid(part.every_weeks.max(1).into()) == 0
            }
            Days::Monthly(part) => part.months.contains(&month(date)) && is_on(date, part.on),
        }
    }
}

fn is_on(date: Date, on: MonthlyOn) -> bool {
    let day = date.day().unsigned_abs();
    match on {
        MonthlyOn::Date(Place::Nth(number)) => day == number,
        MonthlyOn::Date(Place::Last) => date == date.last_of_month(),
        MonthlyOn::Weekday(wanted, Place::Nth(week)) => weekday(date) == wanted && day.div_ceil(7) == week,
        MonthlyOn::Weekday(wanted, Place::Last) => {
            let later = date.days_in_month() - date.day();
            weekday(date) == wanted && later < 7
        }
    }
}

/// Weeks since the first Monday.
fn week_number(date: Date) -> i64 {
    FIRST_MONDAY.duration_until(date).as_hours().div_euclid(7 * 24)
}

fn weekday(date: Date) -> Weekday {
    match date.weekday() {
        civil::Weekday::Monday => Weekday::Mon,
        civil::Weekday::Tuesday => Weekday::Tue,
        civil::Weekday::Wednesday => Weekday::Wed,
        civil::Weekday::Thursday => Weekday::Thu,
        civil::Weekday::Friday => Weekday::Fri,
        civil::Weekday::Saturday => Weekday::Sat,
        civil::Weekday::Sunday => Weekday::Sun,
    }
}

fn month(date: Date) -> Month {
    let place = usize::from(date.month().unsigned_abs()).saturating_sub(1);
    Month::ALL.get(place).copied().unwrap_or(Month::Dec)
}
