//! Backup: sources in, one snapshot out, in the order that makes it safe beside prune.
//!
//! c0 and c1 are in [`session`], c2 in [`volume`], [`stream`] and [`sealer`], c3 to c6 in
//! [`commit`]; the letters are those of `docs/design.md`.

mod adopt;
mod audit;
mod blocks;
mod catalogue;
mod claims;
mod commit;
mod level;
mod mend;
pub(crate) mod packer;
mod parent;
mod ranges;
mod request;
mod sealer;
mod session;
mod stream;
mod taken;
pub(crate) mod undelete;
mod volume;

pub(crate) use sealer::session_keys;
pub(crate) use volume::unit_len;

pub use request::{
    BackupReport, BackupRequest, ChangedRanges, CompressionLevel, ManifestInput, Parent, VolumeInput,
    VolumeNote,
};

use crate::progress::Progress;
use crate::source::VolumeSource;
use crate::{Error, ErrorKind, Repository, Result};
use commit::Commit;
use parent::Parents;
use repo_format::snapshot::{
    CatalogueRoot, Chunker, ItemError, Snapshot, SnapshotStatus, Volume, VolumeMode,
};
use session::Session;
use std::collections::HashSet;
use std::sync::Arc;

/// How often a session starts anew because a prune has overtaken it.
const STARTS_MAX: u32 = 4;

/// Backs up all volumes and manifests of `request` as one snapshot.
///
/// Success means that the snapshot is in the store and everything that it names is, too. After an
/// error nothing is visible; what was uploaded is found again by the next backup.
pub async fn backup(
    repository: &Repository,
    mut request: BackupRequest,
    progress: &Arc<Progress>,
) -> Result<BackupReport> {
    repository.require_writable()?;
    if !repository.role().can_write_data() {
        return Err(repository.role_error("backup", "backup or owner"));
    }
    check_request(&request)?;
    let started_ms = repository.env().clock.now_ms();
    let uploaded = || repository.store().stats().uploaded_bytes;
    let uploaded_before = uploaded();
    let (mut own, mut mended) = (Vec::new(), 0);
    for start in 0..STARTS_MAX {
        let uploaded_at_start = uploaded();
        let (mut session, parents) = Session::start(repository, &request, progress, own).await?;
        let result = run(&mut session, &mut request, &parents, started_ms).await;
        // what a first start mended, and all of a later one
        mended += match &result {
            _ if start > 0 => uploaded() - uploaded_at_start,
            Ok(Some(report)) => report.bytes_mended,
            _ => session.report.bytes_mended,
        };
        match result {
            Ok(Some(report)) => {
                let bytes_stored = uploaded() - uploaded_before;
                return Ok(BackupReport { bytes_stored, bytes_mended: mended, ..report });
            }
            Ok(None) if request.is_read_once() => {
                let what =
                    "a prune has overtaken this backup, and a stream cannot be read again; run it again";
                return Err(Error::Conflict { what: what.into() });
            }
            Ok(None) => own = session.own,
            // what a parent needed went by a newer generation: by its records there is another parent
            Err(error)
                if error.kind() == ErrorKind::Damage
                    && !request.is_read_once()
                    && crate::gc::view(repository).await.is_ok_and(|now| now.sweeps > session.gc.sweeps) =>
            {
                own = session.own;
            }
            Err(error) => {
                progress.phase("keeping what was read");
                session.salvage().await;
                return Err(error);
            }
        }
    }
    Err(Error::Conflict {
        what: format!("prunes have overtaken this backup {STARTS_MAX} times; run it again"),
    })
}

fn check_request(request: &BackupRequest) -> Result<()> {
    let usage = |what: String| Err(Error::Usage { what });
    if request.volumes.is_empty() && request.manifests.is_empty() {
        return usage("nothing to back up: at least one volume or manifest is needed".into());
    }
    let mut names = HashSet::new();
    for volume in &request.volumes {
        if !names.insert(volume.name.as_str()) {
            return usage(format!("volume {:?} is named twice", volume.name));
        }
    }
    for name in request.changed.iter().flat_map(|changed| changed.volumes.keys()) {
        let is_block = |volume: &VolumeInput| matches!(volume.source, VolumeSource::Blocks(_));
        if !request.volumes.iter().any(|volume| volume.name == *name && is_block(volume)) {
            return usage(format!("changed ranges of {name:?}, which is no image or device of this backup"));
        }
    }
    let rising = request.manifests.windows(2).all(|pair| matches!(pair, [a, b] if a.path < b.path));
    if rising { Ok(()) } else { usage("manifests are not in rising order of path, each once".into()) }
}

