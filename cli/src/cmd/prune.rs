//! `prune`, `undelete`, `session`.

use super::select;
use crate::args::{PruneArgs, SessionCommand, Size, Time, UndeleteArgs, Unused};
use crate::context::Context;
use crate::exit::{Exit, Failure};
use crate::format::{PackClass, ProcessId, SnapshotId};
use crate::text;
use repository::Repository;
use repository::pending::{self, PendingEntry};
use repository::prune::{self as engine, MaxUnused, PlannedPack, PruneOptions, PrunePlan, PruneReport};
use repository::snapshots::{Filter, short_id};
use repository::undelete;
use serde_json::{Value, json};

/// Packs of a plan that are named one by one, unless `-v` is given.
const NAMED_MAX: usize = 10;

pub(super) async fn run(context: &Context, args: PruneArgs) -> Result<(), Failure> {
    let take_over = args.take_over.iter().map(|proc| ProcessId::parse(proc)).collect::<Result<Vec<_>, _>>();
    let options = PruneOptions {
        dry_run: args.dry_run,
        max_unused: match args.max_unused {
            Unused::Percent(percent) => MaxUnused::Percent(percent),
            Unused::Bytes(bytes) => MaxUnused::Bytes(bytes),
            Unused::Unlimited => MaxUnused::Unlimited,
        },
        max_repack_bytes: args.max_repack_bytes.map(|Size(bytes)| bytes),
        max_time: args.max_time.map(|Time(time)| time),
        undelete_window: args.undelete_window.0,
        index_only: args.index_only,
        take_over: take_over
            .map_err(|_| Failure::usage("--take-over: 32 hex digits expected, as the error names them"))?,
        temp_dir: args.temp_dir,
        ..PruneOptions::default()
    };
    let repository = context.open().await?;
    prune(context, &repository, options).await
}

/// Prunes and tells.
pub(super) async fn prune(
    context: &Context,
    repository: &Repository,
    options: PruneOptions,
) -> Result<(), Failure> {
    let dry_run = options.dry_run;
    let (progress, display) = context.progress();
    // it looks for a signal itself: what was copied is listed on the way out
    let result = engine::prune(repository, options, &progress).await;
    drop(display);
    let report = result?;
    let output = context.output;
    for warning in &report.warnings {
        output.warn(warning);
    }
    if output.json() {
        output.summary(document(&report, dry_run, context.duration_seconds()))?;
    } else {
        tell(context, &report, dry_run)?;
    }
    if report.lost.is_empty() {
        return Ok(());
    }
    for (sid, record) in &report.lost {
        output.error(&format!("snapshot {sid}: {record}: no pack holds it"), Exit::Damage);
    }
    let what = "nothing was condemned: what is lost cannot be told from what is not needed; \
                `orlop repair` marks it, `orlop forget --allow-last` gives a snapshot up";
    Err(Failure::Said(Exit::Damage, what.into()))
}

fn tell(context: &Context, report: &PruneReport, dry_run: bool) -> Result<(), Failure> {
    let (output, plan) = (context.output, &report.plan);
    output.told(format!(
        "{}, {}: {} needed, {} stay unused",
        text::count(plan.packs_total, "pack"),
        text::bytes(plan.bytes_total),
        text::bytes(plan.bytes_used),
        text::bytes(plan.bytes_unused_after)
    ))?;
    for (what, packs) in [("condemn", &plan.condemn), ("repack", &plan.repack)] {
        let shown =
            if context.global.verbose || dry_run && packs.len() <= NAMED_MAX { packs.len() } else { 0 };
        for pack in packs.iter().take(shown) {
            output.told(format!(
                "{what} {} {}: {}, {} needed: {}",
                class(pack),
                pack.pack_id,
                text::bytes(pack.len),
                text::bytes(pack.used_len),
                pack.reason.text()
            ))?;
        }
    }
    for sid in &plan.kept_last {
        output
            .told(format!("snapshot {} stays: it is the last successful one of its group", short_id(sid)))?;
    }
    if plan.packs_young > 0 {
        output.told(format!(
            "{} of sessions that may still be running stay ({})",
            text::count(plan.packs_young, "pack"),
            text::bytes(plan.bytes_young)
        ))?;
    }
    if dry_run { tell_plan(context, plan) } else { tell_done(context, report) }
}

