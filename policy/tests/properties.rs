//! What holds for every history and every policy.

#![allow(clippy::unwrap_used, reason = "helpers of tests may panic")]

use policy::retention::{Count, Decision, Entry, KeepRules, LabelSet, Span, Status, retain, rolling};
use policy::schedule::{SchedulePolicy, ScheduleType, due, next_fire};
use policy::{Zone, parse};
use proptest::prelude::*;
use serde_json::json;
use std::collections::{BTreeMap, BTreeSet};

const NOW: u64 = 1_795_000_000_000;
const GROUPS: [&str; 3] = ["a", "b", "c"];

type Backup = (u64, usize, usize, Status, bool);

fn backups() -> impl Strategy<Value = Vec<Backup>> {
    let status =
        prop_oneof![4 => Just(Status::Complete), 2 => Just(Status::Partial), 1 => Just(Status::Failed)];
    // minutes, hours or years apart, and now and then nonsense
    let time = prop_oneof![
        4 => (0u64..500).prop_map(|step| NOW - step * 600_000),
        4 => (0u64..500).prop_map(|step| NOW - step * 86_000_000 * 7),
        1 => any::<u64>(),
    ];
    prop::collection::vec((time, 0..3usize, 0..2usize, status, any::<bool>()), 0..40)
}

