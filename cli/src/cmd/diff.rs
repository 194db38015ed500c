//! `diff`: what two snapshots do not have in common.

use super::manifests::reader;
use super::select;
use crate::args::DiffArgs;
use crate::context::Context;
use crate::exit::{Exit, Failure};
use crate::format::{Snapshot, Volume};
use crate::text;
use repository::ErrorKind;
use repository::diff::{MapDiff, Modifier, manifests};
use repository::reader::Reader;
use repository::snapshots::{Filter, find};
use serde::Serialize;
use serde_json::json;

/// Of both kinds of things, by [`Modifier`].
#[derive(Default, Serialize)]
struct Sums {
    volumes_added: u64,
    volumes_removed: u64,
    volumes_changed: u64,
    bytes_changed: u64,
    manifests_added: u64,
    manifests_removed: u64,
    manifests_changed: u64,
}

pub(super) async fn run(context: &Context, args: DiffArgs) -> Result<(), Failure> {
    let repository = context.open().await?;
    let (snapshots, _) = select::all(context, &repository).await?;
    let one = |spec: &str| Ok::<_, Failure>(find(&snapshots, spec, &Filter::default())?.snapshot.clone());
    let (a, b) = (one(&args.a)?, one(&args.b)?);
    let reader = reader(context, &repository).await?;
    let mut sums = Sums::default();
    for (old, new) in pairs(&a, &b) {
        volume(context, &reader, [&a, &b], old, new, &mut sums).await?;
    }
    let left_out = match context.exec.unless_cancelled(manifests(&reader, &a, &b)).await {
        Ok(changes) => {
            for change in changes {
                let count = match change.modifier {
                    Modifier::Added => &mut sums.manifests_added,
                    Modifier::Removed => &mut sums.manifests_removed,
                    Modifier::Changed => &mut sums.manifests_changed,
                };
                *count += 1;
                manifest(context, &change.path, change.modifier)?;
            }
            None
        }
        // whoever may only write can still see the volumes
        Err(error) if error.kind() == ErrorKind::WrongKey => Some(error),
        Err(error) => return Err(error.into()),
    };
    tell(context, &a, &b, &sums)?;
    match left_out {
        Some(error) => Err(Failure::Said(Exit::Partial, format!("manifests were left out: {error}"))),
        None => Ok(()),
    }
}

/// Volumes of either snapshot by name, in order.
fn pairs<'a>(a: &'a Snapshot, b: &'a Snapshot) -> Vec<(Option<&'a Volume>, Option<&'a Volume>)> {
    let of = |snapshot: &'a Snapshot, name: &str| snapshot.volumes.iter().find(|v| v.name == name);
    let mut names: Vec<&str> =
        a.volumes.iter().chain(&b.volumes).map(|volume| volume.name.as_str()).collect();
    names.sort_unstable();
    names.dedup();
    names.into_iter().map(|name| (of(a, name), of(b, name))).collect()
}

async fn volume(
    context: &Context,
    reader: &Reader,
    snapshots: [&Snapshot; 2],
    old: Option<&Volume>,
    new: Option<&Volume>,
    sums: &mut Sums,
) -> Result<(), Failure> {
    let (modifier, one) = match (old, new) {
        (Some(old), Some(new)) => return changed(context, reader, snapshots, [old, new], sums).await,
        (Some(old), None) => (Modifier::Removed, old),
        (None, Some(new)) => (Modifier::Added, new),
        (None, None) => return Ok(()),
    };
    let count = if modifier == Modifier::Added { &mut sums.volumes_added } else { &mut sums.volumes_removed };
    *count += 1;
    if context.output.json() {
        let fields =
            json!({"kind": "volume", "name": one.name, "modifier": sign(modifier), "bytes": one.size});
        return context.output.message("change", fields);
    }
    let name = text::one_line(&one.name);
    context.output.line(format!("{} volume {name}  {}", sign(modifier), text::bytes(one.size)))
}

async fn changed(
    context: &Context,
    reader: &Reader,
    [a, b]: [&Snapshot; 2],
    [old, new]: [&Volume; 2],
    sums: &mut Sums,
) -> Result<(), Failure> {
    if (old.root, old.size) == (new.root, new.size) {
        return Ok(());
    }
    let output = context.output;
    let whose = |snapshot: &Snapshot| format!("volume {} of snapshot {}", old.name, snapshot.sid);
    let mut diff = MapDiff::new(reader, [&whose(a), &whose(b)], old, new)?;
    let (mut ranges, mut bytes) = (0, 0u64);
    while let Some(range) = context.exec.unless_cancelled(diff.next()).await? {
        let len = range.end - range.start;
        (ranges, bytes) = (ranges + 1, bytes.saturating_add(len));
        if output.json() {
            let fields = json!({"volume": old.name, "offset": range.start, "length": len});
            output.message("range", fields)?;
        } else if context.global.verbose {
            output.line(format!("    offset {}, {len} bytes", range.start))?;
        }
    }
    if ranges == 0 && old.size == new.size {
        // the same bytes in other chunks
        return Ok(());
    }
    sums.volumes_changed += 1;
    sums.bytes_changed = sums.bytes_changed.saturating_add(bytes);
    if output.json() {
        let fields = json!({
            "kind": "volume", "name": old.name, "modifier": sign(Modifier::Changed), "bytes": new.size,
            "bytes_before": old.size, "bytes_changed": bytes, "ranges": ranges,
        });
        return output.message("change", fields);
    }
    let resized = if old.size == new.size {
        String::new()
    } else {
        format!(", {} became {}", text::bytes(old.size), text::bytes(new.size))
    };
    output.line(format!(
        "{} volume {}  {} in {}{resized}",
        sign(Modifier::Changed),
        text::one_line(&old.name),
        text::bytes(bytes),
        text::count(ranges, "range")
    ))
}

fn manifest(context: &Context, path: &str, modifier: Modifier) -> Result<(), Failure> {
    if context.output.json() {
        let fields = json!({"kind": "manifest", "name": path, "modifier": sign(modifier)});
        return context.output.message("change", fields);
    }
    context.output.line(format!("{} manifest {}", sign(modifier), text::one_line(path)))
}

fn sign(modifier: Modifier) -> &'static str {
    match modifier {
        Modifier::Added => "+",
        Modifier::Removed => "-",
        Modifier::Changed => "M",
    }
}

fn tell(context: &Context, a: &Snapshot, b: &Snapshot, sums: &Sums) -> Result<(), Failure> {
    let output = context.output;
    if output.json() {
        let mut fields = serde_json::to_value(sums).unwrap_or_default();
        if let Some(fields) = fields.as_object_mut() {
            fields.insert("source_id".into(), a.sid.to_string().into());
            fields.insert("target_id".into(), b.sid.to_string().into());
            fields.insert("duration_seconds".into(), context.duration_seconds().into());
        }
        return output.summary(fields);
    }
    output.told(format!(
        "volumes: {} added, {} removed, {} changed ({}); manifests: {} added, {} removed, {} changed",
        sums.volumes_added,
        sums.volumes_removed,
        sums.volumes_changed,
        text::bytes(sums.bytes_changed),
        sums.manifests_added,
        sums.manifests_removed,
        sums.manifests_changed
    ))
}
