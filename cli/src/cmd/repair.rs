//! `repair`: the index anew, lost records from where they still are, and marks on the rest.

use super::lost;
use crate::args::RepairArgs;
use crate::context::Context;
use crate::exit::{Exit, Failure};
use crate::text;
use repository::repair::{self as engine, BadRecord, PlannedMark, Remedy, RepairOptions, RepairReport};
use serde_json::{Value, json};

pub(super) async fn run(context: &Context, args: RepairArgs) -> Result<(), Failure> {
    let repository = context.open().await?;
    let other = context.open_other(&args.from).await?;
    let options = RepairOptions { dry_run: args.dry_run, read_data: args.read_data };
    let (progress, display) = context.progress();
    let work = engine::repair_from(&repository, other.as_ref(), options, &progress);
    let result = context.exec.unless_cancelled(work).await;
    drop(display);
    let report = result?;
    let output = context.output;
    if output.json() {
        output.summary(document(&report, args.dry_run, context.duration_seconds()))?;
    } else {
        tell(context, &report, args.dry_run)?;
    }
    for (object, record) in report.unreadable() {
        output.error(&format!("{object}: {}", record.why), Exit::Damage);
    }
    if !report.unsettled.is_empty() {
        output.warn(
            "what is needed lies in a pack that is not as it was written and that a prune means to condemn: \
             repair with the owner's key",
        );
    }
    if report.is_whole() {
        return Ok(());
    }
    // what cannot be read may need anything: that is worse than what is known to be lost
    let exit = if report.unreadable().next().is_some() { Exit::Damage } else { Exit::Partial };
    let what = match report.not_whole() {
        0 => "some records cannot be read, and nothing could safely be done about them".to_owned(),
        snapshots => format!("not whole: {}", text::count(snapshots, "snapshot")),
    };
    Err(Failure::Said(exit, what))
}

fn tell(context: &Context, report: &RepairReport, dry_run: bool) -> Result<(), Failure> {
    let (output, plan) = (context.output, &report.plan);
    for (object, record) in plan.records.iter().filter(|(_, record)| record.remedy != Remedy::Nothing) {
        output.told(text::one_line(&format!("{} {object}: {}", record.remedy.word(), record.why)))?;
    }
    for copy in &plan.copies {
        let (records, bytes, origin) =
            (text::count(copy.records, "record"), text::bytes(copy.len), copy.origin.word());
        output.told(format!("copy {records} ({bytes}) out of {} ({origin})", copy.pack))?;
    }
    for recut in &plan.recuts {
        let (chunks, bytes, pages) = (
            text::count(recut.chunks, "chunk"),
            text::bytes(recut.len),
            text::count(recut.pages, "map page"),
        );
        let (whose, sid) = (recut.volume.as_deref().unwrap_or("the manifests"), recut.snapshot);
        let line =
            format!("cut anew {chunks} ({bytes}) and {pages} of {whose} out of snapshot {sid} (other keys)");
        output.told(text::one_line(&line))?;
    }
    for (name, pack) in &plan.name {
        output.told(format!("name {name}: {}, {} records", text::bytes(pack.len), pack.records))?;
    }
    for (name, pack) in &plan.lost {
        let done = if pack.is_named { "leave out" } else { "unusable" };
        output.told(text::one_line(&format!("{done} {name}: {}", pack.why)))?;
    }
    for (name, pack) in &plan.flawed {
        let done = if pack.is_named { "leave out" } else { "unusable" };
        let bad = text::count(pack.records_lost, "bad record");
        output.told(text::one_line(&format!("{done} {name}: {}; {bad}", pack.why)))?;
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
            "{} written, {} written, {} removed, {} written, {} settled, {:.1} s",
            text::count(report.packs_written, "pack"),
            text::count(report.runs_written, "index run"),
            text::count(report.runs_deleted, "index run"),
            text::count(report.marks_written, "mark"),
            text::count(report.records_settled, "record"),
            context.duration_seconds()
        )
    })
}

fn document(report: &RepairReport, dry_run: bool, duration_seconds: f64) -> Value {
    let plan = &report.plan;
    let named = |(object, pack): (&String, &engine::NamedPack)| json!({"object": object, "bytes": pack.len, "records": pack.records});
    let lost_pack = |(object, pack): (&String, &engine::LostPack)| json!({"object": object, "found": pack.why, "left_out": pack.is_named});
    let flawed = |(object, pack): (&String, &engine::FlawedPack)| {
        json!({
            "object": object,
            "found": pack.why,
            "left_out": pack.is_named,
            "records_lost": pack.records_lost,
            "records_copied": pack.records_copied,
            "bytes_copied": pack.copied_len,
        })
    };
    let damaged = |(sid, mark): (&crate::format::SnapshotId, &PlannedMark)| {
        json!({
            "snapshot_id": sid.to_string(),
            "bytes_lost": mark.lost_len(),
            "lost": lost::document(&mark.volumes, &mark.manifests),
        })
    };
    let copy = |copy: &engine::PlannedCopy| json!({"object": copy.pack, "origin": copy.origin.word(), "records": copy.records, "bytes": copy.len});
    let recut = |recut: &engine::PlannedRecut| json!({"snapshot_id": recut.snapshot.to_string(), "volume": recut.volume, "chunks": recut.chunks, "bytes": recut.len, "map_pages": recut.pages});
    let record = |(object, record): (&String, &BadRecord)| json!({"object": object, "found": record.why, "done": record.remedy.word()});
    let whole = plan.marks.iter().filter(|(_, mark)| mark.is_whole()).map(|(sid, _)| sid.to_string());
    json!({
        "dry_run": dry_run,
        "records": plan.records.iter().map(record).collect::<Vec<_>>(),
        "copies": plan.copies.iter().map(copy).collect::<Vec<_>>(),
        "recuts": plan.recuts.iter().map(recut).collect::<Vec<_>>(),
        "packs_named": plan.name.iter().map(named).collect::<Vec<_>>(),
        "packs_lost": plan.lost.iter().map(lost_pack).collect::<Vec<_>>(),
        "packs_flawed": plan.flawed.iter().map(flawed).collect::<Vec<_>>(),
        "runs_damaged": plan.runs_damaged,
        "runs_to_rewrite": plan.runs_to_rewrite,
        "damaged": report.damaged.iter().map(damaged).collect::<Vec<_>>(),
        "whole_again": whole.collect::<Vec<_>>(),
        "unsettled": report.unsettled.iter().map(ToString::to_string).collect::<Vec<_>>(),
        "unreadable": report.unreadable().map(|(object, _)| object).collect::<Vec<_>>(),
        "packs_written": report.packs_written,
        "runs_written": report.runs_written,
        "runs_deleted": report.runs_deleted,
        "marks_written": report.marks_written,
        "records_settled": report.records_settled,
        "duration_seconds": duration_seconds,
    })
}
