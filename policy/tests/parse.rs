//! Texts of options, and keys of groups.

#![allow(clippy::unwrap_used, reason = "helpers of tests may panic")]

use policy::retention::{Count, GroupBy, KeepRules, LabelSet, Reason, Span, Traits};
use policy::schedule::{Every, TimeOfDay};
use policy::{Zone, parse};
use std::collections::BTreeMap;

fn labels(pairs: &[(&str, &str)]) -> BTreeMap<String, String> {
    pairs.iter().map(|(name, value)| ((*name).to_owned(), (*value).to_owned())).collect()
}

#[test]
fn counts() {
    assert_eq!(parse::count("0"), Ok(Count::Newest(0)));
    assert_eq!(parse::count("4294967295"), Ok(Count::Newest(u32::MAX)));
    assert_eq!(parse::count("unlimited"), Ok(Count::All));
    assert_eq!(parse::count("-1"), Ok(Count::All));
    for text in ["", "-2", "+1", "1.5", "4294967296", "all", " 1"] {
        let error = parse::count(text).unwrap_err().to_string();
        assert_eq!(error, format!("number to keep {text:?}: expected a number from 0, or unlimited"));
    }
}

#[test]
fn spans() {
    let all = Span { years: 1, months: 5, days: 7, hours: 2 };
    assert_eq!(parse::span("1y5m7d2h"), Ok(all));
    assert_eq!(parse::span("2h7d5m1y"), Ok(all));
    assert_eq!(all.to_string(), "1y5m7d2h");
    assert_eq!(parse::span("999999d"), Ok(Span { days: 999_999, ..Span::default() }));
    assert_eq!(parse::span("0h"), Ok(Span::default()));
    for text in ["", "1", "d", "1w", "1d1d", "-1d", "1000000d", "1d ", "1D", "1d2", "ä1d", "99999999999d"] {
        let error = parse::span(text).unwrap_err().to_string();
        assert_eq!(error, format!("span {text:?}: expected years, months, days and hours such as 1y5m7d2h"));
    }
}

#[test]
fn label_sets() {
    assert_eq!(parse::labels("a=1"), Ok(LabelSet(labels(&[("a", "1")]))));
    assert_eq!(parse::labels("b=,a=x=y"), Ok(LabelSet(labels(&[("a", "x=y"), ("b", "")]))));
    assert_eq!(parse::labels(""), Ok(LabelSet::default()));
    for text in ["a", "=1", "a=1,", ",", "a=1,a=2"] {
        let error = parse::labels(text).unwrap_err().to_string();
        assert_eq!(error, format!("label {text:?}: expected NAME=VALUE, several joined by commas"));
    }
}

#[test]
fn groupings() {
    assert_eq!(parse::group_by(""), Ok(GroupBy::NONE));
    assert_eq!(parse::group_by("none"), Ok(GroupBy::NONE));
    assert_eq!(parse::group_by("group"), Ok(GroupBy::default()));
    assert_eq!(parse::group_by("name"), Ok(GroupBy { name: true, ..GroupBy::NONE }));
    let most = GroupBy { volumes: true, labels: true, ..GroupBy::NONE };
    assert_eq!(parse::group_by("labels,volumes"), Ok(most));
    for text in ["host", "none,name", "name,", "Group"] {
        let error = parse::group_by(text).unwrap_err().to_string();
        assert_eq!(error, format!("grouping {text:?}: expected group, name, volumes, labels, or none"));
    }
}

#[test]
fn keys_tell_groups_apart() {
    let labels = labels(&[("a", "1"), ("b", "\"")]);
    let of = Traits { group: "web/daily", name: Some("n"), volumes: &["b", "a"], labels: &labels };
    let key = |text: &str| parse::group_by(text).unwrap().key(&of);
    assert_eq!(key("group"), "web/daily");
    assert_eq!(key("none"), "");
    assert_eq!(key("name"), "name \"n\"");
    assert_eq!(key("volumes"), "volumes [\"a\", \"b\"]");
    assert_eq!(key("labels"), "labels {\"a\": \"1\", \"b\": \"\\\"\"}");
    let all = "group \"web/daily\" name \"n\" volumes [\"a\", \"b\"] labels {\"a\": \"1\", \"b\": \"\\\"\"}";
    assert_eq!(key("group,name,volumes,labels"), all);
    let nameless = Traits { name: None, ..of };
    assert_eq!(parse::group_by("group,name").unwrap().key(&nameless), "group \"web/daily\"");
    assert_eq!(GroupBy::default(), parse::group_by("group").unwrap());
}

#[test]
fn lengths_of_time_and_times_of_day() {
    assert_eq!(parse::every("1d2h3m").map(Every::as_ms), Ok(((24 + 2) * 60 + 3) * 60_000));
    assert_eq!(parse::every("1d2h3m").unwrap().to_string(), "1d2h3m");
    assert_eq!(parse::every("1500m").unwrap().to_string(), "1d1h");
    assert_eq!(Every::from_minutes(0), None);
    assert_eq!(Every::from_minutes(366 * 24 * 60).map(Every::as_ms), Some(366 * 86_400_000));
    assert_eq!(Every::from_minutes(366 * 24 * 60 + 1), None);
    let times = [
        ("3:04PM", "15:04"),
        ("3:04pm", "15:04"),
        ("15:04", "15:04"),
        ("12:00AM", "00:00"),
        ("12:00pm", "12:00"),
        ("11:59am", "11:59"),
        ("01:05AM", "01:05"),
        ("9:30", "09:30"),
        ("00:00", "00:00"),
        ("23:59", "23:59"),
    ];
    for (text, expected) in times {
        assert_eq!(parse::time_of_day(text).unwrap().to_string(), expected, "{text}");
    }
    assert_eq!(TimeOfDay::new(200, 0), None);
    assert_eq!(TimeOfDay::new(0, 200), None);
}

#[test]
fn zones_are_found_by_name() {
    let berlin = Zone::parse("europe/berlin").unwrap();
    assert_eq!((berlin.name(), berlin.to_string().as_str()), ("Europe/Berlin", "Europe/Berlin"));
    assert_eq!(format!("{berlin:?}"), "Zone(\"Europe/Berlin\")");
    assert_eq!(String::from(berlin), "Europe/Berlin");
    assert_eq!(Zone::default(), Zone::parse("UTC").unwrap());
    let error = Zone::parse("Europe/Atlantis").unwrap_err().to_string();
    assert_eq!(error, "time zone \"Europe/Atlantis\": expected an IANA name such as Europe/Berlin");
}

#[test]
fn rules_are_empty_unless_one_can_keep() {
    assert!(KeepRules::default().is_empty());
    let zero =
        KeepRules { last: Some(Count::Newest(0)), within: Some(Span::default()), ..KeepRules::default() };
    assert!(zero.is_empty());
    assert!(!KeepRules { yearly: Some(Count::All), ..KeepRules::default() }.is_empty());
    assert!(!KeepRules { within_yearly: parse::span("1h").ok(), ..KeepRules::default() }.is_empty());
    assert!(!KeepRules { labels: vec![LabelSet::default()], ..KeepRules::default() }.is_empty());
}

#[test]
fn reasons_are_readable() {
    let span = parse::span("7d").unwrap();
    assert_eq!(Reason::Within { period: None, span, oldest: true }.to_string(), "within 7d");
    assert_eq!(Reason::Counted { period: None, oldest: true }.to_string(), "oldest last snapshot");
}
