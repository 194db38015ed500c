//! Keep rules with the meanings of restic 0.19.

use super::rules::Slot;
use super::{
    Count, Decision, Entry, KeepRules, Period, Reason, Span, Status, decide, grouped, indispensable,
};
use crate::Zone;
use crate::zone::moment;
use jiff::civil::{Date, DateTime};
use jiff::{SignedDuration, Timestamp};

/// Decides by `rules` what to keep of `history`; the decisions come in the order of the history.
///
/// Hours, days and so on are those of `zone`. Spans reach back from the newest of what is counted together, not from now; what lies
/// after `now_ms` is not taken for the newest, so that a wrong clock cannot make everything else old. Failed backups count for no rule
/// and stay until a later one of their group is complete. Empty rules keep everything.
pub fn retain(rules: &KeepRules, zone: &Zone, now_ms: u64, history: &[Entry<'_>]) -> Vec<Decision> {
    if rules.is_empty() {
        let keep =
            |entry: &Entry<'_>| Decision { index: entry.index, keep: true, reasons: vec![Reason::NoRules] };
        return history.iter().map(keep).collect();
    }
    let counted = grouped(history, |entry| entry.counted_in);
    let groups = grouped(history, |entry| entry.group);
    let mut kept = vec![Vec::new(); history.len()];
    for members in counted.values() {
        let real: Vec<usize> =
            members.iter().copied().filter(|at| history[*at].status != Status::Failed).collect();
        apply(rules, zone, now_ms, history, &real, &mut kept);
    }
    for members in groups.values() {
        let since = members.iter().take_while(|at| history[**at].status != Status::Complete);
        for at in since.filter(|at| history[**at].status == Status::Failed) {
            kept[*at].push(Reason::FailedSince);
        }
    }
    let mut needed = indispensable(&counted, history);
    needed.extend(indispensable(&groups, history));
    decide(history, kept, &needed, |_| Reason::NoRule)
}

/// Notes for each of `members`, newest first, which rules keep it.
fn apply(
    rules: &KeepRules,
    zone: &Zone,
    now_ms: u64,
    history: &[Entry<'_>],
    members: &[usize],
    kept: &mut [Vec<Reason>],
) {
    let newest = members.iter().map(|at| history[*at].time_ms).find(|time| *time < now_ms);
    let mut counters: Vec<Counter> =
        rules.counts().map(|(period, left)| Counter::new(period, left)).collect();
    let mut spans: Vec<(Span, Option<Timestamp>, Counter)> = rules
        .spans()
        .map(|(period, span)| {
            let since = newest.and_then(|newest| back(zone, moment(newest), span));
            (span, since, Counter::new(period, Count::All))
        })
        .collect();
    let oldest = members.last();
    for at in members {
        let entry = &history[*at];
        let time = moment(entry.time_ms);
        let local = zone.local(time);
        let is_oldest = oldest == Some(at);
        let reasons = &mut kept[*at];
        let matching = rules.labels.iter().filter(|set| set.matches(entry.labels));
        reasons.extend(matching.map(|set| Reason::Labels(set.clone())));
        for counter in &mut counters {
            let taken = counter.take(local, is_oldest);
            reasons.extend(taken.map(|oldest| Reason::Counted { period: counter.period, oldest }));
        }
        for (span, since, counter) in &mut spans {
            if since.is_none_or(|since| time > since) {
                let taken = counter.take(local, is_oldest);
                reasons.extend(taken.map(|oldest| Reason::Within {
                    period: counter.period,
                    span: *span,
                    oldest,
                }));
            }
        }
    }
}

/// Takes the newest of each period, as long as some are left.
struct Counter {
    period: Option<Period>,
    left: Count,
    seen: Option<Slot>,
}

impl Counter {
    fn new(period: Option<Period>, left: Count) -> Counter {
        Counter { period, left, seen: None }
    }

    /// Whether the next older backup is taken, and if so, whether only for being the oldest of all: so the history that is kept
    /// reaches as far back as it can while the rule has some left.
    fn take(&mut self, local: DateTime, is_oldest: bool) -> Option<bool> {
        if self.left.is_spent() {
            return None;
        }
        let slot = self.period.map(|period| period.slot(local));
        let new = slot.is_none() || slot != self.seen;
        if !new && !is_oldest {
            return None;
        }
        self.seen = slot;
        self.left = self.left.less_one();
        Some(!new)
    }
}

/// The moment `span` before `time`: the date as it is written goes back by years and months, what overflows a month runs on into the
/// next (one month before 31 March is 3 March, or 2 March in a leap year), then by days; hours are exact. `None` before all time.
fn back(zone: &Zone, time: Timestamp, span: Span) -> Option<Timestamp> {
    let local = zone.local(time);
    let first = Date::new(local.year(), local.month(), 1).ok()?;
    let months = i64::from(span.years) * 12 + i64::from(span.months);
    let first = first.checked_sub(jiff::Span::new().try_months(months).ok()?).ok()?;
    let days = i64::from(local.day()) - 1 - i64::from(span.days);
    let date = first.checked_add(jiff::Span::new().try_days(days).ok()?).ok()?;
    let moment = zone.moment_like_restic(date.to_datetime(local.time()))?;
    moment.checked_sub(SignedDuration::from_hours(span.hours.into())).ok()
}
