//! `show`: one snapshot in full.

use super::{document, select};
use crate::args::ShowArgs;
use crate::context::Context;
use crate::exit::Failure;
use crate::text;
use repository::snapshots::SnapshotEntry;

pub(super) async fn run(context: &Context, args: ShowArgs) -> Result<(), Failure> {
    let repository = context.open().await?;
    let entry = select::one(context, &repository, &args.snapshot, args.filter).await?;
    if context.output.json() {
        return context.output.summary(document::full(&entry));
    }
    for line in lines(&entry) {
        context.output.line(line)?;
    }
    Ok(())
}

fn lines(entry: &SnapshotEntry) -> Vec<String> {
    let snapshot = &entry.snapshot;
    let mut lines = Vec::new();
    let mut add = |what: &str, value: &str| {
        if !value.is_empty() {
            lines.push(format!("{what:<10} {}", text::one_line(value)));
        }
    };
    add("snapshot", &entry.id.to_string());
    add("time", &text::time(snapshot.time));
    add("stored", &text::time(entry.stored_ms));
    add("name", snapshot.name.as_deref().unwrap_or_default());
    add("group", &snapshot.group);
    add("labels", &text::labels(&snapshot.labels));
    add("parent", &snapshot.parent.map(|id| id.to_string()).unwrap_or_default());
    add("status", document::status(snapshot.status));
    add("tool", &snapshot.tool);
    if entry.forgotten {
        add("forgotten", "yes");
    }
    if entry.damaged {
        add("damaged", "yes, in part lost: restore --allow-damaged says what");
    }
    if let Some(catalogue) = snapshot.catalogue {
        add("manifests", &text::bytes(catalogue.size));
    }
    for volume in &snapshot.volumes {
        let stats = &volume.stats;
        let text = format!(
            "{}  {} ({} bytes, {})  read {}, new {}, stored {}",
            volume.name,
            text::bytes(volume.size),
            volume.size,
            document::mode(volume.mode),
            text::bytes(stats.bytes_read),
            text::bytes(stats.bytes_new),
            text::bytes(stats.bytes_stored),
        );
        add("volume", &text);
    }
    for error in &snapshot.errors {
        add("error", &format!("{}: {}", error.item, error.message));
    }
    lines
}
