//! `stats`: what the repository holds and how much it takes.

use crate::context::Context;
use crate::exit::{Exit, Failure};
use crate::text;
use repository::stats::{Stored, stats};
use serde_json::{Value, json};

pub(super) async fn run(context: &Context) -> Result<(), Failure> {
    let repository = context.open().await?;
    let report = context.exec.unless_cancelled(stats(&repository)).await?;
    let total = report.total();
    let parts = [
        ("packs_data", "packs of content", report.packs_data),
        ("packs_map", "packs of maps", report.packs_map),
        ("runs", "index runs", report.runs),
        ("snapshot_objects", "snapshots", report.snapshot_objects),
        ("other", "other", report.other),
        ("total", "total", total),
    ];
    let output = context.output;
    if output.json() {
        let mut summary = json!({
            "repository_id": repository.repo_id().to_string(),
            "snapshots": report.snapshots,
            "snapshots_forgotten": report.snapshots_forgotten,
            "unreadable": report.unreadable,
            "bytes_logical": report.bytes_logical,
            "bytes_stored": total.bytes,
            "index_entries": report.index_entries,
        });
        for (field, _, stored) in parts {
            summary[field] = document(stored);
        }
        output.summary(summary)?;
    } else {
        output.line(format!("repository {}", repository.repo_id()))?;
        let forgotten = report.snapshots_forgotten;
        output
            .line(format!("{}, {forgotten} of them forgotten", text::count(report.snapshots, "snapshot")))?;
        output.line(format!("{} in all snapshots together", text::bytes(report.bytes_logical)))?;
        output.line(format!("{} records in the index", report.index_entries))?;
        let row = |what: &str, stored: Stored| {
            vec![what.to_owned(), stored.objects.to_string(), text::bytes(stored.bytes)]
        };
        let rows: Vec<_> = parts.iter().map(|(_, what, stored)| row(what, *stored)).collect();
        for line in text::table(&["STORED", "OBJECTS", "SIZE"], &rows) {
            output.line(line)?;
        }
    }
    match report.unreadable {
        0 => Ok(()),
        n => Err(Failure::Said(Exit::Partial, format!("{} could not be read", text::count(n, "object")))),
    }
}

fn document(stored: Stored) -> Value {
    json!({"objects": stored.objects, "bytes": stored.bytes})
}
