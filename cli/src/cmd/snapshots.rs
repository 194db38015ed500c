//! `snapshots`: what there is.

use super::{document, select};
use crate::args::FilterArgs;
use crate::context::Context;
use crate::exit::Failure;
use crate::text;
use repository::snapshots::{Filter, SnapshotEntry, short_id};
use serde_json::Value;

const HEAD: [&str; 6] = ["ID", "TIME", "NAME", "VOLUMES", "SIZE", "LABELS"];
/// Volumes that are named one by one.
const NAMED_MAX: usize = 3;

pub(super) async fn run(context: &Context, args: FilterArgs) -> Result<(), Failure> {
    let filter: Filter = args.into();
    let repository = context.open().await?;
    let (entries, unread) = select::all(context, &repository).await?;
    let wanted: Vec<&SnapshotEntry> = entries.iter().filter(|entry| filter.matches(entry)).collect();
    let output = context.output;
    if output.json() {
        output.value(&Value::Array(wanted.iter().map(|entry| document::summary(entry)).collect()))?;
    } else {
        let rows: Vec<_> = wanted.iter().map(|entry| row(entry)).collect();
        for line in text::table(&HEAD, &rows) {
            output.line(line)?;
        }
        output.told(text::count(rows.len() as u64, "snapshot"))?;
    }
    select::partial(unread)
}

fn row(entry: &SnapshotEntry) -> Vec<String> {
    let snapshot = &entry.snapshot;
    let mut volumes: Vec<String> =
        snapshot.volumes.iter().map(|volume| text::one_line(&volume.name)).collect();
    let more = volumes.len().saturating_sub(NAMED_MAX);
    volumes.truncate(NAMED_MAX);
    if more > 0 {
        volumes.push(format!("{more} more"));
    }
    if snapshot.catalogue.is_some() {
        volumes.push("manifests".into());
    }
    let mut name = text::one_line(snapshot.name.as_deref().unwrap_or_default());
    if entry.forgotten {
        name.push_str(" (forgotten)");
    }
    if entry.damaged {
        name.push_str(" (damaged)");
    }
    vec![
        short_id(&entry.id),
        text::time(snapshot.time),
        name,
        volumes.join(","),
        text::bytes(document::bytes_of(snapshot)),
        text::labels(&snapshot.labels),
    ]
}
