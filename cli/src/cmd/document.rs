//! A snapshot as JSON.

use crate::format::{Chunker, Snapshot, SnapshotStatus, Volume, VolumeMode};
use crate::text;
use repository::snapshots::{SnapshotEntry, short_id};
use serde_json::{Value, json};

/// What a listing shows of a snapshot.
pub(super) fn summary(entry: &SnapshotEntry) -> Value {
    let mut shown = announced(&entry.snapshot);
    shown["forgotten"] = entry.forgotten.into();
    shown["damaged"] = entry.damaged.into();
    shown
}

/// What a listing shows, of a snapshot that may not be committed.
pub(super) fn announced(snapshot: &Snapshot) -> Value {
    let volumes: Vec<&str> = snapshot.volumes.iter().map(|volume| volume.name.as_str()).collect();
    json!({
        "snapshot_id": snapshot.sid.to_string(),
        "short_id": short_id(&snapshot.sid),
        "time": text::time(snapshot.time),
        "name": snapshot.name,
        "group": snapshot.group,
        "labels": snapshot.labels,
        "volumes": volumes,
        "bytes_volumes": bytes_of(snapshot),
        "bytes_manifests": snapshot.catalogue.map_or(0, |catalogue| catalogue.size),
        "status": status(snapshot.status),
    })
}

/// All that a snapshot says.
pub(super) fn full(entry: &SnapshotEntry) -> Value {
    let snapshot = &entry.snapshot;
    let errors = snapshot.errors.iter().map(|error| json!({"item": error.item, "error": error.message}));
    json!({
        "snapshot_id": entry.id.to_string(),
        "short_id": short_id(&entry.id),
        "domain": snapshot.domain,
        "time": text::time(snapshot.time),
        "stored": text::time(entry.stored_ms),
        "name": snapshot.name,
        "group": snapshot.group,
        "labels": snapshot.labels,
        "cluster": snapshot.cluster.as_ref().map(|cluster| json!({"uid": cluster.uid, "name": cluster.name})),
        "application": snapshot.application.as_ref().map(|application| json!({
            "namespaces": application.namespaces,
            "selector": application.selector,
            "hooks": application.hooks,
            "consistency": application.consistency,
        })),
        "volumes": snapshot.volumes.iter().map(volume).collect::<Vec<_>>(),
        "catalogue": snapshot.catalogue.map(|catalogue| json!({
            "bytes": catalogue.size,
            "root": catalogue.root.to_string(),
        })),
        "parent_id": snapshot.parent.map(|id| id.to_string()),
        "errors": errors.collect::<Vec<_>>(),
        "status": status(snapshot.status),
        "tool": snapshot.tool,
        "forgotten": entry.forgotten,
        "damaged": entry.damaged,
    })
}

fn volume(volume: &Volume) -> Value {
    json!({
        "name": volume.name,
        "uid": volume.uid,
        "bytes": volume.size,
        "mode": mode(volume.mode),
        "storage_class": volume.storage_class,
        "chunker": match volume.chunker {
            Chunker::Blocks { min, avg, max } => json!({"name": "blocks", "min": min, "avg": avg, "max": max}),
            Chunker::FastCdc => json!({"name": "fastcdc"}),
        },
        "root": volume.root.to_string(),
        "changed": volume.changed.as_ref().map(|changed| json!({
            "driver": changed.driver,
            "handle": changed.handle,
            "id": String::from_utf8_lossy(&changed.id),
        })),
        "bytes_read": volume.stats.bytes_read,
        "bytes_new": volume.stats.bytes_new,
        "bytes_stored": volume.stats.bytes_stored,
        "chunks_new": volume.stats.chunks_new,
        "chunks_reused": volume.stats.chunks_reused,
        "scan": volume.stats.scan,
        "reason": volume.stats.reason,
    })
}

/// What a volume was read from.
pub(super) fn mode(mode: VolumeMode) -> &'static str {
    match mode {
        VolumeMode::Block => "block",
        VolumeMode::File => "file",
        VolumeMode::Stream => "stream",
    }
}

/// How a backup ended.
pub(super) fn status(status: SnapshotStatus) -> &'static str {
    match status {
        SnapshotStatus::Success => "success",
        SnapshotStatus::Partial => "partial",
        SnapshotStatus::Failed => "failed",
    }
}

/// Sizes of all volumes.
pub(super) fn bytes_of(snapshot: &Snapshot) -> u64 {
    snapshot.volumes.iter().fold(0, |sum, volume| sum.saturating_add(volume.size))
}
