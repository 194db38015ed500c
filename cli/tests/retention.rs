//! What stays by a schedule policy, from a file to reasons.

#![allow(clippy::unwrap_used, reason = "helpers of tests may panic")]

mod common;

use common::{Place, Runs, assigned, text};
use serde_json::Value;

const POLICY: &str = "\
# as the cluster has it
apiVersion: orlop.dev/v1alpha1
kind: SchedulePolicy
timeZone: Europe/Berlin
interval: {every: 15m, retain: 1}
daily: {time: \"11:00PM\", retain: 2}
";

/// A backup of `name`, made for `group` on a day of November.
fn backup(place: &Place, name: &str, group: Option<&str>, day: u8) -> String {
    let image = place.file("a.img", format!("{name} {group:?} {day}").as_bytes());
    let mut command = place.json();
    command.args(["backup", "--volume"]).arg(assigned(name, &image));
    command.args(["--time", &format!("2026-11-{day:02}T10:00:00Z")]);
    if let Some(group) = group {
        command.args(["--group", group]);
    }
    text(&command.ran().expect(0).summary(), "snapshot_id")
}

/// Ids with their reasons, oldest first.
fn listed(summary: &Value, what: &str) -> Vec<(String, String)> {
    let reasons = |one: &Value| one["reasons"].as_array().unwrap()[0].as_str().unwrap().to_owned();
    let list = summary[what].as_array().unwrap();
    list.iter().map(|one| (text(one, "snapshot_id"), reasons(one))).collect()
}

#[test]
fn a_schedule_policy_decides_on_its_groups_only() {
    let place = Place::with_repository();
    let policy = place.file("policy.yaml", POLICY.as_bytes());
    let daily: Vec<String> =
        (1..=3).map(|day| backup(&place, "shop/data", Some("shop/daily"), day)).collect();
    let weekly: Vec<String> =
        (4..=5).map(|day| backup(&place, "shop/data", Some("shop/weekly"), day)).collect();
    // a claim may be called as a type is
    let claim: Vec<String> = (6..=8).map(|day| backup(&place, "shop/interval", None, day)).collect();

    let explain =
        || place.json().args(["retention", "explain", "--policy"]).arg(&policy).ran().expect(0).summary();
    let (kept, dropped) = (listed(&explain(), "keep"), listed(&explain(), "remove"));
    assert_eq!(dropped, [(daily[0].clone(), "beyond the newest 2 successful".to_owned())]);
    let reason = |id: &String| kept.iter().find(|(one, _)| one == id).map(|(_, why)| why.as_str());
    assert_eq!(reason(&daily[2]), Some("success 1 of 2"));
    assert_eq!(reason(&daily[1]), Some("success 2 of 2"));
    for id in weekly.iter().chain(&claim) {
        assert_eq!(reason(id), Some("not of this schedule policy"), "{id}");
    }

    let forget = place.json().args(["forget", "--policy"]).arg(&policy).ran().expect(0).summary();
    assert_eq!(listed(&forget, "remove").len(), 1);
    assert_eq!(listed(&explain(), "remove"), []);
    let all = place.owner().arg("snapshots").ran().expect(0).stdout;
    let forgotten: Vec<&str> = all.lines().filter(|line| line.contains("(forgotten)")).collect();
    assert!(forgotten.len() == 1 && daily[0].ends_with(&forgotten[0][..8]), "{all}");
}

#[test]
fn documents_that_are_no_policy() {
    let place = Place::with_repository();
    let cases = [
        ("interval: [\n", "policy.yaml:1: not valid YAML"),
        ("kind: ConfigMap\ndaily: {time: 10:00}\n", "unknown variant `ConfigMap`, expected `SchedulePolicy`"),
        ("daily: {time: \"10:00\", retain: 0}\n", "nonzero"),
        ("daily: {time: \"10:00\", retian: 3}\n", "unknown field `retian`"),
        ("timeZone: UTC\n", "without any of interval, daily, weekly and monthly"),
        (
            "daily: {time: \"10:00\"}\n---\ndaily: {time: \"10:00\"}\n",
            "policy.yaml:3: found another document",
        ),
        ("", "found no document"),
        ("- daily\n", "expected a mapping"),
    ];
    for (document, words) in cases {
        let policy = place.file("policy.yaml", document.as_bytes());
        let ran = place.json().args(["retention", "explain", "--policy"]).arg(&policy).ran().expect(1);
        let error = ran.error();
        assert!(error.contains(words) && error.contains("policy.yaml"), "{document:?}: {error}");
    }
    let ran = place.json().args(["retention", "explain", "--policy", "/none"]).ran().expect(1);
    assert!(ran.error().contains("/none: cannot be read: No such file"), "{}", ran.error());
    let large = place.file("large.yaml", &vec![b'#'; (1 << 20) + 1]);
    let ran = place.json().args(["forget", "--policy"]).arg(&large).ran().expect(1);
    assert!(ran.error().contains("more than 1048576 bytes"), "{}", ran.error());
    place.json().args(["forget", "--keep-last", "3", "--policy"]).arg(&large).ran().expect(2);
}
