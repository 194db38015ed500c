//! A volume that can be read anywhere: by what changed where that is known, else as a whole, or not at all.

use super::ranges::{Base, Dirty, Input, Scan, backup_ranges};
use super::request::{BackupReport, ChangedRanges, VolumeNote};
use super::session::Session;
use super::{parent::LeafIds, volume};
use crate::error::Named;
use crate::reader::Reader;
use crate::source::{BlockSource, ChangeToken};
use crate::{Error, Result};
use chunker::blocks::BlockParams;
use repo_format::map::{Child, Place};
use repo_format::snapshot::{ChangedSource, Chunker, Snapshot, Volume, VolumeMode, VolumeStats};
use repo_format::{Id, SnapshotId};
use std::sync::Arc;

/// After so many backups that trusted what they were told of changes, one reads everything.
const PARTIAL_SCANS_MAX: u32 = 29;

/// A volume that is to be backed up.
pub(super) struct Asked<'a> {
    pub(super) name: &'a str,
    pub(super) source: Arc<dyn BlockSource>,
    pub(super) parent: Option<&'a Arc<Snapshot>>,
    pub(super) changed: Option<&'a ChangedRanges>,
    /// Read what looks unchanged.
    pub(super) force_read: bool,
}

impl Asked<'_> {
    pub(super) async fn backup(self, session: &mut Session, started_ms: u64) -> Result<Volume> {
        let size = self.source.byte_len();
        let found =
            self.parent.and_then(|p| p.volumes.iter().find(|v| v.name == self.name).map(|v| (p.sid, v)));
        let found = found.filter(|(_, volume)| matches!(volume.chunker, Chunker::Blocks { .. }));
        let params = block_params(session, found.map(|(_, volume)| volume), size)?;
        let mut volume = self.volume(params);
        let usable = found.filter(|(_, parent)| parent.chunker == volume.chunker);
        if let Some((sid, parent)) = usable {
            session.use_parent(sid);
            let token = self.source.change_token().map(changed_source);
            if !self.force_read && parent.size == size && token.is_some() && token == parent.changed {
                volume.root = parent.root;
                volume.changed = token;
                volume.stats.scan = Some("unchanged".into());
                volume.stats.partial_scans = parent.stats.partial_scans;
                session.report.volumes_unchanged += 1;
                session.progress.add_done(size);
                return Ok(volume);
            }
        }
        let before = session.report.clone();
        let stats = match self.by_ranges(session, usable, params).await? {
            Tried::Done { root, since, partial_scans } => {
                volume.root = root;
                session.report.volumes_by_ranges += 1;
                let reason = Some(format!("changed ranges since {since}"));
                VolumeStats { reason, partial_scans, ..stats_since(&before, &session.report, "ranges") }
            }
            Tried::Not(reason) => {
                let leaves = match usable {
                    Some((_, parent)) => {
                        let index = session.sealer.claims.index();
                        let (segment_len, size) = (params.segment_len(), parent.size);
                        LeafIds::of(&session.repository, index, parent.root, segment_len, size)?
                    }
                    None => LeafIds::none(),
                };
                let source = self.source.clone();
                volume.root = volume::backup_blocks(session, self.name, source, params, leaves).await?;
                VolumeStats { reason, ..stats_since(&before, &session.report, "full") }
            }
        };
        let token = self.source.finish(started_ms).map_err(|cause| Error::Source {
            name: self.name.to_owned(),
            what: "reading",
            offset: size,
            source: cause,
        })?;
        volume.changed = token.map(changed_source);
        volume.stats = stats;
        Ok(volume)
    }

    fn volume(&self, params: BlockParams) -> Volume {
        let is_device = self.source.is_device();
        Volume {
            name: self.name.to_owned(),
            uid: None,
            size: self.source.byte_len(),
            mode: if is_device { VolumeMode::Block } else { VolumeMode::File },
            storage_class: None,
            chunker: Chunker::Blocks { min: params.min(), avg: params.avg(), max: params.max() },
            root: Id::ZERO,
            changed: None,
            stats: VolumeStats::default(),
        }
    }

    /// Reads what is said to have changed, if anything is said and `parent` is what it is said of.
    async fn by_ranges(
        &self,
        session: &mut Session,
        parent: Option<(SnapshotId, &Volume)>,
        params: BlockParams,
    ) -> Result<Tried> {
        let Some((changed, ranges)) = self.changed.and_then(|c| Some((c, c.volumes.get(self.name)?))) else {
            return Ok(Tried::Not(None));
        };
        if self.source.byte_len() == 0 {
            return Ok(Tried::Not(None));
        }
        let (reason, is_fault) = match self.base(changed, parent) {
            Err(reason) => (reason, false),
            Ok((since, base)) => {
                let size = self.source.byte_len();
                let input = Arc::new(Input {
                    name: self.name.to_owned(),
                    source: self.source.clone(),
                    params,
                    dirty: Dirty::of(ranges, size),
                });
                let reader = Reader::new(session.repository.clone(), session.sealer.claims.index().clone());
                let place = Place::volume_root(params.segment_len(), size).named(self.name)?;
                let root = Base { reader, root: Child { id: base.root, place } };
                match backup_ranges(session, &input, &root, changed.audit_blocks).await? {
                    Scan::Done(root) => {
                        let partial_scans = base.stats.partial_scans + 1;
                        return Ok(Tried::Done { root, since, partial_scans });
                    }
                    Scan::Refused(reason) => (format!("snapshot {since}: {reason}"), false),
                    Scan::Wrong(offset) => {
                        let what = "the changed ranges are wrong: at offset";
                        (format!("{what} {offset} it is not as in {since}, though none names that"), true)
                    }
                }
            }
        };
        let text = format!("read as a whole: {reason}");
        session.report.notes.push(VolumeNote { volume: self.name.to_owned(), text, is_fault });
        Ok(Tried::Not(Some(reason)))
    }

    /// The base, if it can be built on.
    fn base<'v>(
        &self,
        changed: &ChangedRanges,
        parent: Option<(SnapshotId, &'v Volume)>,
    ) -> Result<(SnapshotId, &'v Volume), String> {
        let size = self.source.byte_len();
        let Some(since) = changed.base else { return Err("the base is not there any more".into()) };
        let base = parent.filter(|(sid, _)| *sid == since).map(|(_, volume)| volume);
        match base {
            None => Err(format!("{since} has no such volume that a backup may build on")),
            Some(base) if base.size != size => {
                Err(format!("it has {size} bytes, and had {} in {since}", base.size))
            }
            Some(base) if base.stats.partial_scans >= PARTIAL_SCANS_MAX => {
                Err(format!("every {}th backup is, whatever changed", PARTIAL_SCANS_MAX + 1))
            }
            Some(base) => Ok((since, base)),
        }
    }
}

