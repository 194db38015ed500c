//! What a prune means to do, why, and what it did.

use repo_format::pack::PackClass;
use repo_format::{PackId, SnapshotId};

/// How much unused data may stay.
#[derive(Debug, Clone, Copy, PartialEq)]
pub enum MaxUnused {
    /// Share of what the packs hold after the prune, in percent.
    Percent(f64),
    /// Bytes.
    Bytes(u64),
    /// Whatever there is: nothing is repacked.
    Unlimited,
}

/// Why something happens to a pack.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Reason {
    /// No snapshot needs anything in it.
    Unneeded,
    /// All that is needed of it lies in another pack, too.
    Duplicate,
    /// No index run names it and its session has ended.
    Unlisted,
    /// Too much of it is not needed.
    PartlyUnneeded,
    /// It is small, and there are many small ones.
    Small,
}

impl Reason {
    /// As people and JSON see it.
    pub fn text(self) -> &'static str {
        match self {
            Reason::Unneeded => "unneeded",
            Reason::Duplicate => "duplicate",
            Reason::Unlisted => "unlisted",
            Reason::PartlyUnneeded => "partly unneeded",
            Reason::Small => "small",
        }
    }
}

/// A pack and what becomes of it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct PlannedPack {
    /// The pack.
    pub pack_id: PackId,
    /// Data or map.
    pub class: PackClass,
    /// Length of the object.
    pub len: u64,
    /// Sealed bytes of it that are needed and lie nowhere else.
    pub used_len: u64,
    /// Why.
    pub reason: Reason,
}

/// What happens to the index.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct RunsPlan {
    /// Runs there are.
    pub runs: u64,
    /// Runs that are joined into fewer.
    pub merged: u64,
    /// Runs that nobody reads any more.
    pub removed: u64,
}

/// What a prune means to do, before it does anything.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct PrunePlan {
    /// Snapshots that are dropped by now or by this prune.
    pub forgotten: Vec<SnapshotId>,
    /// Snapshots with a marker that stay, since each is the last complete one of its group.
    pub kept_last: Vec<SnapshotId>,
    /// Live packs there are, and their bytes.
    pub packs_total: u64,
    /// Their bytes.
    pub bytes_total: u64,
    /// Sealed bytes that snapshots need.
    pub bytes_used: u64,
    /// Bytes that nothing needs and that stay after this prune.
    pub bytes_unused_after: u64,
    /// Packs that are condemned as they are.
    pub condemn: Vec<PlannedPack>,
    /// Packs whose needed records are copied before they are condemned.
    pub repack: Vec<PlannedPack>,
    /// Packs that stay because their session may still be running, and their bytes.
    pub packs_young: u64,
    /// Their bytes.
    pub bytes_young: u64,
    /// Packs condemned by earlier prunes whose window is over: they are deleted now.
    pub packs_to_delete: u64,
    /// Their bytes.
    pub bytes_to_delete: u64,
    /// The index.
    pub runs: RunsPlan,
}

impl PrunePlan {
    /// Bytes that the store will give back for the packs that this prune condemns.
    pub fn bytes_condemned(&self) -> u64 {
        self.condemn.iter().chain(&self.repack).fold(0, |sum, pack| sum.saturating_add(pack.len))
    }

    /// Sealed bytes to copy.
    pub fn bytes_to_repack(&self) -> u64 {
        self.repack.iter().fold(0, |sum, pack| sum.saturating_add(pack.used_len))
    }
}

/// What a prune did.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct PruneReport {
    /// What it meant to do.
    pub plan: PrunePlan,
    /// The generation that it wrote or finished; none if nothing was to be condemned.
    pub generation: Option<u64>,
    /// Packs condemned in it.
    pub packs_condemned: u64,
    /// Their bytes: free once they are deleted.
    pub bytes_condemned: u64,
    /// Candidates that a backup had come to need meanwhile.
    pub packs_rescued: u64,
    /// Packs deleted now.
    pub packs_deleted: u64,
    /// Bytes freed now.
    pub bytes_freed: u64,
    /// Sealed bytes copied into new packs.
    pub bytes_repacked: u64,
    /// When a prune may delete what is condemned, Unix milliseconds; none if nothing waits.
    pub free_at_ms: Option<u64>,
    /// Bytes of condemned packs that wait for it.
    pub bytes_waiting: u64,
    /// Snapshot objects deleted now.
    pub snapshots_deleted: u64,
    /// Sessions that were ended, because they had not moved for a week.
    pub sessions_ended: u64,
    /// Runs written by merging.
    pub runs_written: u64,
    /// Runs deleted.
    pub runs_deleted: u64,
    /// Snapshots that need a record which no pack holds, with one such record: nothing was condemned.
    pub lost: Vec<(SnapshotId, String)>,
    /// What should be known, one line each.
    pub warnings: Vec<String>,
}
