//! `restore`: volumes to files and devices, manifests to files.

use super::lost::{self, ALL_MANIFESTS};
use super::manifests::{self, Manifests};
use super::select;
use crate::args::{RestoreArgs, VolumeArg, twice};
use crate::context::Context;
use crate::exit::{Exit, Failure};
use crate::format::Snapshot;
use crate::text;
use repository::Repository;
use repository::restore::{RestoreReport, RestoreRequest, RestoreVolume, restore_with};
use serde::Serialize;
use serde_json::Value;
use std::path::Path;

/// The words of the contract.
#[derive(Serialize)]
struct Summary {
    snapshot_id: String,
    volumes: u64,
    manifests: u64,
    bytes_restored: u64,
    bytes_written: u64,
    bytes_kept: u64,
    bytes_fetched: u64,
    store_requests: u64,
    /// Volumes and manifests of which something is lost: nothing without `--allow-damaged`.
    lost: Value,
    duration_seconds: f64,
}

pub(super) async fn run(context: &Context, args: RestoreArgs) -> Result<(), Failure> {
    check_targets(&args.volumes)?;
    let repository = context.open().await?;
    repository.require_content("restore")?;
    let (entry, reader) = select::one_to_read(context, &repository, &args.snapshot, args.filter).await?;
    let snapshot = entry.snapshot;
    let volumes = match &args.target {
        Some(dir) => volumes_below(dir, &snapshot),
        None => args.volumes.into_iter().map(|v| RestoreVolume { name: v.name, target: v.path }).collect(),
    };
    let mut lost_manifests = Vec::new();
    let dir = args.manifests.or_else(|| args.target.as_ref().map(|dir| dir.join("manifests")));
    let manifests = match dir {
        Some(dir) => {
            let opened = Manifests::open(context, &reader, &snapshot).await;
            let manifests = match opened {
                Err(failure) if args.allow_damaged && failure.exit() == Exit::Damage => {
                    context.output.warn(&failure.to_string());
                    lost_manifests.push(ALL_MANIFESTS.to_owned());
                    Manifests::none()
                }
                opened => opened?,
            };
            manifests::check_free(&dir, &manifests.entries, args.force || args.in_place)?;
            Some((dir, manifests))
        }
        None => None,
    };
    if args.target.is_some() {
        volumes.iter().filter_map(|volume| volume.target.parent()).try_for_each(manifests::make_dir)?;
    }
    let mut report = RestoreReport::default();
    if !volumes.is_empty() {
        let request = RestoreRequest {
            snapshot: snapshot.clone(),
            volumes,
            force: args.force,
            verify: args.verify,
            allow_damaged: args.allow_damaged,
            in_place: args.in_place,
        };
        let (progress, display) = context.progress();
        let result = restore_with(&reader, request, &progress).await;
        drop(display);
        report = result?;
    }
    let mut count = 0;
    if let Some((dir, manifests)) = manifests {
        let (written, mut lost) = manifests::write(context, &manifests, &dir, args.allow_damaged).await?;
        report.bytes_restored += written;
        report.bytes_written += written;
        count = (manifests.entries.len() - lost.len()) as u64;
        lost_manifests.append(&mut lost);
    }
    told(context, &repository, &snapshot, &report, (count, &lost_manifests))?;
    if report.lost.is_empty() && lost_manifests.is_empty() {
        return Ok(());
    }
    let what = format!("snapshot {} is damaged: not all of it could be restored", snapshot.sid);
    Err(Failure::Said(Exit::Partial, what))
}

fn check_targets(volumes: &[VolumeArg]) -> Result<(), Failure> {
    if let Some(name) = twice(volumes.iter().map(|volume| &volume.name)) {
        return Err(Failure::usage(format!("volume {name} is given twice")));
    }
    if let Some(path) = twice(volumes.iter().map(|volume| &volume.path)) {
        return Err(Failure::usage(format!("target {} is given twice", path.display())));
    }
    match volumes.iter().find(|volume| volume.is_stdin()) {
        Some(volume) => {
            Err(Failure::usage(format!("volume {}: a file or device expected, not -", volume.name)))
        }
        None => Ok(()),
    }
}

/// All volumes, as `DIR/volumes/NAMESPACE/CLAIM.img`.
fn volumes_below(dir: &Path, snapshot: &Snapshot) -> Vec<RestoreVolume> {
    let target = |name: &str| {
        let mut path = dir.join("volumes");
        path.extend(safe_name(name).split('/'));
        path
    };
    let volume = |name: &String| RestoreVolume { name: name.clone(), target: target(name) };
    snapshot.volumes.iter().map(|v| volume(&v.name)).collect()
}

/// A file name from a volume name, whoever wrote it: what Kubernetes would not allow becomes `%xx`,
/// so that no part is empty, hidden or leads elsewhere, and no two names are one.
fn safe_name(name: &str) -> String {
    let mut safe = String::new();
    for (n, part) in name.split('/').enumerate() {
        if n > 0 {
            safe.push('/');
        }
        for (at, byte) in part.bytes().enumerate() {
            match byte {
                b'a'..=b'z' | b'0'..=b'9' | b'-' | b'_' => safe.push(char::from(byte)),
                b'.' if at > 0 => safe.push('.'),
                _ => safe.push_str(&format!("%{byte:02x}")),
            }
        }
        if part.is_empty() {
            safe.push('%');
        }
    }
    safe.push_str(".img");
    safe
}

fn told(
    context: &Context,
    repository: &Repository,
    snapshot: &Snapshot,
    report: &RestoreReport,
    (manifests, lost_manifests): (u64, &[String]),
) -> Result<(), Failure> {
    let summary = Summary {
        snapshot_id: snapshot.sid.to_string(),
        volumes: report.volumes,
        manifests,
        bytes_restored: report.bytes_restored,
        bytes_written: report.bytes_written,
        bytes_kept: report.bytes_kept,
        bytes_fetched: report.bytes_fetched,
        store_requests: repository.store().stats().requests,
        lost: lost::document(&report.lost, lost_manifests),
        duration_seconds: context.duration_seconds(),
    };
    if context.output.json() {
        return context.output.summary(summary);
    }
    lost::lines(&report.lost, lost_manifests).iter().try_for_each(|line| context.output.line(line))?;
    context.output.told(format!(
        "{} and {} of snapshot {} restored: {}, {} written, {} fetched, {}, {:.1} s",
        text::count(summary.volumes, "volume"),
        text::count(manifests, "manifest"),
        summary.snapshot_id,
        text::bytes(report.bytes_restored),
        text::bytes(report.bytes_written),
        text::bytes(report.bytes_fetched),
        text::count(summary.store_requests, "store request"),
        summary.duration_seconds,
    ))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn no_volume_name_leads_elsewhere() {
        let cases = [
            ("shop/data", "shop/data.img"),
            ("shop/data.v1", "shop/data.v1.img"),
            ("../../etc/x", "%2e./%2e./etc/x.img"),
            ("/etc", "%/etc.img"),
            ("a//b/", "a/%/b/%.img"),
            ("A b\n", "%41%20b%0a.img"),
            (".", "%2e.img"),
            ("", "%.img"),
        ];
        for (name, safe) in cases {
            assert_eq!(safe_name(name), safe, "{name}");
        }
    }
}