fn tell_plan(context: &Context, plan: &PrunePlan) -> Result<(), Failure> {
    let output = context.output;
    output.line(format!(
        "would condemn {} ({}), copying {} out of {}",
        text::count((plan.condemn.len() + plan.repack.len()) as u64, "pack"),
        text::bytes(plan.bytes_condemned()),
        text::bytes(plan.bytes_to_repack()),
        text::count(plan.repack.len() as u64, "pack")
    ))?;
    if plan.packs_to_delete > 0 {
        output.line(format!(
            "would delete {} condemned before ({})",
            text::count(plan.packs_to_delete, "pack"),
            text::bytes(plan.bytes_to_delete)
        ))?;
    }
    output.told(format!("index: {}, {} to merge", text::count(plan.runs.runs, "run"), plan.runs.merged))
}

fn tell_done(context: &Context, report: &PruneReport) -> Result<(), Failure> {
    let output = context.output;
    output.line(format!(
        "{} condemned ({}), {} copied; {} deleted ({} freed)",
        text::count(report.packs_condemned, "pack"),
        text::bytes(report.bytes_condemned),
        text::bytes(report.bytes_repacked),
        text::count(report.packs_deleted, "pack"),
        text::bytes(report.bytes_freed)
    ))?;
    if report.packs_rescued > 0 {
        output.told(format!("{} stay for a backup that has come to need them", report.packs_rescued))?;
    }
    if report.sessions_ended > 0 {
        output.told(format!(
            "{} ended that had not moved for a week",
            text::count(report.sessions_ended, "session")
        ))?;
    }
    match report.free_at_ms {
        Some(at) => output.line(format!(
            "{} will be free at {}, when a prune deletes it",
            text::bytes(report.bytes_waiting),
            text::time(at)
        )),
        None => Ok(()),
    }
}

fn class(pack: &PlannedPack) -> &'static str {
    if pack.class == PackClass::Map { "map" } else { "data" }
}

fn document(report: &PruneReport, dry_run: bool, duration_seconds: f64) -> Value {
    let plan = &report.plan;
    let pack = |pack: &PlannedPack| {
        json!({
            "pack_id": pack.pack_id.to_string(),
            "class": class(pack),
            "bytes": pack.len,
            "bytes_used": pack.used_len,
            "reason": pack.reason.text(),
        })
    };
    let ids = |ids: &[SnapshotId]| ids.iter().map(ToString::to_string).collect::<Vec<_>>();
    json!({
        "dry_run": dry_run,
        "generation": report.generation,
        "packs_total": plan.packs_total,
        "bytes_total": plan.bytes_total,
        "bytes_used": plan.bytes_used,
        "bytes_unused_after": plan.bytes_unused_after,
        "condemn": plan.condemn.iter().map(pack).collect::<Vec<_>>(),
        "repack": plan.repack.iter().map(pack).collect::<Vec<_>>(),
        "bytes_to_condemn": plan.bytes_condemned(),
        "bytes_to_repack": plan.bytes_to_repack(),
        "packs_to_delete": plan.packs_to_delete,
        "bytes_to_delete": plan.bytes_to_delete,
        "packs_young": plan.packs_young,
        "bytes_young": plan.bytes_young,
        "snapshots_forgotten": ids(&plan.forgotten),
        "snapshots_kept_last": ids(&plan.kept_last),
        "packs_condemned": report.packs_condemned,
        "bytes_condemned": report.bytes_condemned,
        "packs_rescued": report.packs_rescued,
        "packs_deleted": report.packs_deleted,
        "bytes_freed": report.bytes_freed,
        "bytes_repacked": report.bytes_repacked,
        "bytes_waiting": report.bytes_waiting,
        "free_at": report.free_at_ms.map(text::time),
        "snapshots_deleted": report.snapshots_deleted,
        "sessions_ended": report.sessions_ended,
        "runs": plan.runs.runs,
        "runs_written": report.runs_written,
        "runs_deleted": report.runs_deleted,
        "lost": report.lost.iter().map(|(sid, record)| json!({"snapshot_id": sid.to_string(), "record": record}))
            .collect::<Vec<_>>(),
        "duration_seconds": duration_seconds,
    })
}

