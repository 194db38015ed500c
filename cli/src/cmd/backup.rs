//! `backup`: volumes and manifests become one snapshot.

use super::changed::ChangedFile;
use super::select;
use crate::args::{BackupArgs, Compression, VolumeArg, twice};
use crate::context::Context;
use crate::exit::{Exit, Failure};
use crate::text;
use k8s_source::manifest::{self, Limits, Manifest};
use repository::Env;
use repository::backup::{
    BackupReport, BackupRequest, CompressionLevel, ManifestInput, Parent, VolumeInput, backup,
};
use repository::manifest_spool::ManifestSpool;
use repository::snapshots::{Filter, short_id};
use repository::source::{FileSource, VolumeSource};
use serde::Serialize;
use std::collections::BTreeMap;
use std::fs::File;
use std::io;
use std::os::fd::AsFd;
use std::path::PathBuf;
use std::sync::Arc;

/// The words of the contract.
#[derive(Serialize)]
struct Summary {
    snapshot_id: Option<String>,
    parent_id: Option<String>,
    volumes: u64,
    volumes_unchanged: u64,
    volumes_by_ranges: u64,
    manifests: u64,
    bytes_scanned: u64,
    bytes_read: u64,
    bytes_new: u64,
    bytes_stored: u64,
    bytes_mended: u64,
    chunks_new: u64,
    chunks_reused: u64,
    store_requests: u64,
    duration_seconds: f64,
}

pub(super) async fn run(context: &Context, args: BackupArgs) -> Result<(), Failure> {
    let labels = labels(&args)?;
    // all that can be wrong with the inputs is found before the repository is opened
    let volumes = volumes(&args.volumes)?;
    let changed = match &args.changed_ranges {
        Some(path) => {
            let (path, volumes) = (path.clone(), args.volumes.clone());
            let read = context.exec.blocking(move || ChangedFile::read(&path, &volumes));
            Some(context.exec.unless_cancelled(read).await??)
        }
        None => None,
    };
    let manifests = context.exec.blocking({
        let (paths, env) = (args.manifests.clone(), context.env.clone());
        move || manifests(&paths, &env)
    });
    let manifests = context.exec.unless_cancelled(manifests).await??;
    let repository = context.open().await?;
    let parent = match &args.parent {
        Some(spec) => Parent::Snapshot(select::one(context, &repository, spec, Filter::default()).await?.id),
        None => Parent::Newest,
    };
    let changed = match changed {
        Some(file) => Some(file.resolve(context, &repository, args.audit_blocks).await?),
        None => None,
    };
    let request = BackupRequest {
        volumes,
        manifests,
        name: args.name,
        group: args.group,
        labels,
        time_ms: args.time,
        parent,
        changed,
        force_read: args.force_read,
        compression: match args.compression {
            Compression::Auto => CompressionLevel::Auto,
            Compression::Off => CompressionLevel::Off,
            Compression::Level(level) => CompressionLevel::Level(level),
        },
        dry_run: args.dry_run,
        tool: format!("orlop {}", env!("CARGO_PKG_VERSION")),
    };
    let (progress, display) = context.progress();
    let result = backup(&repository, request, &progress).await;
    drop(display);
    let report = result?;
    for note in &report.notes {
        context.output.warn(&format!("volume {}: {}", note.volume, note.text));
    }
    told(context, &report, repository.store().stats().requests)?;
    match report.notes.iter().filter(|note| note.is_fault).count() as u64 {
        0 => Ok(()),
        n => {
            let what = format!("{} differed from what was said to be unchanged", text::count(n, "volume"));
            Err(Failure::Said(Exit::Partial, what))
        }
    }
}

fn labels(args: &BackupArgs) -> Result<BTreeMap<String, String>, Failure> {
    if let Some(key) = twice(args.labels.iter().map(|label| &label.key)) {
        return Err(Failure::usage(format!("label {key:?} is given twice")));
    }
    Ok(args.labels.iter().map(|label| (label.key.clone(), label.value.clone())).collect())
}

