//! `forget` and `retention explain`: what stays, what goes, and why.

use super::{prune, select};
use crate::args::{ExplainArgs, ForgetArgs, KeepArgs, RetentionCommand};
use crate::context::Context;
use crate::exit::Failure;
use crate::format::{SnapshotId, SnapshotStatus};
use crate::{input, text};
use k8s_source::manifest::parse_document;
use policy::retention::{Decision, Entry, KeepRules, Status, Traits, retain, rolling, rolling_by_policy};
use policy::schedule::SchedulePolicy;
use repository::forget;
use repository::prune::PruneOptions;
use repository::snapshots::{self, Filter, SnapshotEntry, short_id};
use serde_json::{Value, json};
use std::path::Path;

const HEAD: [&str; 6] = ["", "ID", "TIME", "GROUP", "STATUS", "WHY"];

/// Bytes of a schedule policy at most.
const POLICY_LEN_MAX: u64 = 1 << 20;

/// A snapshot and what becomes of it.
struct Verdict<'a> {
    entry: &'a SnapshotEntry,
    keep: bool,
    reasons: Vec<String>,
}

pub(super) async fn run(context: &Context, command: RetentionCommand) -> Result<(), Failure> {
    let RetentionCommand::Explain(ExplainArgs { keep, filter }) = command;
    if !keep.is_given() {
        return Err(Failure::usage("no rule given: --keep-last, --keep-daily ..., --rolling or --policy"));
    }
    let rules = rules(context, &keep).await?;
    let repository = context.open().await?;
    let (entries, unread) = select::all(context, &repository).await?;
    let wanted = candidates(&entries, &filter.into());
    tell(context, &decide(&wanted, &keep, &rules, context.env.clock.now_ms()), true)?;
    select::partial(unread)
}

pub(super) async fn forget(context: &Context, args: ForgetArgs) -> Result<(), Failure> {
    if args.snapshots.is_empty() && !args.keep.is_given() {
        return Err(Failure::usage(
            "nothing to forget: name snapshots, or give rules such as --keep-daily 7",
        ));
    }
    let rules = rules(context, &args.keep).await?;
    let repository = context.open().await?;
    if !args.dry_run && !repository.role().can_delete() {
        // said before anything is printed that will not happen
        forget::forget(&repository, &[], false).await?;
    }
    let (entries, unread) = select::all_and_problems(context, &repository).await?;
    let filter: Filter = args.filter.into();
    let (lost, names) = given_up(&args.snapshots, args.allow_last, &snapshots::unreadable(&unread))?;
    let wanted = candidates(&entries, &filter);
    let verdicts = if args.snapshots.is_empty() && lost.is_empty() {
        decide(&wanted, &args.keep, &rules, context.env.clock.now_ms())
    } else {
        named(&entries, &names, args.allow_last, &filter)?
    };
    let sids: Vec<_> = verdicts.iter().filter(|one| !one.keep).map(|one| one.entry.id).collect();
    if !args.dry_run {
        forget::forget(&repository, &sids, args.allow_last).await?;
        forget::forget(&repository, &lost, true).await?;
    }
    for sid in &lost {
        context.output.warn(&format!("snapshot {sid} cannot be read, and is given up"));
    }
    tell(context, &verdicts, args.dry_run)?;
    if args.prune {
        let options = PruneOptions { dry_run: args.dry_run, ..PruneOptions::default() };
        prune::prune(context, &repository, options).await?;
    }
    select::partial(unread.len().saturating_sub(lost.len()))
}

/// Snapshots that were named by their full ids and cannot be read: nobody can say of what group they are
/// the last, so they need `--allow-last`. The rest of the names stays.
fn given_up(
    names: &[String],
    allow_last: bool,
    unreadable: &[SnapshotId],
) -> Result<(Vec<SnapshotId>, Vec<String>), Failure> {
    let (mut lost, mut rest) = (Vec::new(), Vec::new());
    for name in names {
        match SnapshotId::parse(name).ok().filter(|sid| unreadable.contains(sid)) {
            None => rest.push(name.clone()),
            Some(sid) if allow_last => lost.push(sid),
            Some(sid) => {
                let what = format!(
                    "snapshot {sid}: it cannot be read, so it may be the last one of its group; --allow-last drops it all the same"
                );
                return Err(Failure::usage(what));
            }
        }
    }
    Ok((lost, rest))
}

/// Snapshots that rules may decide on: those that are not forgotten, ordered so that of equal times the
/// one that prune takes for newer comes first.
fn candidates<'a>(entries: &'a [SnapshotEntry], filter: &Filter) -> Vec<&'a SnapshotEntry> {
    entries.iter().rev().filter(|entry| !entry.forgotten && filter.matches(entry)).collect()
}

fn status_of(entry: &SnapshotEntry) -> Status {
    match entry.snapshot.status {
        SnapshotStatus::Success => Status::Complete,
        SnapshotStatus::Partial => Status::Partial,
        SnapshotStatus::Failed => Status::Failed,
    }
}

/// Whether nobody chose the group: it is the names of the volumes.
fn is_of_volumes(entry: &SnapshotEntry) -> bool {
    let mut names: Vec<&str> = entry.snapshot.volumes.iter().map(|volume| volume.name.as_str()).collect();
    names.sort_unstable();
    entry.snapshot.group == names.join(",")
}

/// What decides.
enum Rules {
    Keep(KeepRules),
    Rolling(u32),
    Policy(Box<SchedulePolicy>),
}

async fn rules(context: &Context, keep: &KeepArgs) -> Result<Rules, Failure> {
    let Some(path) = keep.policy.clone() else {
        return Ok(keep.rolling.map_or_else(|| Rules::Keep(keep.rules()), Rules::Rolling));
    };
    let policy = context.exec.blocking(move || read_policy(&path));
    Ok(Rules::Policy(Box::new(context.exec.unless_cancelled(policy).await??)))
}

