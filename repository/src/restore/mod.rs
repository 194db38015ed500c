//! Restore: volumes of a snapshot to files and devices, bit for bit and sparse.
//!
//! A volume's map is walked in windows. A window's chunks are grouped by pack, their ranges joined,
//! each range is fetched once, its records are opened and checked, and written where they belong.
//! Fetching, opening and writing overlap; the next window is prepared meanwhile.

mod fetch;
mod in_place;
mod plan;
mod target;
mod verify;
mod volume;

use crate::progress::Progress;
use crate::reader::Reader;
use crate::vfs::{self, MapWalker};
use crate::{Error, Repository, Result};
use repo_format::gc_record::LostVolume;
use repo_format::snapshot::{Snapshot, Volume};
use std::collections::HashMap;
use std::path::PathBuf;
use std::sync::Arc;
use target::Target;

/// One volume, and where it goes.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct RestoreVolume {
    /// Its name in the snapshot.
    pub name: String,
    /// A new file, or a block device.
    pub target: PathBuf,
}

/// What is to be restored.
#[derive(Debug, Clone)]
pub struct RestoreRequest {
    /// From this snapshot.
    pub snapshot: Snapshot,
    /// Volumes, one after the other.
    pub volumes: Vec<RestoreVolume>,
    /// Existing regular files may be overwritten.
    pub force: bool,
    /// Existing files are overwritten where they differ, and nothing else is fetched; so are devices.
    pub in_place: bool,
    /// Each target is read back and compared with its map.
    pub verify: bool,
    /// What is lost becomes zeros, and is reported, instead of ending the restore.
    pub allow_damaged: bool,
}

/// What was restored.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct RestoreReport {
    /// Volumes.
    pub volumes: u64,
    /// Their sizes.
    pub bytes_restored: u64,
    /// Bytes written to the targets; zeros that replace a device's old content included.
    pub bytes_written: u64,
    /// Bytes that a restore in place found right, those of holes included.
    pub bytes_kept: u64,
    /// Bytes read from the store; those of an index that was at hand not included.
    pub bytes_fetched: u64,
    /// Bytes of holes; what lost pages covered included.
    pub bytes_holes: u64,
    /// Volumes of which something is lost, in the order restored: zeros are in the place of these
    /// ranges, everything else is as it was.
    pub lost: Vec<LostVolume>,
}

/// How a volume is restored.
#[derive(Clone, Copy)]
struct Way<'a> {
    /// Which volume it is, for errors.
    whose: &'a str,
    /// Past what is lost.
    allow_damaged: bool,
    /// Only what differs.
    in_place: bool,
}

impl Way<'_> {
    fn walker(self, reader: &Reader, volume: &Volume) -> Result<MapWalker> {
        let walker = MapWalker::volume(reader, self.whose, volume)?;
        Ok(if self.allow_damaged { walker.past_damage() } else { walker })
    }
}

/// Restores volumes.
///
/// All targets are opened before the first byte is written. A file that this call made is removed
/// again if anything fails or the call is cancelled, so that half a volume cannot be taken for a
/// whole one; devices and overwritten files are left as far as they came.
///
/// # Errors
/// [`Error::Usage`] for a volume that the snapshot does not have; [`Error::Role`] without the read
/// role; [`Error::Target`] for a target that is refused or cannot be written; damage, naming the
/// volume, the snapshot and the object, if a record has no good copy and `allow_damaged` is not set.
pub async fn restore(
    repository: &Repository,
    request: RestoreRequest,
    progress: &Arc<Progress>,
) -> Result<RestoreReport> {
    check_role(repository)?;
    progress.phase("reading the index");
    // what is lost of the index shows when one of its records is needed
    let (reader, _) = repository.exec().unless_cancelled(vfs::reader(repository)).await?;
    restore_with(&reader, request, progress).await
}

/// As [`restore`], with an index that is at hand.
pub async fn restore_with(
    reader: &Reader,
    request: RestoreRequest,
    progress: &Arc<Progress>,
) -> Result<RestoreReport> {
    let repository = reader.repository();
    check_role(repository)?;
    let volumes = find_volumes(&request)?;
    let exec = repository.exec();
    let fetched_before = repository.store().stats().downloaded_bytes;
    let mut targets = Vec::new();
    for (volume, path) in &volumes {
        let (path, size, force) = (path.clone(), volume.size, request.force || request.in_place);
        targets.push(exec.blocking(move || Target::open(&path, size, force)).await??);
        progress.add_total(if request.verify { volume.size.saturating_mul(2) } else { volume.size });
    }
    accept(&volumes, &targets)?;
    for ((volume, _), (target, _)) in volumes.iter().zip(&targets) {
        match request.in_place {
            true => target.prepare_in_place(volume.size)?,
            false => target.prepare(volume.size)?,
        }
    }
    let mut report = RestoreReport::default();
    for ((volume, _), (target, _)) in volumes.iter().zip(&targets) {
        let whose = format!("volume {} of snapshot {}", volume.name, request.snapshot.sid);
        progress.phase("restoring");
        let way = Way { whose: &whose, allow_damaged: request.allow_damaged, in_place: request.in_place };
        let lost = volume::restore(reader, way, volume, target, progress, &mut report).await?;
        if request.verify {
            progress.phase("verifying");
            exec.unless_cancelled(verify::verify(reader, way, volume, target, progress, &lost)).await?;
        }
        if !lost.is_empty() {
            report.lost.push(LostVolume { name: volume.name.clone(), ranges: lost });
        }
        report.volumes += 1;
        report.bytes_restored = report.bytes_restored.saturating_add(volume.size);
    }
    for (_, created) in &mut targets {
        if let Some(created) = created {
            created.keep();
        }
    }
    report.bytes_fetched = repository.store().stats().downloaded_bytes.saturating_sub(fetched_before);
    Ok(report)
}

fn check_role(repository: &Repository) -> Result<()> {
    repository.content_secret("restoring")?;
    repository.identity("restoring").map(|_| ())
}

/// Refuses two volumes that would go to one file, whatever their paths look like.
fn accept(volumes: &[(Volume, PathBuf)], targets: &[(Target, Option<target::Created>)]) -> Result<()> {
    let mut seen: HashMap<(u64, u64), &str> = HashMap::new();
    for ((volume, path), (target, _)) in volumes.iter().zip(targets) {
        if let Some(other) = seen.insert(target.identity()?, &volume.name) {
            let what =
                format!("{}: the volumes {other} and {} would both go there", path.display(), volume.name);
            return Err(Error::Usage { what });
        }
    }
    Ok(())
}

/// The volumes asked for, in the order asked for.
fn find_volumes(request: &RestoreRequest) -> Result<Vec<(Volume, PathBuf)>> {
    let all = &request.snapshot.volumes;
    let find = |wanted: &RestoreVolume| {
        let found = all.iter().find(|volume| volume.name == wanted.name).cloned();
        found.map(|volume| (volume, wanted.target.clone())).ok_or_else(|| {
            let names: Vec<&str> = all.iter().map(|volume| volume.name.as_str()).collect();
            let there = if names.is_empty() { "none".to_owned() } else { names.join(", ") };
            Error::Usage { what: format!("volume {}: not in the snapshot, which has: {there}", wanted.name) }
        })
    };
    request.volumes.iter().map(find).collect()
}

#[cfg(test)]
mod tests;
