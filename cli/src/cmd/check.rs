//! `check` and `scrub`: what is damaged, and whom it hurts.

use super::select;
use crate::args::{CheckArgs, Subset};
use crate::context::Context;
use crate::exit::{Exit, Failure};
use crate::format::SnapshotId;
use crate::text;
use repository::Repository;
use repository::check::{self, CheckOptions, CheckReport, Finding, ReadData};
use repository::snapshots::{self, Filter, short_id};
use serde_json::{Value, json};

pub(super) async fn run(context: &Context, args: CheckArgs) -> Result<(), Failure> {
    let repository = context.open().await?;
    let read_data = match args.read_data_subset {
        _ if args.read_data => ReadData::All,
        Some(Subset::Percent(percent)) => ReadData::Percent(percent),
        Some(Subset::Bytes(bytes)) => ReadData::Bytes(bytes),
        None => ReadData::None,
    };
    let filter: Filter = args.filter.into();
    let snapshots = snapshots(context, &repository, &args.snapshots, &filter).await?;
    let (progress, display) = context.progress();
    let work = check::check(&repository, CheckOptions { read_data, snapshots }, &progress);
    let result = context.exec.unless_cancelled(work).await;
    drop(display);
    told(context, &result?)
}

pub(super) async fn scrub(context: &Context) -> Result<(), Failure> {
    let driver = context.driver(false)?;
    let (progress, display) = context.progress();
    let work = check::scrub(driver, &context.exec, &context.env, &progress);
    let result = context.exec.unless_cancelled(work).await;
    drop(display);
    told(context, &result?)
}

/// The snapshots that are named; without names those that pass the filters; none for all.
async fn snapshots(
    context: &Context,
    repository: &Repository,
    specs: &[String],
    filter: &Filter,
) -> Result<Vec<SnapshotId>, Failure> {
    let narrowed = *filter != Filter::default();
    if specs.is_empty() && !narrowed {
        return Ok(Vec::new());
    }
    let (entries, _) = select::all(context, repository).await?;
    if specs.is_empty() {
        let found: Vec<_> =
            entries.iter().filter(|entry| filter.matches(entry)).map(|entry| entry.id).collect();
        return if found.is_empty() {
            Err(Failure::usage("no snapshot passes the filters"))
        } else {
            Ok(found)
        };
    }
    specs.iter().map(|spec| Ok(snapshots::find(&entries, spec, filter)?.id)).collect()
}

fn told(context: &Context, report: &CheckReport) -> Result<(), Failure> {
    let output = context.output;
    if output.json() {
        output.summary(document(report, context.duration_seconds()))?;
    } else {
        for finding in &report.errors {
            output.line(line(finding))?;
        }
        output.told(format!(
            "{} checked, {} read, {:.1} s",
            text::count(report.objects, "object"),
            text::bytes(report.bytes_read),
            context.duration_seconds()
        ))?;
        if let Some(confidence) = &report.confidence {
            output.told(format!(
                "{} of {} read",
                confidence.packs_read,
                text::count(confidence.packs_total, "pack")
            ))?;
            if confidence.packs_read < confidence.packs_total {
                output.told(format!(
                    "with a probability of {:.0} %, less than {:.2} % of all packs are damaged",
                    100.0 * confidence.probability,
                    100.0 * confidence.fraction
                ))?;
            }
        }
        if report.unreferenced > 0 {
            output.told(format!(
                "{} of sessions that never ended; no snapshot needs them",
                text::count(report.unreferenced, "pack")
            ))?;
        }
        if !report.content_opened && report.confidence.is_some() {
            output
                .told("content was compared with the checksums of its packs only: this key cannot open it")?;
        }
        if report.errors.is_empty() {
            output.told("no damage found")?;
        }
    }
    match report.errors.len() as u64 {
        0 => Ok(()),
        n => Err(Failure::Said(Exit::Damage, format!("damage found: {}", text::count(n, "finding")))),
    }
}

/// One finding on one line.
fn line(finding: &Finding) -> String {
    let mut line = format!("{}: {}: found {}", finding.object, finding.kind, finding.found);
    if !finding.expected.is_empty() {
        line.push_str(&format!(", expected {}", finding.expected));
    }
    if !finding.snapshots.is_empty() {
        let hurt: Vec<String> = finding.snapshots.iter().map(short_id).collect();
        line.push_str(&format!("; hurts {}", hurt.join(", ")));
    }
    text::one_line(&line)
}

fn document(report: &CheckReport, duration_seconds: f64) -> Value {
    let errors = report.errors.iter().map(|finding| {
        json!({
            "object": finding.object,
            "kind": finding.kind,
            "found": finding.found,
            "expected": finding.expected,
            "snapshots": finding.snapshots.iter().map(ToString::to_string).collect::<Vec<_>>(),
        })
    });
    json!({
        "errors": errors.collect::<Vec<_>>(),
        "objects": report.objects,
        "bytes_read": report.bytes_read,
        "confidence": report.confidence.as_ref().map(|confidence| json!({
            "fraction": confidence.fraction,
            "probability": confidence.probability,
            "packs_read": confidence.packs_read,
            "packs_total": confidence.packs_total,
        })),
        "snapshots_checked": report.snapshots_checked,
        "packs_unreferenced": report.unreferenced,
        "content_opened": report.content_opened,
        "duration_seconds": duration_seconds,
    })
}
