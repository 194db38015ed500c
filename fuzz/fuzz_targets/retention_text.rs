#![no_main]

use libfuzzer_sys::fuzz_target;
use policy::retention::{Entry, KeepRules, Status, retain};
use policy::{Zone, parse};

/// 2026-11-26, in Unix milliseconds.
const NOW_MS: u64 = 1_795_651_200_000;

// Any text is read or refused, and whatever rule it makes keeps the last successful backup.
fuzz_target!(|text: &str| {
    let mut rules = KeepRules { daily: parse::count(text).ok(), within: parse::span(text).ok(), ..KeepRules::default() };
    rules.within_monthly = rules.within;
    rules.labels.extend(parse::labels(text));
    let _ = (parse::group_by(text), parse::every(text), parse::time_of_day(text));
    let zone = Zone::parse(text).unwrap_or_else(|_| Zone::utc());
    let labels = Default::default();
    let entry = |index: usize| Entry {
        index,
        time_ms: NOW_MS - index as u64 * 20_000_000,
        group: "g",
        counted_in: "g",
        labels: &labels,
        status: if index % 3 == 0 { Status::Complete } else { Status::Partial },
    };
    let history: Vec<Entry<'_>> = (0..40).map(entry).collect();
    let decisions = retain(&rules, &zone, NOW_MS, &history);
    assert_eq!(decisions.len(), history.len());
    assert!(decisions.iter().zip(&history).any(|(one, entry)| one.keep && entry.status == Status::Complete));
});