pub(super) async fn undelete(context: &Context, args: UndeleteArgs) -> Result<(), Failure> {
    let repository = context.open().await?;
    let entry = select::one(context, &repository, &args.snapshot, Filter::default()).await?;
    let (progress, display) = context.progress();
    let result = context.exec.unless_cancelled(undelete::undelete(&repository, entry.id, &progress)).await;
    drop(display);
    let report = result?;
    if context.output.json() {
        return context.output.summary(json!({
            "forgotten_id": report.forgotten_id.to_string(),
            "snapshot_id": report.snapshot_id.to_string(),
            "bytes_stored": report.bytes_stored,
            "duration_seconds": context.duration_seconds(),
        }));
    }
    context.output.line(format!(
        "snapshot {} is back as {} ({} stored)",
        short_id(&report.forgotten_id),
        short_id(&report.snapshot_id),
        text::bytes(report.bytes_stored)
    ))
}

pub(super) async fn session(context: &Context, command: SessionCommand) -> Result<(), Failure> {
    let repository = context.open().await?;
    let (entries, unread) = context.exec.unless_cancelled(pending::list(&repository)).await?;
    for error in &unread {
        context.output.warn(&error.to_string());
    }
    match command {
        SessionCommand::List => {
            list_sessions(context, &entries)?;
            select::partial(unread.len())
        }
        SessionCommand::Drop { session } => {
            let sid = find_session(&entries, &session)?;
            pending::drop_session(&repository, sid).await?;
            if context.output.json() {
                return context.output.summary(json!({"session_id": sid.to_string()}));
            }
            context.output.line(format!("session {} dropped", short_id(&sid)))
        }
    }
}

fn find_session(entries: &[PendingEntry], spec: &str) -> Result<SnapshotId, Failure> {
    let text = spec.to_ascii_lowercase();
    let is_meant = |sid: &SnapshotId| {
        let id = sid.to_string();
        !text.is_empty() && (id.starts_with(&text) || id.ends_with(&text))
    };
    let found: Vec<SnapshotId> = entries.iter().map(|entry| entry.sid).filter(is_meant).collect();
    match found.as_slice() {
        [one] => Ok(*one),
        [] => Err(Failure::usage(format!("session {spec:?}: none matches; `orlop session list` lists them"))),
        several => Err(Failure::usage(format!("session {spec:?}: {} match", several.len()))),
    }
}

fn list_sessions(context: &Context, entries: &[PendingEntry]) -> Result<(), Failure> {
    let output = context.output;
    let volumes = |entry: &PendingEntry| {
        let snapshot = entry.snapshot.as_ref();
        let volumes = snapshot.map(|snapshot| snapshot.volumes.iter().map(|volume| volume.name.clone()));
        volumes.map(Iterator::collect::<Vec<_>>).unwrap_or_default()
    };
    if output.json() {
        let list = entries.iter().map(|entry| {
            json!({
                "session_id": entry.sid.to_string(),
                "announced": text::time(entry.stored_ms),
                "volumes": volumes(entry),
                "committed": entry.committed,
                "readable": entry.snapshot.is_some(),
            })
        });
        return output.value(&Value::Array(list.collect()));
    }
    let rows: Vec<_> = entries
        .iter()
        .map(|entry| {
            let state = if entry.committed { "committed" } else { "announced" };
            let named = text::one_line(&volumes(entry).join(","));
            vec![short_id(&entry.sid), text::time(entry.stored_ms), state.into(), named]
        })
        .collect();
    for line in text::table(&["ID", "ANNOUNCED", "STATE", "VOLUMES"], &rows) {
        output.line(line)?;
    }
    output.told(text::count(rows.len() as u64, "session"))
}