fn read_policy(path: &Path) -> Result<SchedulePolicy, Failure> {
    let name = text::one_line(&path.display().to_string());
    let failed = |what: String| Failure::failed(format!("{name}: {what}"));
    let document = input::read(path, POLICY_LEN_MAX).map_err(failed)?;
    let json = parse_document(&name, &document).map_err(|error| Failure::failed(error.to_string()))?;
    // the document is one line by now: its columns say nothing about the file
    let parsed: Result<Value, _> = serde_json::from_slice(&json);
    parsed.and_then(serde_json::from_value).map_err(|error| failed(format!("no schedule policy: {error}")))
}

fn decide<'a>(
    entries: &[&'a SnapshotEntry],
    keep: &KeepArgs,
    rules: &Rules,
    now_ms: u64,
) -> Vec<Verdict<'a>> {
    let group_by = keep.group_by.unwrap_or_default();
    let keys: Vec<String> = entries
        .iter()
        .map(|entry| {
            let snapshot = &entry.snapshot;
            let volumes: Vec<&str> = snapshot.volumes.iter().map(|volume| volume.name.as_str()).collect();
            let (name, labels) = (snapshot.name.as_deref(), &snapshot.labels);
            group_by.key(&Traits { group: &snapshot.group, name, volumes: &volumes, labels })
        })
        .collect();
    let history: Vec<Entry<'_>> = entries
        .iter()
        .zip(&keys)
        .enumerate()
        .map(|(index, (entry, counted_in))| Entry {
            index,
            time_ms: entry.time_ms(),
            group: match rules {
                // a volume may be called as the type of a schedule is
                Rules::Policy(_) if is_of_volumes(entry) => "",
                _ => &entry.snapshot.group,
            },
            counted_in,
            labels: &entry.snapshot.labels,
            status: status_of(entry),
        })
        .collect();
    let decisions = match rules {
        Rules::Keep(rules) => retain(rules, &keep.time_zone, now_ms, &history),
        Rules::Rolling(count) => rolling(*count, &history),
        Rules::Policy(policy) => rolling_by_policy(policy, &history),
    };
    let verdict = |decision: Decision| {
        let reasons = decision.reasons.iter().map(ToString::to_string).collect();
        entries.get(decision.index).map(|entry| Verdict { entry, keep: decision.keep, reasons })
    };
    let mut verdicts: Vec<Verdict<'_>> = decisions.into_iter().filter_map(verdict).collect();
    verdicts.reverse();
    verdicts
}

/// Snapshots that were asked for by name.
fn named<'a>(
    entries: &'a [SnapshotEntry],
    specs: &[String],
    allow_last: bool,
    filter: &Filter,
) -> Result<Vec<Verdict<'a>>, Failure> {
    let mut wanted: Vec<&SnapshotEntry> = Vec::new();
    for spec in specs {
        let entry = snapshots::find(entries, spec, filter)?;
        if !wanted.iter().any(|other| other.id == entry.id) {
            wanted.push(entry);
        }
    }
    for entry in wanted.iter().filter(|entry| !allow_last && status_of(entry) == Status::Complete) {
        let is_other = |other: &&SnapshotEntry| {
            !other.forgotten
                && other.snapshot.group == entry.snapshot.group
                && status_of(other) == Status::Complete
                && !wanted.iter().any(|gone| gone.id == other.id)
        };
        if !entries.iter().any(|other| is_other(&other)) {
            return Err(Failure::usage(format!(
                "snapshot {}: it would leave no successful backup of the group {:?}; --allow-last drops it all the same",
                short_id(&entry.id),
                entry.snapshot.group
            )));
        }
    }
    let verdict = |entry| Verdict { entry, keep: false, reasons: vec!["named".into()] };
    Ok(wanted.into_iter().map(verdict).collect())
}

fn tell(context: &Context, verdicts: &[Verdict<'_>], dry_run: bool) -> Result<(), Failure> {
    let output = context.output;
    let (kept, dropped): (Vec<_>, Vec<_>) = verdicts.iter().partition(|one| one.keep);
    if output.json() {
        let list = |list: &[&Verdict<'_>]| Value::Array(list.iter().map(|one| document(one)).collect());
        let fields = json!({"keep": list(&kept), "remove": list(&dropped), "dry_run": dry_run});
        return output.summary(fields);
    }
    let rows: Vec<_> = verdicts.iter().map(row).collect();
    for line in text::table(&HEAD, &rows) {
        output.line(line)?;
    }
    let done = if dry_run { "would be forgotten" } else { "forgotten" };
    output.told(format!(
        "{} kept, {} {done}",
        text::count(kept.len() as u64, "snapshot"),
        text::count(dropped.len() as u64, "snapshot")
    ))
}

fn document(one: &Verdict<'_>) -> Value {
    let snapshot = &one.entry.snapshot;
    json!({
        "snapshot_id": one.entry.id.to_string(),
        "short_id": short_id(&one.entry.id),
        "time": text::time(snapshot.time),
        "group": snapshot.group,
        "name": snapshot.name,
        "reasons": one.reasons,
    })
}

fn row(one: &Verdict<'_>) -> Vec<String> {
    let snapshot = &one.entry.snapshot;
    let status = match status_of(one.entry) {
        Status::Complete => "complete",
        Status::Partial => "partial",
        Status::Failed => "failed",
    };
    vec![
        if one.keep { "keep" } else { "drop" }.into(),
        short_id(&one.entry.id),
        text::time(snapshot.time),
        text::one_line(&snapshot.group),
        status.into(),
        text::one_line(&one.reasons.join(", ")),
    ]
}
