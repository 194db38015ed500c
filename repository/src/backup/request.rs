//! What a backup is asked to do, and what it says it did.

use crate::manifest_spool::ManifestJson;
use crate::source::VolumeSource;
use repo_format::SnapshotId;
use std::collections::BTreeMap;
use std::ops::Range;
use std::sync::Arc;

/// One volume of a backup.
pub struct VolumeInput {
    /// `namespace/claim`.
    pub name: String,
    /// Where its bytes come from.
    pub source: VolumeSource,
}

/// One manifest of a backup.
#[derive(Clone)]
pub struct ManifestInput {
    /// `group/kind/namespace/name`.
    pub path: String,
    /// Canonical JSON.
    pub json: ManifestJson,
}

/// Which earlier snapshot a volume is compared with.
#[derive(Debug, Clone, Default)]
pub enum Parent {
    /// Per volume, the newest usable snapshot with that volume name.
    #[default]
    Newest,
    /// This one; an error if it cannot be used.
    Snapshot(SnapshotId),
}

/// What is known of changes since an earlier snapshot, from whoever tracks them.
#[derive(Debug, Clone)]
pub struct ChangedRanges {
    /// The snapshot; nothing if it is not there any more.
    pub base: Option<SnapshotId>,
    /// By the name of a volume: all byte ranges that may differ from it, in any order. Volumes that are not named
    /// are read as wholes.
    pub volumes: BTreeMap<String, Vec<Range<u64>>>,
    /// How many blocks of 4096 bytes that should be as in the base are compared with it, at random.
    pub audit_blocks: u32,
}

impl ChangedRanges {
    /// Damage of a part p of what is not read is found with a probability of 1 - (1 - p)^n: 98.3 % of 0.1 %.
    pub const AUDIT_BLOCKS: u32 = 4096;
}

/// How records are compressed. Never changes an id.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum CompressionLevel {
    /// As the engine sees fit.
    #[default]
    Auto,
    /// Not at all.
    Off,
    /// A zstd level, -7 to 19.
    Level(i32),
}

impl CompressionLevel {
    /// The zstd level, or `None` for raw records.
    pub fn zstd(self) -> Option<i32> {
        match self {
            CompressionLevel::Auto => Some(1),
            CompressionLevel::Off => None,
            CompressionLevel::Level(level) => Some(level.clamp(-7, 19)),
        }
    }
}

/// A backup: all its volumes and manifests become visible in one step, or none.
#[derive(Default)]
pub struct BackupRequest {
    /// Volumes, in any order; names are unique.
    pub volumes: Vec<VolumeInput>,
    /// Manifests in strictly rising order of path.
    pub manifests: Arc<[ManifestInput]>,
    /// A name for people; empty for none.
    pub name: String,
    /// What retention counts together; the sorted volume names if empty.
    pub group: String,
    /// Labels.
    pub labels: BTreeMap<String, String>,
    /// The snapshot's time, Unix milliseconds; now if `None`.
    pub time_ms: Option<u64>,
    /// Which earlier snapshot to compare with.
    pub parent: Parent,
    /// What changed, where that is known: the rest is not read, and the newest parent not looked for.
    pub changed: Option<ChangedRanges>,
    /// Read files even where their change token equals the parent's.
    pub force_read: bool,
    /// How records are compressed.
    pub compression: CompressionLevel,
    /// Read and count, write nothing.
    pub dry_run: bool,
    /// Version of the program, for the snapshot.
    pub tool: String,
}

impl BackupRequest {
    /// Whether a source cannot be read a second time.
    pub(super) fn is_read_once(&self) -> bool {
        self.volumes.iter().any(|volume| matches!(volume.source, VolumeSource::Stream(_)))
    }
}

/// Something that should be known of a volume.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct VolumeNote {
    /// Its name.
    pub volume: String,
    /// What happened.
    pub text: String,
    /// Somebody was wrong, and the snapshot says so: it is partial.
    pub is_fault: bool,
}

/// What a backup did. Byte counts are of plain data unless they say stored.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct BackupReport {
    /// The new snapshot; none after a dry run.
    pub snapshot_id: Option<SnapshotId>,
    /// The parent of the first volume that has one.
    pub parent_id: Option<SnapshotId>,
    /// Volumes in it.
    pub volumes: u64,
    /// Volumes of which only what changed was read.
    pub volumes_by_ranges: u64,
    /// What should be known of volumes, by their names.
    pub notes: Vec<VolumeNote>,
    /// Volumes that were not read, because their change token equals the parent's.
    pub volumes_unchanged: u64,
    /// Manifests in it.
    pub manifests: u64,
    /// Sizes of all volumes and the catalogue, holes and unread volumes included.
    pub bytes_scanned: u64,
    /// Bytes read from the sources.
    pub bytes_read: u64,
    /// Bytes in chunks that the repository did not have.
    pub bytes_new: u64,
    /// Bytes uploaded, all objects.
    pub bytes_stored: u64,
    /// Of `bytes_stored`, what was uploaded only since a prune overtook the session: the packs of records
    /// copied out of condemned packs with the run that lists them, and everything that a start after the
    /// first has uploaded. An upper bound: a start that was broken off early has not uploaded all of that before.
    pub bytes_mended: u64,
    /// Chunks that the repository did not have.
    pub chunks_new: u64,
    /// Chunks that it had, those of unchanged segments included; what changed ranges passed over is not.
    pub chunks_reused: u64,
}