fn volumes(args: &[VolumeArg]) -> Result<Vec<VolumeInput>, Failure> {
    if let Some(name) = twice(args.iter().map(|volume| &volume.name)) {
        return Err(Failure::usage(format!("volume {name} is given twice")));
    }
    if args.iter().filter(|volume| volume.is_stdin()).count() > 1 {
        return Err(Failure::usage("only one volume can be read from standard input"));
    }
    let open = |volume: &VolumeArg| {
        let source = if volume.is_stdin() {
            // a descriptor of its own: no lock, no buffer between
            let stdin = std::io::stdin().as_fd().try_clone_to_owned();
            let stdin =
                stdin.map_err(|e| Failure::failed(format!("volume {}: standard input: {e}", volume.name)))?;
            VolumeSource::Stream(Box::new(File::from(stdin)))
        } else {
            let source = FileSource::open(&volume.path);
            VolumeSource::Blocks(Arc::new(
                source.map_err(|e| Failure::failed(format!("volume {}: {e}", volume.name)))?,
            ))
        };
        Ok(VolumeInput { name: volume.name.clone(), source })
    };
    args.iter().map(open).collect()
}

fn manifests(paths: &[PathBuf], env: &Env) -> Result<Arc<[ManifestInput]>, Failure> {
    let failed = |error: manifest::ManifestError| Failure::failed(error.to_string());
    let spooling =
        |error: io::Error| Failure::failed(format!("keeping manifests in a temporary file: {error}"));
    let mut spool = ManifestSpool::new(env)?;
    let (mut found, mut full) = (Vec::new(), Ok(()));
    for path in paths {
        let mut take = |manifest: Manifest| {
            if full.is_ok() {
                match spool.push(manifest.json) {
                    Ok(json) => found.push(Manifest { path: manifest.path, json, source: manifest.source }),
                    Err(error) => full = Err(error),
                }
            }
        };
        manifest::read_path_into(path, &Limits::default(), &mut take).map_err(failed)?;
    }
    full.and_then(|()| spool.finish()).map_err(spooling)?;
    let merged = manifest::merge(found).map_err(failed)?;
    Ok(merged
        .into_iter()
        .map(|manifest| ManifestInput { path: manifest.path, json: manifest.json })
        .collect())
}

fn told(context: &Context, report: &BackupReport, store_requests: u64) -> Result<(), Failure> {
    let (output, duration_seconds) = (context.output, context.duration_seconds());
    if output.json() {
        return output.summary(Summary {
            snapshot_id: report.snapshot_id.map(|id| id.to_string()),
            parent_id: report.parent_id.map(|id| id.to_string()),
            volumes: report.volumes,
            volumes_unchanged: report.volumes_unchanged,
            volumes_by_ranges: report.volumes_by_ranges,
            manifests: report.manifests,
            bytes_scanned: report.bytes_scanned,
            bytes_read: report.bytes_read,
            bytes_new: report.bytes_new,
            bytes_stored: report.bytes_stored,
            bytes_mended: report.bytes_mended,
            chunks_new: report.chunks_new,
            chunks_reused: report.chunks_reused,
            store_requests,
            duration_seconds,
        });
    }
    output.told(format!(
        "{} ({} unchanged), {}: {} scanned, {} read, {} new in {}, {} stored, {}, {duration_seconds:.1} s",
        text::count(report.volumes, "volume"),
        report.volumes_unchanged,
        text::count(report.manifests, "manifest"),
        text::bytes(report.bytes_scanned),
        text::bytes(report.bytes_read),
        text::bytes(report.bytes_new),
        text::count(report.chunks_new, "chunk"),
        text::bytes(report.bytes_stored),
        text::count(store_requests, "store request"),
    ))?;
    match report.snapshot_id {
        Some(id) => output.line(format!("snapshot {id} ({})", short_id(&id))),
        None => output.line("dry run: nothing was written"),
    }
}
