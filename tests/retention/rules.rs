//! Rule sets, spelt as both command lines take them.

use policy::parse;
use policy::retention::KeepRules;

/// Options without their dashes, and values.
pub(crate) type Rules = &'static [(&'static str, &'static str)];

/// Rules that only count: restic's answer depends on nothing but each backup's own time and offset.
pub(crate) const COUNTED: &[Rules] = &[
    &[("keep-last", "1")],
    &[("keep-last", "7")],
    &[("keep-hourly", "6")],
    &[("keep-daily", "7")],
    &[("keep-weekly", "5")],
    &[("keep-monthly", "4"), ("keep-yearly", "2")],
    &[("keep-daily", "7"), ("keep-weekly", "5"), ("keep-monthly", "12"), ("keep-yearly", "75")],
    &[("keep-last", "3"), ("keep-hourly", "0"), ("keep-daily", "unlimited")],
    &[("keep-weekly", "unlimited"), ("keep-yearly", "unlimited")],
    &[("keep-tag", "keep=yes,tier=1"), ("keep-tag", "tier=2"), ("keep-last", "1")],
    &[("keep-tag", ""), ("keep-monthly", "1")],
];

/// Rules with spans: going back by months and days needs the zone of the newest backup.
pub(crate) const SPANS: &[Rules] = &[
    // across a change of the clock, where 02:30 comes twice or never
    &[("keep-within", "1d")],
    &[("keep-within", "3d12h")],
    &[("keep-within", "1m")],
    &[("keep-within", "1y1m1d1h")],
    &[("keep-within-hourly", "36h"), ("keep-within-daily", "14d")],
    &[("keep-within-weekly", "2m"), ("keep-within-monthly", "11m"), ("keep-within-yearly", "4y")],
    &[
        ("keep-last", "2"),
        ("keep-hourly", "3"),
        ("keep-daily", "2"),
        ("keep-weekly", "2"),
        ("keep-monthly", "3"),
        ("keep-yearly", "1"),
        ("keep-within", "2h"),
        ("keep-within-hourly", "1d"),
        ("keep-within-daily", "5d"),
        ("keep-within-weekly", "1m"),
        ("keep-within-monthly", "3m"),
        ("keep-within-yearly", "2y"),
        ("keep-tag", "keep=no"),
    ],
];

/// restic refuses these as soon as one host has nothing with such a label.
pub(crate) const LABELS_ONLY: Rules = &[("keep-tag", "keep=yes")];

/// restic refuses these always.
pub(crate) const EMPTY: Rules = &[("keep-last", "0"), ("keep-daily", "0")];

/// As orlop reads them.
pub(crate) fn ours(rules: Rules) -> KeepRules {
    let mut ours = KeepRules::default();
    for (option, value) in rules {
        let count = || Some(parse::count(value).unwrap());
        let span = || Some(parse::span(value).unwrap());
        match *option {
            "keep-last" => ours.last = count(),
            "keep-hourly" => ours.hourly = count(),
            "keep-daily" => ours.daily = count(),
            "keep-weekly" => ours.weekly = count(),
            "keep-monthly" => ours.monthly = count(),
            "keep-yearly" => ours.yearly = count(),
            "keep-within" => ours.within = span(),
            "keep-within-hourly" => ours.within_hourly = span(),
            "keep-within-daily" => ours.within_daily = span(),
            "keep-within-weekly" => ours.within_weekly = span(),
            "keep-within-monthly" => ours.within_monthly = span(),
            "keep-within-yearly" => ours.within_yearly = span(),
            "keep-tag" => ours.labels.push(parse::labels(value).unwrap()),
            _ => panic!("no option {option}"),
        }
    }
    ours
}

/// As restic takes them.
pub(crate) fn theirs(rules: Rules) -> Vec<String> {
    rules.iter().map(|(option, value)| format!("--{option}={value}")).collect()
}
