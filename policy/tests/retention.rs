//! Histories with what becomes of each backup, as files that are read like tables: `golden/*.history`.
//!
//! Options come first (`zone`, `now`, `by`, and the keep rules by their names, `rolling N`, or `policy DOCUMENT` in JSON), then one backup per line,
//! `TIME STATUS GROUP [LABELS] -> keep|drop: REASONS`. An empty line ends a case.

#![allow(clippy::unwrap_used, clippy::panic, reason = "helpers of tests may panic")]

use jiff::Timestamp;
use policy::retention::{
    Decision, Entry, GroupBy, KeepRules, Status, Traits, retain, rolling, rolling_by_policy,
};
use policy::schedule::SchedulePolicy;
use policy::{Zone, parse};
use std::collections::BTreeMap;
use std::path::Path;

struct Line {
    text: String,
    time_ms: u64,
    status: Status,
    group: String,
    counted_in: String,
    labels: BTreeMap<String, String>,
}

struct Case {
    zone: Zone,
    now_ms: u64,
    by: GroupBy,
    rules: KeepRules,
    rolling: Option<u32>,
    policy: Option<SchedulePolicy>,
    lines: Vec<Line>,
}

fn time(text: &str) -> u64 {
    let time: Timestamp = text.parse().unwrap_or_else(|error| panic!("{text}: {error}"));
    u64::try_from(time.as_millisecond()).unwrap()
}

fn option(case: &mut Case, name: &str, value: &str) {
    let rules = &mut case.rules;
    match name {
        "zone" => case.zone = Zone::parse(value).unwrap(),
        "now" => case.now_ms = time(value),
        "by" => case.by = parse::group_by(value).unwrap(),
        "rolling" => case.rolling = Some(value.parse().unwrap()),
        "policy" => case.policy = Some(serde_json::from_str(value).unwrap()),
        "last" => rules.last = Some(parse::count(value).unwrap()),
        "hourly" => rules.hourly = Some(parse::count(value).unwrap()),
        "daily" => rules.daily = Some(parse::count(value).unwrap()),
        "weekly" => rules.weekly = Some(parse::count(value).unwrap()),
        "monthly" => rules.monthly = Some(parse::count(value).unwrap()),
        "yearly" => rules.yearly = Some(parse::count(value).unwrap()),
        "within" => rules.within = Some(parse::span(value).unwrap()),
        "within-hourly" => rules.within_hourly = Some(parse::span(value).unwrap()),
        "within-daily" => rules.within_daily = Some(parse::span(value).unwrap()),
        "within-weekly" => rules.within_weekly = Some(parse::span(value).unwrap()),
        "within-monthly" => rules.within_monthly = Some(parse::span(value).unwrap()),
        "within-yearly" => rules.within_yearly = Some(parse::span(value).unwrap()),
        "label" => rules.labels.push(parse::labels(value).unwrap()),
        _ => panic!("unknown option {name}"),
    }
}

fn line(text: &str, by: GroupBy) -> Line {
    let (backup, _) = text.split_once(" -> ").unwrap_or_else(|| panic!("{text}: no ->"));
    let words: Vec<&str> = backup.split_whitespace().collect();
    let status = match words[1] {
        "complete" => Status::Complete,
        "partial" => Status::Partial,
        "failed" => Status::Failed,
        other => panic!("{text}: status {other}"),
    };
    let labels = parse::labels(words.get(3).unwrap_or(&"")).unwrap().0;
    let traits = Traits { group: words[2], name: None, volumes: &[], labels: &labels };
    Line {
        text: text.to_owned(),
        time_ms: time(words[0]),
        status,
        group: words[2].to_owned(),
        counted_in: by.key(&traits),
        labels,
    }
}

fn decide(case: &Case) -> Vec<Decision> {
    let entries: Vec<Entry<'_>> = case
        .lines
        .iter()
        .enumerate()
        .map(|(at, line)| Entry {
            index: at + 100,
            time_ms: line.time_ms,
            group: &line.group,
            counted_in: &line.counted_in,
            labels: &line.labels,
            status: line.status,
        })
        .collect();
    if let Some(policy) = &case.policy {
        return rolling_by_policy(policy, &entries);
    }
    case.rolling.map_or_else(
        || retain(&case.rules, &case.zone, case.now_ms, &entries),
        |count| rolling(count, &entries),
    )
}

/// The case as it would read if what was decided was expected.
fn check(name: &str, text: &str) -> usize {
    let mut case = Case {
        zone: Zone::utc(),
        now_ms: time("2100-01-01T00:00:00Z"),
        by: GroupBy::default(),
        rules: KeepRules::default(),
        rolling: None,
        policy: None,
        lines: Vec::new(),
    };
    for text in text.lines().filter(|text| !text.starts_with('#')) {
        if text.contains(" -> ") {
            case.lines.push(line(text, case.by));
        } else {
            let (option_name, value) = text.split_once(' ').unwrap_or((text, ""));
            option(&mut case, option_name, value);
        }
    }
    let decisions = decide(&case);
    assert_eq!(decisions.len(), case.lines.len());
    let mut wrong = Vec::new();
    for (at, (line, decision)) in case.lines.iter().zip(&decisions).enumerate() {
        assert_eq!(decision.index, at + 100, "the caller's handle");
        let (backup, _) = line.text.split_once(" -> ").unwrap();
        let verb = if decision.keep { "keep" } else { "drop" };
        let reasons: Vec<String> = decision.reasons.iter().map(ToString::to_string).collect();
        let found = format!("{backup} -> {verb}: {}", reasons.join("; "));
        if found != line.text {
            wrong.push(format!("  expected {}\n  found    {found}", line.text));
        }
    }
    assert!(wrong.is_empty(), "{name}:\n{text}\n{}", wrong.join("\n"));
    case.lines.len()
}

#[test]
fn histories_are_decided_as_written() {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/golden");
    let mut files: Vec<_> = std::fs::read_dir(folder).unwrap().map(|entry| entry.unwrap().path()).collect();
    files.retain(|path| path.extension().is_some_and(|extension| extension == "history"));
    files.sort();
    let mut backups = 0;
    for file in &files {
        let text = std::fs::read_to_string(file).unwrap();
        for case in text.split("\n\n").map(str::trim).filter(|case| case.contains(" -> ")) {
            backups += check(&file.display().to_string(), case);
        }
    }
    assert!(backups > 80, "only {backups} backups found");
}