fn decided(history: &[Backup], decide: impl Fn(&[Entry<'_>]) -> Vec<Decision>) -> Vec<Decision> {
    let labels = [BTreeMap::new(), parse::labels("keep=yes").unwrap().0];
    let entries: Vec<Entry<'_>> = history
        .iter()
        .enumerate()
        .map(|(index, (time_ms, group, counted_in, status, label))| Entry {
            index,
            time_ms: *time_ms,
            group: GROUPS[*group],
            counted_in: GROUPS[*counted_in],
            labels: &labels[usize::from(*label)],
            status: *status,
        })
        .collect();
    decide(&entries)
}

fn rules() -> impl Strategy<Value = KeepRules> {
    let count = || {
        prop::option::weighted(
            0.3,
            prop_oneof![5 => (0u32..9).prop_map(Count::Newest), 1 => Just(Count::All)],
        )
    };
    let span = || {
        let span = (0u32..3, 0u32..20, 0u32..40, 0u32..50);
        prop::option::weighted(
            0.2,
            span.prop_map(|(years, months, days, hours)| Span { years, months, days, hours }),
        )
    };
    let counts = (count(), count(), count(), count(), count(), count());
    let spans = (span(), span(), span(), span(), span(), span());
    (counts, spans, any::<bool>()).prop_map(|(counts, spans, label)| KeepRules {
        last: counts.0,
        hourly: counts.1,
        daily: counts.2,
        weekly: counts.3,
        monthly: counts.4,
        yearly: counts.5,
        within: spans.0,
        within_hourly: spans.1,
        within_daily: spans.2,
        within_weekly: spans.3,
        within_monthly: spans.4,
        within_yearly: spans.5,
        labels: if label { vec![LabelSet(parse::labels("keep=yes").unwrap().0)] } else { Vec::new() },
    })
}

fn zones() -> impl Strategy<Value = Zone> {
    prop::sample::select(vec!["UTC", "Europe/Berlin", "America/St_Johns", "Pacific/Apia"])
        .prop_map(|name| Zone::parse(name).unwrap())
}

/// One decision for each backup, with a reason; no group without its newest success.
fn check_decisions(history: &[Backup], decisions: &[Decision]) {
    assert_eq!(decisions.len(), history.len());
    for (at, decision) in decisions.iter().enumerate() {
        assert_eq!(decision.index, at);
        assert!(!decision.reasons.is_empty());
    }
    for group in 0..3 {
        for status in [Status::Complete, Status::Partial] {
            let members = || history.iter().zip(decisions).filter(|(backup, _)| backup.1 == group);
            if status == Status::Partial && members().any(|(backup, _)| backup.3 == Status::Complete) {
                continue;
            }
            let newest = members().filter(|(backup, _)| backup.3 == status).map(|(backup, _)| backup.0).max();
            if let Some(newest) = newest {
                let stays = members()
                    .any(|(backup, decision)| backup.3 == status && backup.0 == newest && decision.keep);
                assert!(stays, "group {group} loses its last");
            }
        }
    }
}

proptest! {
    #[test]
    fn the_last_success_stays(history in backups(), rules in rules(), zone in zones()) {
        let decisions = decided(&history, |entries| retain(&rules, &zone, NOW, entries));
        check_decisions(&history, &decisions);
    }

    #[test]
    fn what_was_kept_is_kept_again(history in backups(), rules in rules(), zone in zones()) {
        let first = decided(&history, |entries| retain(&rules, &zone, NOW, entries));
        let kept: Vec<Backup> =
            history.iter().zip(&first).filter(|(_, decision)| decision.keep).map(|(backup, _)| *backup).collect();
        let second = decided(&kept, |entries| retain(&rules, &zone, NOW, entries));
        // "oldest" may still move up as the older ones go, but counts never take more
        for decision in &second {
            prop_assert!(decision.keep, "{:?} is dropped only in the second run", kept[decision.index]);
        }
    }

    #[test]
    fn a_group_does_not_feel_the_others(history in backups(), rules in rules(), zone in zones()) {
        let alone: Vec<Backup> = history.iter().filter(|backup| backup.1 == 1).copied().collect();
        let by_group = |history: &[Backup]| {
            let history: Vec<Backup> = history.iter().map(|b| (b.0, b.1, b.1, b.3, b.4)).collect();
            decided(&history, |entries| retain(&rules, &zone, NOW, entries))
        };
        let among: Vec<bool> = history.iter().zip(by_group(&history)).filter(|(b, _)| b.1 == 1).map(|(_, d)| d.keep).collect();
        let lonely: Vec<bool> = by_group(&alone).iter().map(|decision| decision.keep).collect();
        prop_assert_eq!(among, lonely);
    }

    #[test]
    fn more_rules_keep_no_less(history in backups(), rules in rules(), zone in zones(), more in 1u32..9) {
        prop_assume!(!rules.is_empty());
        let plus = KeepRules { last: Some(Count::Newest(more)), ..rules.clone() };
        let base = KeepRules { last: None, ..rules };
        prop_assume!(!base.is_empty());
        let few = decided(&history, |entries| retain(&base, &zone, NOW, entries));
        let many = decided(&history, |entries| retain(&plus, &zone, NOW, entries));
        // one that is kept only for being the last success may be so in both
        for (few, many) in few.iter().zip(&many) {
            prop_assert!(!few.keep || many.keep);
        }
    }

    #[test]
    fn rolling_keeps_the_newest_successes(history in backups(), count in 0u32..6) {
        let decisions = decided(&history, |entries| rolling(count, entries));
        check_decisions(&history, &decisions);
        for group in 0..3 {
            let mut successes: Vec<(u64, bool)> = history
                .iter()
                .zip(&decisions)
                .filter(|(backup, _)| backup.1 == group && backup.3 == Status::Complete)
                .map(|(backup, decision)| (backup.0, decision.keep))
                .collect();
            successes.sort_by_key(|(time, _)| std::cmp::Reverse(*time));
            let kept = successes.iter().filter(|(_, keep)| *keep).count();
            prop_assert_eq!(kept, successes.len().min(count.max(1) as usize));
            let oldest_kept = successes.iter().filter(|(_, keep)| *keep).map(|(time, _)| *time).min();
            let newest_dropped = successes.iter().filter(|(_, keep)| !*keep).map(|(time, _)| *time).max();
            if let (Some(kept), Some(dropped)) = (oldest_kept, newest_dropped) {
                prop_assert!(dropped <= kept);
            }
        }
    }
}

fn policies() -> impl Strategy<Value = SchedulePolicy> {
    let zone = prop::sample::select(vec!["UTC", "Europe/Berlin", "America/St_Johns", "Australia/Lord_Howe"]);
    let days = prop::collection::btree_set(prop::sample::select(vec!["mon", "wed", "sun"]), 1..4);
    let date = prop_oneof![(1u8..=31).prop_map(|date| json!(date)), Just(json!("last"))];
    (zone, 0u8..24, 0u8..60, days, 1u8..5, date, 1u32..5000, prop::option::of(1u32..5000)).prop_map(
        |(zone, hour, minute, days, weeks, date, every, deadline)| {
            let time = format!("{hour}:{minute:02}");
            let mut document = json!({
                "timeZone": zone, "interval": {"every": format!("{every}m")}, "daily": {"time": time},
                "weekly": {"days": days, "time": time, "everyWeeks": weeks},
                "monthly": {"date": date, "time": time},
            });
            if let Some(minutes) = deadline {
                document["startingDeadline"] = json!(format!("{minutes}m"));
            }
            serde_json::from_value(document).unwrap()
        },
    )
}

proptest! {
    #[test]
    fn slots_rise_and_skip_none(policy in policies(), after in 0u64..NOW, step in 0u64..40 * 86_400_000) {
        for kind in [ScheduleType::Daily, ScheduleType::Weekly, ScheduleType::Monthly] {
            let slot = next_fire(&policy, kind, after).unwrap();
            prop_assert!(slot > after);
            // from anywhere before it, the slot is the same; from itself it is another
            let between = after + step.min(slot - after - 1);
            prop_assert_eq!(next_fire(&policy, kind, between), Some(slot));
            prop_assert!(next_fire(&policy, kind, slot).unwrap() > slot);
        }
        prop_assert!(next_fire(&policy, ScheduleType::Daily, after).unwrap() - after <= 25 * 3_600_000);
    }

    #[test]
    fn a_slot_is_run_and_once(policy in policies(), last in NOW - 90 * 86_400_000..NOW, gaps in prop::collection::vec(0u64..9_000_000, 1..60)) {
        for kind in ScheduleType::ALL {
            prop_assert!(next_fire(&policy, kind, last).is_some());
            let (mut last, mut now) = (last, last);
            let mut run = BTreeSet::new();
            for gap in &gaps {
                now += gap;
                if policy.starting_deadline.is_none() {
                    let missed = next_fire(&policy, kind, last).is_some_and(|slot| slot <= now);
                    prop_assert_eq!(due(&policy, kind, last, now).is_some(), missed);
                }
                if let Some(slot) = due(&policy, kind, last, now) {
                    prop_assert!(last < slot && slot <= now);
                    prop_assert!(run.insert(slot), "the slot was run before");
                    if let Some(next) = next_fire(&policy, kind, slot).filter(|_| kind != ScheduleType::Interval) {
                        prop_assert!(next > now, "an older slot than the newest");
                    }
                    last = now;
                    prop_assert_eq!(due(&policy, kind, last, now), None);
                }
            }
        }
    }
}
