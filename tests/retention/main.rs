//! Retention means what it means in restic 0.19.1, but for the differences listed here and in `docs/retention.md`.
//!
//! 500 random histories, one host each, in one restic repository; for every set of rules `restic forget --dry-run` says what it would
//! keep and why, and our rules must say the same of every backup, reasons included.

mod history;
mod restic;
mod rules;

use history::{Backup, History, ZONES, histories};
use policy::Zone;
use policy::retention::{Decision, Entry, Reason, Status, retain};
use restic::Repository;
use rules::Rules;
use serde::Deserialize;
use std::collections::BTreeMap;
use std::io::Write;
use std::thread;

const SEED: u64 = 0x0197_5e70;
const HISTORY_COUNT: usize = 500;
/// 2026-01-01. The histories lie before it or decades after, so for restic, which asks the clock, now might as well be then.
const NOW_MS: u64 = 1_767_225_600_000;

/// What one side says of the backups of one history: time, whether it stays, the sorted reasons. Sorted, since which of two backups of
/// one moment counts as the newer is chance in restic.
type Verdict = Vec<(u64, bool, Vec<String>)>;

/// What was seen with one set of rules.
#[derive(Default)]
struct Tally {
    kept: usize,
    removed: usize,
    last_successful: usize,
    last_partial: usize,
}

#[test]
fn rules_mean_what_they_mean_in_restic() {
    let Ok(program) = tests::tools::find("restic") else {
        return;
    };
    let histories = histories(SEED, HISTORY_COUNT);
    let repository = Repository::create(program, &histories);
    let mut tallies = Vec::new();
    for pair in rules::COUNTED.chunks(2) {
        tallies.extend(at_once(pair, |rules| compare(&repository, &histories, rules, None)));
    }
    for rules in rules::SPANS {
        // a run for each zone, since restic goes back by months and days in the time of its computer
        let mut sum = Tally::default();
        for (_, tally) in at_once(&[1, 2, 3], |zone| compare(&repository, &histories, rules, Some(*zone))) {
            sum.add(&tally);
        }
        tallies.push((rules, sum));
    }
    for (rules, tally) in &tallies {
        assert_eq!(tally.kept + tally.removed, repository.backups.len(), "{rules:?} judge every backup");
        assert!(tally.kept >= HISTORY_COUNT && tally.removed > HISTORY_COUNT, "{rules:?} do both");
    }
    refused(&repository, &histories);
    list_differences(&repository, &tallies);
}

/// What `task` makes of each item, in threads of their own.
fn at_once<'a, T: Sync, R: Send>(items: &'a [T], task: impl Fn(&'a T) -> R + Sync) -> Vec<(&'a T, R)> {
    let task = &task;
    thread::scope(|scope| {
        let running: Vec<_> = items.iter().map(|item| (item, scope.spawn(move || task(item)))).collect();
        running.into_iter().map(|(item, thread)| (item, thread.join().unwrap())).collect()
    })
}

/// Whether a history is judged when the computer is in `zone`: its own, and UTC's in Berlin, which never has the offset of UTC, so that
/// restic takes it for a zone of its own.
fn is_judged_in(history: &History, zone: usize) -> bool {
    history.zone == zone || (history.zone == 0 && zone == 1)
}

/// Compares one set of rules, in all histories or in those that are judged in one zone.
fn compare(repository: &Repository, histories: &[History], rules: Rules, zone: Option<usize>) -> Tally {
    let selected = |history: &History| zone.is_none_or(|zone| is_judged_in(history, zone));
    let theirs = theirs(repository, histories, rules, zone);
    let keep = rules::ours(rules);
    let mut tally = Tally::default();
    for (at, history) in histories.iter().enumerate().filter(|(_, history)| selected(history)) {
        let mut ours = Vec::new();
        for (backup, decision) in history.backups.iter().zip(decide(&keep, history)) {
            ours.push(without_differences(backup, decision, &mut tally));
        }
        ours.sort();
        assert_eq!(Some(&ours), theirs.get(&at), "{} in {}: {rules:?}", history.host, ZONES[history.zone]);
        let kept = ours.iter().filter(|(_, kept, _)| *kept).count();
        tally.kept += kept;
        tally.removed += ours.len() - kept;
    }
    assert_eq!(theirs.len(), histories.iter().filter(|history| selected(history)).count());
    tally
}

fn decide(rules: &policy::retention::KeepRules, history: &History) -> Vec<Decision> {
    let zone = Zone::parse(ZONES[history.zone]).unwrap();
    let entry = |(index, backup): (usize, &'_ Backup)| Entry {
        index,
        time_ms: backup.time_ms,
        group: &history.host,
        counted_in: &history.host,
        labels: &history.backups[index].labels,
        status: backup.status,
    };
    let entries: Vec<Entry<'_>> = history.backups.iter().enumerate().map(entry).collect();
    let decisions = retain(rules, &zone, NOW_MS, &entries);
    assert!(decisions.iter().map(|decision| decision.index).eq(0..entries.len()));
    decisions
}

/// What we would say if we differed on nothing, in restic's words; the differences are counted.
fn without_differences(backup: &Backup, decision: Decision, tally: &mut Tally) -> (u64, bool, Vec<String>) {
    match decision.reasons[..] {
        [Reason::LastSuccessful] => {
            assert!(decision.keep && backup.status == Status::Complete);
            tally.last_successful += 1;
            (backup.time_ms, false, Vec::new())
        }
        [Reason::LastPartial] => {
            assert!(decision.keep && backup.status == Status::Partial);
            tally.last_partial += 1;
            (backup.time_ms, false, Vec::new())
        }
        [Reason::NoRule] => {
            assert!(!decision.keep);
            (backup.time_ms, false, Vec::new())
        }
        _ => {
            let mut reasons: Vec<String> = decision.reasons.iter().map(Reason::to_string).collect();
            reasons.sort();
            (backup.time_ms, decision.keep, reasons)
        }
    }
}

