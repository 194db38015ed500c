//! What a repair finds, means to do, and has done.

use repo_format::SnapshotId;
use repo_format::gc_record::LostVolume;
use std::collections::{BTreeMap, BTreeSet};

/// A pack that the index is told of anew, from its own trailer.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct NamedPack {
    /// Bytes of the pack.
    pub len: u64,
    /// Records that its trailer lists.
    pub records: u64,
}

/// A pack that the index names, or the store lists, and that cannot be used.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct LostPack {
    /// What was found.
    pub why: String,
    /// An index run names it: it is left out of the index, so that a backup stores its content anew.
    pub is_named: bool,
}

/// A mark that a snapshot gets.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct PlannedMark {
    /// Volumes with what is lost of them; names rise.
    pub volumes: Vec<LostVolume>,
    /// Paths of lost manifests; `*` if nobody can say which.
    pub manifests: Vec<String>,
}

impl PlannedMark {
    /// Nothing is lost any more.
    pub fn is_whole(&self) -> bool {
        self.volumes.is_empty() && self.manifests.is_empty()
    }

    /// Bytes of volumes that are lost.
    pub fn lost_len(&self) -> u64 {
        let ranges = self.volumes.iter().flat_map(|volume| &volume.ranges);
        ranges.fold(0, |sum, (_, len)| sum.saturating_add(*len))
    }
}

/// What is to be changed, by object name; empty if all is well.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct RepairPlan {
    /// Packs that the index is told of.
    pub name: BTreeMap<String, NamedPack>,
    /// Packs that are missing or cannot be read.
    pub lost: BTreeMap<String, LostPack>,
    /// Index runs that cannot be read: removed.
    pub runs_damaged: BTreeSet<String>,
    /// Index runs that name lost packs: written anew without them.
    pub runs_to_rewrite: BTreeSet<String>,
    /// Snapshots that get a new mark.
    pub marks: BTreeMap<SnapshotId, PlannedMark>,
}

impl RepairPlan {
    /// Nothing is to be changed.
    pub fn is_empty(&self) -> bool {
        self.name.is_empty()
            && self.runs_damaged.is_empty()
            && self.runs_to_rewrite.is_empty()
            && self.marks.is_empty()
    }
}

/// What a repair found and did.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct RepairReport {
    /// What was, or in a dry run would be, changed.
    pub plan: RepairPlan,
    /// Snapshots of which something is lost, with all that is; marked unless this was a dry run.
    pub damaged: BTreeMap<SnapshotId, PlannedMark>,
    /// Snapshots of which something lies only in packs that an unfinished prune means to condemn.
    pub unsettled: BTreeSet<SnapshotId>,
    /// Snapshot objects that cannot be read: no mark can be put on them.
    pub unreadable: Vec<String>,
    /// Other records that were passed over: markers and marks that nobody signed.
    pub warnings: Vec<String>,
    /// Index runs written.
    pub runs_written: u64,
    /// Index runs removed.
    pub runs_deleted: u64,
    /// Marks written.
    pub marks_written: u64,
}

impl RepairReport {
    /// Every snapshot can be restored whole.
    pub fn is_whole(&self) -> bool {
        self.damaged.is_empty() && self.unsettled.is_empty() && self.unreadable.is_empty()
    }
}