/// What came of changed ranges.
enum Tried {
    Done {
        root: Id,
        since: SnapshotId,
        partial_scans: u32,
    },
    /// The volume has to be read as a whole; the reason if there were ranges.
    Not(Option<String>),
}

/// A volume's chain keeps its parameters; a new one takes those of its size.
fn block_params(session: &Session, parent: Option<&Volume>, size: u64) -> Result<BlockParams> {
    let row = session.repository.config().chunking.params_for(size).copied();
    let (min, avg, max) = match (parent.map(|volume| volume.chunker), row) {
        (Some(Chunker::Blocks { min, avg, max }), _) => (min, avg, max),
        (_, Some(row)) => (row.min, row.avg, row.max),
        _ => return Err(Error::internal("a chunking table without an end")),
    };
    BlockParams::new(min, avg, max).map_err(|e| Error::damage("config", e.to_string()))
}

fn changed_source(token: ChangeToken) -> ChangedSource {
    ChangedSource { driver: token.driver, handle: token.handle, id: token.id.into_bytes() }
}

/// What a volume cost: what the report has counted since.
pub(super) fn stats_since(before: &BackupReport, now: &BackupReport, scan: &str) -> VolumeStats {
    VolumeStats {
        bytes_read: now.bytes_read - before.bytes_read,
        bytes_new: now.bytes_new - before.bytes_new,
        bytes_stored: now.bytes_stored - before.bytes_stored,
        chunks_new: now.chunks_new - before.chunks_new,
        chunks_reused: now.chunks_reused - before.chunks_reused,
        scan: Some(scan.to_owned()),
        reason: None,
        partial_scans: 0,
    }
}