/// One session from c0 to c6; nothing if it has to start anew.
async fn run(
    session: &mut Session,
    request: &mut BackupRequest,
    parents: &Parents,
    started_ms: u64,
) -> Result<Option<BackupReport>> {
    let repository = session.repository.clone();
    session.progress.phase("reading");
    for volume in &request.volumes {
        if let VolumeSource::Blocks(source) = &volume.source {
            session.progress.add_total(source.byte_len());
        }
    }
    let mut snapshot = Snapshot::new(session.sid, repository.domain(), request.time_ms.unwrap_or(started_ms));
    for input in &mut request.volumes {
        let volume = match &mut input.source {
            VolumeSource::Blocks(source) => {
                let asked = blocks::Asked {
                    name: &input.name,
                    source: source.clone(),
                    parent: parents.of(&input.name),
                    changed: request.changed.as_ref(),
                    force_read: request.force_read,
                };
                asked.backup(session, started_ms).await?
            }
            VolumeSource::Stream(reader) => {
                let reader = std::mem::replace(reader, Box::new(std::io::empty()));
                stream(session, &input.name, reader).await?
            }
        };
        session.report.bytes_scanned += volume.size;
        session.report.volumes += 1;
        snapshot.volumes.push(volume);
    }
    if !request.manifests.is_empty() {
        session.report.manifests = request.manifests.len() as u64;
        let manifests = request.manifests.clone();
        let reader = Box::new(catalogue::CatalogueStream::new(manifests));
        let (root, size) = stream::backup_stream(session, "the manifests", reader).await?;
        session.report.bytes_scanned += size;
        snapshot.catalogue = Some(CatalogueRoot { size, root });
    }
    describe(&mut snapshot, request, session);
    if session.dry_run {
        return Ok(Some(std::mem::take(&mut session.report)));
    }
    session.progress.phase("finishing");
    repository.exec().unless_cancelled(session.flush()).await?;
    let oldest = session.sealer.claims.index().lowest_built();
    match commit::commit(session, &mut snapshot, oldest).await? {
        Commit::Done(sid) => {
            session.report.snapshot_id = Some(sid);
            Ok(Some(std::mem::take(&mut session.report)))
        }
        Commit::Overtaken => Ok(None),
    }
}

fn describe(snapshot: &mut Snapshot, request: &BackupRequest, session: &mut Session) {
    let mut names: Vec<&str> = snapshot.volumes.iter().map(|volume| volume.name.as_str()).collect();
    names.sort_unstable();
    let mut group = if request.group.is_empty() { names.join(",") } else { request.group.clone() };
    let limit = repo_format::limits::NAME_LEN_MAX as usize;
    if group.len() > limit {
        // many volumes: their names' hash groups them just as well
        group = format!("volumes-{}", blake3::hash(group.as_bytes()).to_hex());
    }
    snapshot.group = group;
    snapshot.name = (!request.name.is_empty()).then(|| request.name.clone());
    snapshot.labels = request.labels.clone();
    snapshot.tool = request.tool.clone();
    for note in session.report.notes.iter().filter(|note| note.is_fault) {
        snapshot.status = SnapshotStatus::Partial;
        snapshot.errors.push(ItemError { item: note.volume.clone(), message: note.text.clone() });
    }
    snapshot.parent = session.parents.first().copied();
    session.report.parent_id = snapshot.parent;
}

async fn stream(session: &mut Session, name: &str, reader: Box<dyn std::io::Read + Send>) -> Result<Volume> {
    let before = session.report.clone();
    let (root, size) = stream::backup_stream(session, name, reader).await?;
    Ok(Volume {
        name: name.to_owned(),
        uid: None,
        size,
        mode: VolumeMode::Stream,
        storage_class: None,
        chunker: Chunker::FastCdc,
        root,
        changed: None,
        stats: blocks::stats_since(&before, &session.report, "full"),
    })
}
