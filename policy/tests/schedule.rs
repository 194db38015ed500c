//! Schedule policies with their slots (`golden/*.schedule`), and documents that are refused (`golden/refused.documents`).
//!
//! A case begins with a policy as JSON; each line under it is a question and, after `->`, its answer.

#![allow(clippy::unwrap_used, clippy::panic, reason = "helpers of tests may panic")]

use jiff::Timestamp;
use policy::schedule::{SchedulePolicy, ScheduleType, backup_name, due, first_due, next_fire};
use serde_json::json;

fn time(text: &str) -> u64 {
    let time: Timestamp = text.parse().unwrap_or_else(|error| panic!("{text}: {error}"));
    u64::try_from(time.as_millisecond()).unwrap()
}

fn show(time: Option<u64>) -> String {
    time.map_or("nothing".to_owned(), |ms| {
        Timestamp::from_millisecond(i64::try_from(ms).unwrap()).unwrap().to_string()
    })
}

fn kind(word: &str) -> ScheduleType {
    ScheduleType::ALL
        .into_iter()
        .find(|kind| kind.to_string() == word)
        .unwrap_or_else(|| panic!("type {word}"))
}

fn answer(policy: &SchedulePolicy, question: &str) -> String {
    let words: Vec<&str> = question.split_whitespace().collect();
    match words[..] {
        [which, "after", after] => show(next_fire(policy, kind(which), time(after))),
        ["due", which, last, now] => show(due(policy, kind(which), time(last), time(now))),
        ["first", last, now] => first_due(policy, |_| time(last), time(now))
            .map_or("nothing".to_owned(), |due| format!("{} {}", due.kind, show(Some(due.slot_ms)))),
        _ => panic!("question {question}"),
    }
}

fn questions(text: &str) -> usize {
    let mut asked = 0;
    for case in text.split("\n\n") {
        let mut lines = case.lines().filter(|line| !line.starts_with('#'));
        let document = lines.next().unwrap();
        let policy: SchedulePolicy =
            serde_json::from_str(document).unwrap_or_else(|error| panic!("{document}: {error}"));
        for line in lines {
            let (question, expected) = line.split_once(" -> ").unwrap_or_else(|| panic!("{line}: no ->"));
            assert_eq!(answer(&policy, question), expected, "{document}\n{question}");
            asked += 1;
        }
    }
    asked
}

#[test]
fn slots_are_as_written() {
    assert_eq!(questions(include_str!("golden/calendar.schedule")), 63);
    assert_eq!(questions(include_str!("golden/missed.schedule")), 24);
}

#[test]
fn what_makes_no_sense_is_refused_when_it_is_read() {
    for line in include_str!("golden/refused.documents").lines() {
        let (document, expected) = line.split_once(" -> ").unwrap();
        let error = serde_json::from_str::<SchedulePolicy>(document).expect_err(document).to_string();
        let (message, _place) = error.split_once(" at line ").unwrap_or((&error, ""));
        assert_eq!(message, expected, "{document}");
    }
}

#[test]
fn a_document_with_all_of_it_is_read_and_written_again() {
    let document = json!({
        "kind": "SchedulePolicy", "timeZone": "Europe/Berlin", "startingDeadline": "1d1h1m",
        "interval": {"every": "15m", "retain": 1}, "daily": {"time": "23:00", "retain": 2},
        "weekly": {"days": ["wed", "sun"], "time": "22:30", "retain": 3, "everyWeeks": 52},
        "monthly": {"day": "fri", "week": "last", "months": ["jan", "jul"], "time": "00:00", "retain": 4},
    });
    let policy: SchedulePolicy = serde_json::from_value(document.clone()).unwrap();
    assert_eq!(serde_json::to_value(&policy).unwrap(), document);
    let retain = ScheduleType::ALL.map(|kind| policy.retain(kind).map(u32::from));
    assert_eq!(retain, [Some(1), Some(2), Some(3), Some(4)]);
    for (read, written) in [(json!(31), json!(31)), (json!("last"), json!("last"))] {
        let document = json!({"monthly": {"date": read, "time": "3:04pm"}});
        let policy: SchedulePolicy = serde_json::from_value(document).unwrap();
        let expected = json!({"kind": "SchedulePolicy", "timeZone": "UTC",
            "monthly": {"date": written, "time": "15:04", "retain": 12}});
        assert_eq!(serde_json::to_value(&policy).unwrap(), expected);
    }
}

#[test]
fn what_is_left_out_has_defaults() {
    let document = json!({
        "apiVersion": "orlop.dev/v1alpha1", "interval": {"every": "366d"}, "daily": {"time": "12:00AM"},
        "weekly": {"days": ["sun"], "time": "12:59pm"}, "monthly": {"day": "sun", "week": 5, "time": "01:00am"},
    });
    let policy: SchedulePolicy = serde_json::from_value(document).unwrap();
    let expected = json!({
        "kind": "SchedulePolicy", "timeZone": "UTC",
        "interval": {"every": "366d", "retain": 10}, "daily": {"time": "00:00", "retain": 30},
        "weekly": {"days": ["sun"], "time": "12:59", "retain": 7, "everyWeeks": 1},
        "monthly": {"day": "sun", "week": 5, "time": "01:00", "retain": 12},
    });
    assert_eq!(serde_json::to_value(&policy).unwrap(), expected);
    let one: SchedulePolicy = serde_json::from_value(json!({"daily": {"time": "12:00AM"}})).unwrap();
    assert_eq!(ScheduleType::ALL.map(|kind| one.retain(kind).is_some()), [false, true, false, false]);
}

#[test]
fn a_date_needs_one_month_that_has_it() {
    for (date, months) in [(29, json!(["feb"])), (30, json!(["feb", "nov"])), (31, json!(["apr", "may"]))] {
        let document = json!({"monthly": {"date": date, "months": months, "time": "0:00"}});
        assert!(serde_json::from_value::<SchedulePolicy>(document.clone()).is_ok(), "{document}");
    }
    for month in ["apr", "jun", "sep", "nov"] {
        let document = |date| json!({"monthly": {"date": date, "months": [month], "time": "0:00"}});
        assert!(serde_json::from_value::<SchedulePolicy>(document(30)).is_ok(), "{month}");
        assert!(serde_json::from_value::<SchedulePolicy>(document(31)).is_err(), "{month}");
    }
    for month in ["jan", "mar", "may", "jul", "aug", "oct", "dec"] {
        let document = json!({"monthly": {"date": 31, "months": [month], "time": "0:00"}});
        assert!(serde_json::from_value::<SchedulePolicy>(document).is_ok(), "{month}");
    }
}

#[test]
fn backups_are_named_by_their_time_in_utc() {
    let name = backup_name("nightly", ScheduleType::Weekly, time("2026-03-09T01:02:03.999Z"));
    assert_eq!(name, "nightly-weekly-2026-03-09-010203");
}

#[test]
fn an_interval_at_the_end_of_all_time_is_none() {
    let policy: SchedulePolicy = serde_json::from_value(json!({"interval": {"every": "1m"}})).unwrap();
    assert_eq!(next_fire(&policy, ScheduleType::Interval, u64::MAX - 1), None);
    assert_eq!(next_fire(&policy, ScheduleType::Interval, u64::MAX - 60_000), Some(u64::MAX));
    let daily: SchedulePolicy = serde_json::from_value(json!({"daily": {"time": "0:00"}})).unwrap();
    assert_eq!(next_fire(&daily, ScheduleType::Daily, u64::MAX), None);
}
