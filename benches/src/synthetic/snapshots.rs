//! Snapshots, and the markers of those that are to be forgotten.

use super::folder::Folder;
use super::plan::Spec;
use anyhow::{Context, Result};
use repo_format::gc_record::ForgetMarker;
use repo_format::layout::ObjectName;
use repo_format::sealed::Class;
use repo_format::snapshot::{Chunker, Snapshot, Volume, VolumeMode, VolumeStats};
use repo_format::{Id, SnapshotId};

/// When the first snapshot was made: 2026-11-01. Each of the others was made an hour after the one before.
const FIRST_MS: u64 = 1_793_491_200_000;
const HOUR_MS: u64 = 3_600_000;

fn time_ms(n: u64) -> u64 {
    FIRST_MS + n * HOUR_MS
}

/// The names of all snapshots, the forgotten ones first.
pub(super) fn sids(spec: &Spec, folder: &Folder) -> Vec<SnapshotId> {
    (0..spec.snapshots).map(|n| folder.sid(time_ms(n), n)).collect()
}

/// Writes all snapshots, and markers if they are wanted; gives the names of the forgotten ones.
pub(super) fn put(
    spec: &Spec,
    folder: &Folder,
    sids: &[SnapshotId],
    roots: &[Id],
) -> Result<Vec<SnapshotId>> {
    let volumes = spec.volumes();
    let mut forgotten = Vec::new();
    for (n, sid) in (0..).zip(sids) {
        let number = spec.volume_of_snapshot(n);
        let (root, chunks) = (roots.get(number).copied(), volumes.get(number).cloned());
        let (root, chunks) = root.zip(chunks).context("a snapshot without volume")?;
        let chunks = chunks.end - chunks.start;
        let mut snapshot = Snapshot::new(*sid, repo_format::keys::MAIN_DOMAIN, time_ms(n));
        snapshot.group = "synthetic".into();
        snapshot.tool = concat!("benches ", env!("CARGO_PKG_VERSION")).into();
        let chunker = spec.chunker();
        snapshot.volumes.push(Volume {
            name: "synthetic/volume".into(),
            uid: None,
            size: chunks * u64::from(spec.chunk_len),
            mode: if chunker == Chunker::FastCdc { VolumeMode::Stream } else { VolumeMode::File },
            storage_class: None,
            chunker,
            root,
            changed: None,
            stats: VolumeStats { chunks_new: chunks, ..VolumeStats::default() },
        });
        folder.put_sealed(Class::Snapshot, &ObjectName::Snapshot(*sid), n, &snapshot.encode()?)?;
        if n < spec.forgotten {
            forgotten.push(*sid);
            if spec.marked {
                let marker = ForgetMarker { sid: *sid, created_ms: time_ms(spec.snapshots) };
                let name = ObjectName::Forget { sid: *sid, last: false };
                folder.put_sealed(Class::Forget, &name, spec.snapshots + n, &marker.encode())?;
            }
        }
    }
    Ok(forgotten)
}
