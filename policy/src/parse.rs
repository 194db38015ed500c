//! From the texts of options to rules.

use crate::Error;
use crate::retention::{Count, GroupBy, LabelSet, Span};
use crate::schedule::{Every, TimeOfDay};

/// Reads how many to keep: a number, or `unlimited` (also `-1`, as older versions of restic spell it).
///
/// # Errors
/// Anything else, and numbers over 4,294,967,295.
pub fn count(text: &str) -> Result<Count, Error> {
    if matches!(text, "unlimited" | "-1") {
        return Ok(Count::All);
    }
    let number = digits(text).and_then(|digits| digits.parse().ok());
    number
        .map(Count::Newest)
        .ok_or_else(|| Error::new("number to keep", text, "a number from 0, or unlimited"))
}

/// Reads a span of calendar time: years, months, days and hours, such as `1y5m7d2h`; each unit at most once, in any order.
///
/// # Errors
/// Other units, a unit given twice, no number, an empty text, and numbers over 999,999.
pub fn span(text: &str) -> Result<Span, Error> {
    units(text, b"ymdh", 999_999)
        .map(|[years, months, days, hours]| Span { years, months, days, hours })
        .ok_or_else(|| Error::new("span", text, "years, months, days and hours such as 1y5m7d2h"))
}

/// Reads labels that a snapshot must have: `K=V`, several joined by commas. The empty text stands for snapshots without labels.
///
/// # Errors
/// A part without `=` or without a name, and a name given twice.
pub fn labels(text: &str) -> Result<LabelSet, Error> {
    let refuse = || Error::new("label", text, "NAME=VALUE, several joined by commas");
    let mut set = LabelSet::default();
    for part in text.split(',').filter(|_| !text.is_empty()) {
        let (name, value) = part.split_once('=').filter(|(name, _)| !name.is_empty()).ok_or_else(refuse)?;
        if set.0.insert(name.to_owned(), value.to_owned()).is_some() {
            return Err(refuse());
        }
    }
    Ok(set)
}

/// Reads what is counted together: `group`, `name`, `volumes` and `labels`, joined by commas; `none` or the empty text puts all together.
///
/// # Errors
/// Another word.
pub fn group_by(text: &str) -> Result<GroupBy, Error> {
    let mut by = GroupBy::NONE;
    if matches!(text, "" | "none") {
        return Ok(by);
    }
    for word in text.split(',') {
        match word {
            "group" => by.group = true,
            "name" => by.name = true,
            "volumes" => by.volumes = true,
            "labels" => by.labels = true,
            _ => return Err(Error::new("grouping", text, "group, name, volumes, labels, or none")),
        }
    }
    Ok(by)
}

/// Reads a length of time: days of 24 hours, hours and minutes, such as `1d`, `2h30m`; each unit at most once, in any order.
///
/// # Errors
/// Other units, a unit given twice, no number, and what is not between a minute and 366 days.
pub fn every(text: &str) -> Result<Every, Error> {
    units(text, b"dhm", 999_999)
        .and_then(|[days, hours, minutes]| Every::from_minutes((days * 24 + hours) * 60 + minutes))
        .ok_or_else(|| {
            Error::new("length of time", text, "days, hours and minutes such as 15m or 1d12h, 1m to 366d")
        })
}

/// Reads a time of day: `3:04PM`, `3:04pm` or `15:04`.
///
/// # Errors
/// Another form, and a time that a day does not have.
pub fn time_of_day(text: &str) -> Result<TimeOfDay, Error> {
    clock(text).ok_or_else(|| Error::new("time", text, "3:04PM, 3:04pm or 15:04"))
}

fn clock(text: &str) -> Option<TimeOfDay> {
    let half = |upper, lower| text.strip_suffix(upper).or_else(|| text.strip_suffix(lower));
    let (digits_of, noon) = match (half("AM", "am"), half("PM", "pm")) {
        (Some(rest), _) => (rest, Some(0)),
        (_, Some(rest)) => (rest, Some(12)),
        _ => (text, None),
    };
    let (hour, minute) = digits_of.split_once(':')?;
    if hour.len() > 2 || minute.len() != 2 {
        return None;
    }
    let (hour, minute): (u8, u8) = (digits(hour)?.parse().ok()?, digits(minute)?.parse().ok()?);
    match noon {
        None => TimeOfDay::new(hour, minute),
        Some(noon) if (1..=12).contains(&hour) => TimeOfDay::new(hour % 12 + noon, minute),
        Some(_) => None,
    }
}

/// The numbers before each unit's letter; 0 for a unit that is not there. `None` if the text is anything else.
fn units<const N: usize>(text: &str, letters: &[u8; N], max: u32) -> Option<[u32; N]> {
    let mut found = [None; N];
    let mut rest = text;
    while let Some(at) = rest.find(|c: char| !c.is_ascii_digit()) {
        let (number, unit) = rest.split_at(at);
        let number: u32 = digits(number)?.parse().ok().filter(|number| *number <= max)?;
        let place = letters.iter().position(|letter| unit.as_bytes().first() == Some(letter))?;
        if found.get_mut(place)?.replace(number).is_some() {
            return None;
        }
        // letters are ASCII, so the rest begins at a character
        rest = unit.get(1..)?;
    }
    let complete = rest.is_empty() && found.iter().any(Option::is_some);
    complete.then(|| found.map(Option::unwrap_or_default))
}

/// The text itself if it is a number without sign.
fn digits(text: &str) -> Option<&str> {
    text.bytes().all(|byte| byte.is_ascii_digit()).then_some(text)
}