#[derive(Deserialize)]
struct Group {
    host: String,
    keep: Option<Vec<Snapshot>>,
    remove: Option<Vec<Snapshot>>,
    reasons: Option<Vec<Kept>>,
}

#[derive(Deserialize)]
struct Snapshot {
    id: String,
}

#[derive(Deserialize)]
struct Kept {
    snapshot: Snapshot,
    matches: Vec<String>,
}

/// What restic says, by history.
fn theirs(
    repository: &Repository,
    histories: &[History],
    rules: Rules,
    zone: Option<usize>,
) -> BTreeMap<usize, Verdict> {
    let output = forget(repository, histories, rules, zone);
    assert!(output.status.success(), "{rules:?}: {}", String::from_utf8_lossy(&output.stderr));
    let groups: Vec<Group> = serde_json::from_slice(&output.stdout).unwrap();
    let mut verdicts: BTreeMap<usize, Verdict> = BTreeMap::new();
    for group in groups {
        let (keep, reasons) = (group.keep.unwrap_or_default(), group.reasons.unwrap_or_default());
        assert!(keep.iter().map(|kept| &kept.id).eq(reasons.iter().map(|kept| &kept.snapshot.id)));
        let kept = reasons.into_iter().map(|kept| (kept.snapshot.id, true, in_our_words(&kept.matches)));
        let removed = group.remove.unwrap_or_default();
        let removed = removed.into_iter().map(|snapshot| (snapshot.id, false, Vec::new()));
        for (id, keep, reasons) in kept.chain(removed) {
            let (at, nth) = repository.backups[&id];
            assert_eq!(histories[at].host, group.host);
            verdicts.entry(at).or_default().push((histories[at].backups[nth].time_ms, keep, reasons));
        }
    }
    verdicts.values_mut().for_each(|verdict| verdict.sort());
    verdicts
}

fn forget(
    repository: &Repository,
    histories: &[History],
    rules: Rules,
    zone: Option<usize>,
) -> std::process::Output {
    let mut arguments = rules::theirs(rules);
    if let Some(zone) = zone {
        let hosts = histories.iter().filter(|history| is_judged_in(history, zone));
        arguments.extend(hosts.map(|history| format!("--host={}", history.host)));
    }
    let mut all = vec!["forget", "--dry-run", "--no-lock", "--json", "--group-by=host"];
    all.extend(arguments.iter().map(String::as_str));
    repository.run(ZONES[zone.unwrap_or_default()], &all)
}

/// restic's tags are our labels.
fn in_our_words(matches: &[String]) -> Vec<String> {
    let reword = |text: &String| match text.strip_prefix("has tags [").and_then(|rest| rest.strip_suffix(']'))
    {
        Some("") => "has no labels".to_owned(),
        Some(tags) => format!("has labels {}", tags.replace(", ", ",")),
        None => text.clone(),
    };
    let mut words: Vec<String> = matches.iter().map(reword).collect();
    words.sort();
    words
}

/// Where restic refuses a whole run: rules that would leave a host nothing (we keep its last successful backup), and rules that keep
/// nothing (so should a command of ours; the rules themselves keep everything).
fn refused(repository: &Repository, histories: &[History]) {
    let output = forget(repository, histories, rules::LABELS_ONLY, None);
    let message = String::from_utf8_lossy(&output.stderr);
    assert!(!output.status.success() && message.contains("refusing to delete last snapshot"), "{message}");
    let output = forget(repository, histories, rules::EMPTY, None);
    let message = String::from_utf8_lossy(&output.stderr);
    assert!(!output.status.success() && message.contains("no policy was specified"), "{message}");
    assert!(rules::ours(rules::EMPTY).is_empty());
    for history in histories {
        let kept = decide(&rules::ours(rules::LABELS_ONLY), history).iter().filter(|one| one.keep).count();
        assert!((1..=history.backups.len()).contains(&kept), "{}: {kept}", history.host);
        assert!(decide(&rules::ours(rules::EMPTY), history).iter().all(|decision| decision.keep));
    }
}

impl Tally {
    fn add(&mut self, other: &Tally) {
        self.kept += other.kept;
        self.removed += other.removed;
        self.last_successful += other.last_successful;
        self.last_partial += other.last_partial;
    }
}

/// The differences, one line per set of rules; not `println!`, which the test harness swallows where the test passes.
fn list_differences(repository: &Repository, tallies: &[(&Rules, Tally)]) {
    let mut total = Tally::default();
    let mut list = String::new();
    for (rules, tally) in tallies {
        total.add(tally);
        let options = rules::theirs(rules).join(" ");
        list.push_str(&format!(
            "  both keep {:5}, both remove {:5}, only restic removes {:3} (the last successful of its group): {options}\n",
            tally.kept, tally.removed, tally.last_successful
        ));
    }
    assert!(total.last_successful > 100, "the difference is there to be seen: {}", total.last_successful);
    // Rules other than labels keep the newest, so a partial one needs no rescue.
    assert_eq!(total.last_partial, 0);
    let head = format!(
        "retention: {HISTORY_COUNT} histories, {} snapshots, {} rule sets as in restic 0.19.1; differences on purpose:\n",
        repository.backups.len(),
        tallies.len()
    );
    let _ = std::io::stderr().lock().write_all((head + &list).as_bytes());
}
