//! `repair`: the index anew, and marks on what is lost.

use super::lost;
use crate::args::RepairArgs;
use crate::context::Context;
use crate::exit::{Exit, Failure};
use crate::text;
use repository::repair::{self as engine, PlannedMark, RepairOptions, RepairReport};
use serde_json::{Value, json};

pub(super) async fn run(context: &Context, args: RepairArgs) -> Result<(), Failure> {
    let repository = context.open().await?;
    let options = RepairOptions { dry_run: args.dry_run, read_data: args.read_data };
    let (progress, display) = context.progress();
    let result = context.exec.unless_cancelled(engine::repair(&repository, options, &progress)).await;
    drop(display);
    let report = result?;
    let output = context.output;
    for warning in &report.warnings {
        output.warn(warning);
    }
    if output.json() {
        output.summary(document(&report, args.dry_run, context.duration_seconds()))?;
    } else {
        tell(context, &report, args.dry_run)?;
    }
    for what in &report.unreadable {
        output.error(&format!("{what}: no mark can be put on it"), Exit::Partial);
    }
    if !report.unsettled.is_empty() {
        output.warn("an unfinished prune may condemn what is needed: run `orlop prune`, then repair again");
    }
    if report.is_whole() {
        return Ok(());
    }
    let what = format!("not whole: {}", text::count(not_whole(&report), "snapshot"));
    Err(Failure::Said(Exit::Partial, what))
}

fn not_whole(report: &RepairReport) -> u64 {
    let unsettled = report.unsettled.iter().filter(|sid| !report.damaged.contains_key(sid)).count();
    (report.damaged.len() + unsettled + report.unreadable.len()) as u64
}

fn tell(context: &Context, report: &RepairReport, dry_run: bool) -> Result<(), Failure> {
    let (output, plan) = (context.output, &report.plan);
    for (name, pack) in &plan.name {
        output.told(format!("name {name}: {}, {} records", text::bytes(pack.len), pack.records))?;
    }
    for (name, pack) in &plan.lost {
        let done = if pack.is_named { "leave out" } else { "unusable" };
        output.told(text::one_line(&format!("{done} {name}: {}", pack.why)))?;
    }
    for (what, runs) in [("remove", &plan.runs_damaged), ("write anew", &plan.runs_to_rewrite)] {
        runs.iter().try_for_each(|name| output.told(format!("{what} {name}")))?;
    }
    for (sid, mark) in &plan.marks {
        let what = if mark.is_whole() { "whole again" } else { "mark as damaged" };
        output.told(format!("snapshot {sid}: {what}"))?;
    }
    for (sid, mark) in &report.damaged {
        for line in lost::lines(&mark.volumes, &mark.manifests) {
            output.line(format!("snapshot {sid}: {line}"))?;
        }
    }
    output.told(if dry_run {
        "nothing was changed".to_owned()
    } else {
        format!(
            "{} written, {} removed, {} written, {:.1} s",
            text::count(report.runs_written, "index run"),
            text::count(report.runs_deleted, "index run"),
            text::count(report.marks_written, "mark"),
            context.duration_seconds()
        )
    })
}

fn document(report: &RepairReport, dry_run: bool, duration_seconds: f64) -> Value {
    let plan = &report.plan;
    let named = |(object, pack): (&String, &engine::NamedPack)| json!({"object": object, "bytes": pack.len, "records": pack.records});
    let lost_pack = |(object, pack): (&String, &engine::LostPack)| json!({"object": object, "found": pack.why, "left_out": pack.is_named});
    let damaged = |(sid, mark): (&crate::format::SnapshotId, &PlannedMark)| {
        json!({
            "snapshot_id": sid.to_string(),
            "bytes_lost": mark.lost_len(),
            "lost": lost::document(&mark.volumes, &mark.manifests),
        })
    };
    let whole = plan.marks.iter().filter(|(_, mark)| mark.is_whole()).map(|(sid, _)| sid.to_string());
    json!({
        "dry_run": dry_run,
        "packs_named": plan.name.iter().map(named).collect::<Vec<_>>(),
        "packs_lost": plan.lost.iter().map(lost_pack).collect::<Vec<_>>(),
        "runs_damaged": plan.runs_damaged,
        "runs_to_rewrite": plan.runs_to_rewrite,
        "damaged": report.damaged.iter().map(damaged).collect::<Vec<_>>(),
        "whole_again": whole.collect::<Vec<_>>(),
        "unsettled": report.unsettled.iter().map(ToString::to_string).collect::<Vec<_>>(),
        "unreadable": report.unreadable,
        "runs_written": report.runs_written,
        "runs_deleted": report.runs_deleted,
        "marks_written": report.marks_written,
        "duration_seconds": duration_seconds,
    })
}
