//! The snapshot, which roots one backup, and the pending record that announces it.

mod codec;
mod pending;

pub use pending::Pending;

use crate::{Id, SnapshotId, limits};
use std::collections::BTreeMap;

/// What the document describes.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum SnapshotKind {
    /// Volumes and manifests of one application, as `backup` writes them.
    #[default]
    Backup,
}

/// How the backup ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum SnapshotStatus {
    /// All that was asked for is there.
    #[default]
    Success,
    /// Something is missing; [`Snapshot::errors`] says what.
    Partial,
    /// Kept as evidence only.
    Failed,
}

/// One backup of one application: all its volumes and manifests.
///
/// Texts are at most [`limits::NAME_LEN_MAX`] bytes, lists at most [`LIST_COUNT_MAX`] items.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Snapshot {
    /// What the document describes.
    pub kind: SnapshotKind,
    /// Its name in the store, too: a UUIDv7.
    pub sid: SnapshotId,
    /// The domain whose keys seal it; 1 to 64 bytes.
    pub domain: String,
    /// When the backup began, in Unix milliseconds by its writer's clock.
    pub time: u64,
    /// A name for people.
    pub name: Option<String>,
    /// What retention counts together.
    pub group: String,
    /// Labels of the user.
    pub labels: BTreeMap<String, String>,
    /// Where the application ran.
    pub cluster: Option<Cluster>,
    /// What was selected, and how it was held still.
    pub application: Option<Application>,
    /// The volumes; names are unique.
    pub volumes: Vec<Volume>,
    /// The manifests, if there are any.
    pub catalogue: Option<CatalogueRoot>,
    /// The snapshot that this one was compared with.
    pub parent: Option<SnapshotId>,
    /// What went wrong.
    pub errors: Vec<ItemError>,
    /// How the backup ended.
    pub status: SnapshotStatus,
    /// Program and version that wrote it.
    pub tool: String,
}

impl Snapshot {
    /// An empty backup that succeeded; the caller fills in what there is.
    pub fn new(sid: SnapshotId, domain: &str, time: u64) -> Self {
        Snapshot {
            kind: SnapshotKind::Backup,
            sid,
            domain: domain.to_owned(),
            time,
            name: None,
            group: String::new(),
            labels: BTreeMap::new(),
            cluster: None,
            application: None,
            volumes: Vec::new(),
            catalogue: None,
            parent: None,
            errors: Vec::new(),
            status: SnapshotStatus::Success,
            tool: String::new(),
        }
    }
}

/// Items of any list of a snapshot.
pub const LIST_COUNT_MAX: u64 = 65_536;

/// A Kubernetes cluster.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Cluster {
    /// Uid of its `kube-system` namespace.
    pub uid: String,
    /// A name for people.
    pub name: String,
}

/// What was selected, and how it was held still.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Application {
    /// Namespaces, sorted by the writer.
    pub namespaces: Vec<String>,
    /// The label selector, in Kubernetes' syntax.
    pub selector: Option<String>,
    /// Rules that ran before and after.
    pub hooks: Vec<String>,
    /// What the volumes are consistent with, such as `crash` or `application`.
    pub consistency: Option<String>,
}

/// What a volume was read from.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum VolumeMode {
    /// A block device.
    Block,
    /// An image in a file.
    #[default]
    File,
    /// A stream of unknown length, such as standard input.
    Stream,
}

/// How a volume was cut; it decides the shape of its map.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Chunker {
    /// Cuts on the 4 KiB grid; lengths in blocks. `min == max` cuts at fixed places.
    Blocks {
        /// Shortest chunk that a cut ends, at least 1.
        min: u32,
        /// Average, at least 2 and at most 16 min.
        avg: u32,
        /// Longest chunk, at most 1024.
        max: u32,
    },
    /// FastCDC with the format's only parameters, for streams.
    FastCdc,
}

impl Chunker {
    /// Bytes of a segment, after which chunking starts anew; none for streams.
    pub fn segment_len(&self) -> Option<u64> {
        match self {
            Chunker::Blocks { avg, .. } => Some(128 * u64::from(*avg) * u64::from(limits::BLOCK_LEN)),
            Chunker::FastCdc => None,
        }
    }
}

/// Where a source's view of changes was anchored, for the next backup to continue from.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct ChangedSource {
    /// Who reported changes: a CSI driver, or `file-stat`.
    pub driver: String,
    /// The driver's handle of the volume, or the file's path.
    pub handle: String,
    /// The driver's id of the state that was read.
    pub id: Vec<u8>,
}

/// What a volume cost.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct VolumeStats {
    /// Bytes read from the source.
    pub bytes_read: u64,
    /// Plain bytes of chunks that were not in the repository.
    pub bytes_new: u64,
    /// Sealed bytes of those chunks.
    pub bytes_stored: u64,
    /// Chunks uploaded.
    pub chunks_new: u64,
    /// Chunks that were there.
    pub chunks_reused: u64,
    /// How the source was read, such as `full`, `changed` or `unchanged`.
    pub scan: Option<String>,
    /// Why it was read so.
    pub reason: Option<String>,
    /// Backups, this one included, since the volume was last read as a whole: they trusted what they were told of
    /// its changes.
    pub partial_scans: u32,
}

/// A volume and the root of its map.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Volume {
    /// `namespace/claim`, or what the user called it.
    pub name: String,
    /// Uid of the claim.
    pub uid: Option<String>,
    /// Bytes of content.
    pub size: u64,
    /// What it was read from.
    pub mode: VolumeMode,
    /// Storage class of the claim.
    pub storage_class: Option<String>,
    /// How it was cut.
    pub chunker: Chunker,
    /// Root of the map; [`Id::ZERO`] if the volume is empty or all zero.
    pub root: Id,
    /// Where the next backup's changes begin.
    pub changed: Option<ChangedSource>,
    /// What it cost.
    pub stats: VolumeStats,
}

/// The manifests as a stream.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct CatalogueRoot {
    /// Bytes of the stream, at least 12.
    pub size: u64,
    /// Root of its map.
    pub root: Id,
}

/// Something that could not be backed up.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct ItemError {
    /// The volume or object.
    pub item: String,
    /// Why, for people.
    pub message: String,
}

#[cfg(test)]
mod tests;
