//! What a repair finds, means to do, and has done.

use repo_format::SnapshotId;
use repo_format::gc_record::LostVolume;
use repo_format::layout::SNAPSHOT_PREFIX;
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

/// A pack that was read whole and is not as it was written.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct FlawedPack {
    /// The first thing that was found wrong.
    pub why: String,
    /// An index run names it: it is left out of the index.
    pub is_named: bool,
    /// Records of it that are bad.
    pub records_lost: u64,
    /// Good records that no other pack holds: they are copied to a new one.
    pub records_copied: u64,
    /// Their sealed bytes.
    pub copied_len: u64,
}

impl FlawedPack {
    /// Something is to be done about it.
    pub fn is_open(&self) -> bool {
        self.is_named || self.records_copied > 0
    }
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

/// Where records are copied from.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Origin {
    /// A pack of which a part is bad.
    Flawed,
    /// A pack that an unfinished prune means to condemn.
    Candidate,
    /// A pack that a prune has condemned.
    Dead,
    /// The copy of this repository that was named.
    Other,
}

impl Origin {
    /// For people and scripts.
    pub fn word(self) -> &'static str {
        match self {
            Origin::Flawed => "flawed",
            Origin::Candidate => "candidate",
            Origin::Dead => "condemned",
            Origin::Other => "other",
        }
    }
}

/// Records that snapshots need and that are copied out of one pack.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct PlannedCopy {
    /// What kind of pack it is, and where.
    pub origin: Origin,
    /// Its name.
    pub pack: String,
    /// Records copied.
    pub records: u64,
    /// Their sealed bytes.
    pub len: u64,
}

/// Records that snapshots need and that are cut anew from one volume of a repository with other keys.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct PlannedRecut {
    /// The snapshot of the other repository.
    pub snapshot: SnapshotId,
    /// The volume, by its name in both; none for the manifests.
    pub volume: Option<String>,
    /// Chunks found by their ids.
    pub chunks: u64,
    /// Their plain bytes.
    pub len: u64,
    /// Pages of maps built again.
    pub pages: u64,
}

/// What is done about a small record that cannot be read.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Remedy {
    /// It counts as none for everybody: it is removed.
    Remove,
    /// A pending record: its session is ended, as `session drop` does. If it still runs, it begins anew.
    EndSession,
    /// A plan that nobody can read: an empty sweep ends its generation, and the next plan begins anew from
    /// the generation before.
    EndGeneration,
    /// Nothing that is safe: what the operator may do is said.
    Nothing,
}

impl Remedy {
    /// For people and scripts.
    pub fn word(self) -> &'static str {
        match self {
            Remedy::Remove => "remove",
            Remedy::EndSession => "end session",
            Remedy::EndGeneration => "end generation",
            Remedy::Nothing => "keep",
        }
    }
}

/// A small record that cannot be read.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct BadRecord {
    /// What was found, and what follows from it.
    pub why: String,
    /// What is done about it.
    pub remedy: Remedy,
}

/// What is to be changed, by object name; empty if all is well.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct RepairPlan {
    /// Snapshots, markers, marks, pending and deletion records that cannot be read.
    pub records: BTreeMap<String, BadRecord>,
    /// Records to copy: good ones of flawed packs, then those that snapshots need, nearest first.
    pub copies: Vec<PlannedCopy>,
    /// What no pack gives back and a repository with other keys does.
    pub recuts: Vec<PlannedRecut>,
    /// Packs that the index is told of.
    pub name: BTreeMap<String, NamedPack>,
    /// Packs that are missing or cannot be read.
    pub lost: BTreeMap<String, LostPack>,
    /// Packs of which a part is bad.
    pub flawed: BTreeMap<String, FlawedPack>,
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
        self.records.values().all(|record| record.remedy == Remedy::Nothing)
            && self.copies.is_empty()
            && self.recuts.is_empty()
            && self.name.is_empty()
            && !self.flawed.values().any(FlawedPack::is_open)
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
    /// Packs written, of records that were copied.
    pub packs_written: u64,
    /// Index runs written.
    pub runs_written: u64,
    /// Index runs removed.
    pub runs_deleted: u64,
    /// Marks written.
    pub marks_written: u64,
    /// Records removed that nobody can read, and sessions and generations ended.
    pub records_settled: u64,
}

impl RepairReport {
    /// Adds what a later round plans. What is lost says the last one.
    pub(super) fn absorb(&mut self, later: RepairReport) {
        let (plan, more) = (&mut self.plan, later.plan);
        plan.records.retain(|_, record| record.remedy != Remedy::Nothing);
        plan.records.extend(more.records);
        plan.copies.extend(more.copies);
        plan.recuts.extend(more.recuts);
        plan.name.extend(more.name);
        plan.lost.extend(more.lost);
        plan.flawed.extend(more.flawed);
        plan.runs_damaged.extend(more.runs_damaged);
        plan.runs_to_rewrite.extend(more.runs_to_rewrite);
        (plan.marks, self.damaged, self.unsettled) = (more.marks, later.damaged, later.unsettled);
    }

    /// Every snapshot can be restored whole.
    pub fn is_whole(&self) -> bool {
        self.damaged.is_empty() && self.unsettled.is_empty() && self.unreadable().next().is_none()
    }

    /// Snapshots that cannot be restored whole, or at all.
    pub fn not_whole(&self) -> u64 {
        let unsettled = self.unsettled.iter().filter(|sid| !self.damaged.contains_key(sid)).count();
        let unreadable = self.unreadable().filter(|(object, _)| object.starts_with(SNAPSHOT_PREFIX)).count();
        (self.damaged.len() + unsettled + unreadable) as u64
    }

    /// Objects that cannot be read and about which nothing can be done safely, with what follows from it.
    pub fn unreadable(&self) -> impl Iterator<Item = (&String, &BadRecord)> {
        self.plan.records.iter().filter(|(_, record)| record.remedy == Remedy::Nothing)
    }
}
