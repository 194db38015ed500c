//! `ls`: the volumes and manifests of a snapshot, as a tree of paths.

use super::manifests::{self, ManifestEntry, Manifests};
use super::select;
use crate::args::LsArgs;
use crate::context::Context;
use crate::exit::{Exit, Failure};
use crate::format::Snapshot;
use crate::text;
use repository::{ErrorKind, Repository};
use serde::Serialize;

/// One line of the listing. There may be hundreds of thousands.
#[derive(Serialize)]
struct Entry {
    bytes: u64,
    kind: &'static str,
    #[serde(skip_serializing_if = "Option::is_none")]
    manifest: Option<String>,
    path: String,
    #[serde(skip_serializing_if = "Option::is_none")]
    volume: Option<String>,
}

pub(super) async fn run(context: &Context, args: LsArgs) -> Result<(), Failure> {
    let repository = context.open().await?;
    let snapshot = select::one(context, &repository, &args.snapshot, args.filter).await?.snapshot;
    let wanted = args.path.as_deref().unwrap_or_default().trim_matches('/');
    let mut entries = volumes(&snapshot);
    let mut left_out = None;
    if !wanted.starts_with("volumes") {
        match manifest_entries(context, &repository, &snapshot).await {
            Ok(found) => entries.extend(found),
            // whoever may only write can still see the volumes
            Err(Failure::Engine(error)) if error.kind() == ErrorKind::WrongKey && wanted.is_empty() => {
                left_out = Some(error);
            }
            Err(failure) => return Err(failure),
        }
    }
    entries.retain(|entry| is_below(&entry.path, wanted));
    if entries.is_empty() && !wanted.is_empty() {
        return Err(Failure::failed(format!("{wanted:?}: nothing of this name in the snapshot")));
    }
    if context.output.json() {
        let text = serde_json::to_string(&entries);
        context
            .output
            .line(text.map_err(|error| Failure::failed(format!("the listing as JSON: {error}")))?)?;
    } else {
        for entry in entries {
            context.output.line(format!("{:>14}  {}", entry.bytes, text::one_line(&entry.path)))?;
        }
    }
    match left_out {
        Some(error) => Err(Failure::Said(Exit::Partial, format!("manifests were left out: {error}"))),
        None => Ok(()),
    }
}

fn volumes(snapshot: &Snapshot) -> Vec<Entry> {
    let entry = |name: &str, bytes| Entry {
        bytes,
        kind: "volume",
        manifest: None,
        path: format!("volumes/{name}"),
        volume: Some(name.to_owned()),
    };
    snapshot.volumes.iter().map(|volume| entry(&volume.name, volume.size)).collect()
}

async fn manifest_entries(
    context: &Context,
    repository: &Repository,
    snapshot: &Snapshot,
) -> Result<Vec<Entry>, Failure> {
    if snapshot.catalogue.is_none() {
        return Ok(Vec::new());
    }
    let reader = manifests::reader(context, repository).await?;
    let manifests = Manifests::open(context, &reader, snapshot).await?;
    let entry = |entry: ManifestEntry| Entry {
        bytes: entry.len,
        kind: "manifest",
        manifest: Some(entry.path),
        path: format!("manifests/{}", entry.file.display()),
        volume: None,
    };
    Ok(manifests.entries.into_iter().map(entry).collect())
}

/// Whether `path` is `wanted` or lies below it.
fn is_below(path: &str, wanted: &str) -> bool {
    path.strip_prefix(wanted)
        .is_some_and(|rest| wanted.is_empty() || rest.is_empty() || rest.starts_with('/'))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn folders_end_at_slashes() {
        assert!(is_below("volumes/shop/data", "") && is_below("volumes/shop/data", "volumes/shop"));
        assert!(is_below("volumes/shop/data", "volumes/shop/data"));
        assert!(
            !is_below("volumes/shop/data", "volumes/sh") && !is_below("volumes/shop", "volumes/shop/data")
        );
    }
}
