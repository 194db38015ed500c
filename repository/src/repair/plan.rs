//! From what was seen to what is to be done. Pure.

use super::foreign::Stream;
use super::ground::Lost;
use super::index::{Adopted, Gathered};
use super::marks::Marks;
use super::records::BadRecords;
use super::recut::Recut;
use super::report::{
    FlawedPack, LostPack, NamedPack, Origin, PlannedCopy, PlannedMark, PlannedRecut, RepairReport,
};
use super::sources::Copy;
use crate::gc::GcView;
use crate::index::RunFile;
use crate::{Error, Result};
use repo_format::layout::{DAMAGE_PREFIX, ObjectName};
use repo_format::{PackId, SnapshotId};
use std::collections::{BTreeMap, BTreeSet, HashSet};

/// All that a repair goes by.
pub(super) struct Seen {
    pub(super) view: GcView,
    pub(super) gathered: Gathered,
    /// Copies of records that no pack holds which may be relied on.
    pub(super) copies: Vec<Copy>,
    /// What a repository with other keys gives back, and whether that may be a part only.
    pub(super) recuts: Vec<Recut>,
    pub(super) has_more: bool,
    /// What is still lost of each snapshot, and of each that is marked.
    pub(super) lost: BTreeMap<SnapshotId, Lost>,
    pub(super) marked: Marks,
    pub(super) records: BadRecords,
}

/// What an executor does, in this order.
pub(super) struct Steps {
    /// What new runs say.
    pub(super) built: u64,
    pub(super) seq: u64,
    pub(super) copies: Vec<Copy>,
    pub(super) recuts: Vec<Recut>,
    /// Once that is written, it is to be looked at anew.
    pub(super) has_more: bool,
    /// Packs that a run is to name.
    pub(super) name: Vec<Adopted>,
    /// Runs to write anew without packs that are `dropped` or `dead`; then they are of no use.
    pub(super) rewrite: Vec<RunFile>,
    pub(super) dropped: BTreeSet<PackId>,
    pub(super) dead: HashSet<PackId>,
    pub(super) marks: Vec<(SnapshotId, u64, PlannedMark)>,
    /// Runs that nobody can read.
    pub(super) remove: Vec<RunFile>,
    pub(super) records: BadRecords,
}

impl Steps {
    /// Something is written that others rely on.
    pub(super) fn has_runs(&self) -> bool {
        !self.copies.is_empty()
            || !self.recuts.is_empty()
            || !self.name.is_empty()
            || !self.rewrite.is_empty()
    }
}

/// Decides, and says what was decided.
///
/// # Errors
/// Damage if a snapshot has used up the numbers of its marks.
pub(super) fn plan(seen: Seen) -> Result<(Steps, RepairReport)> {
    let mut report = RepairReport::default();
    note_packs(&mut report, &seen.gathered);
    report.plan.records.extend(seen.records.iter().map(|(name, record)| (name.to_string(), record.clone())));
    let mut copies: Vec<Copy> = seen.gathered.flawed.iter().filter_map(of_flawed).collect();
    copies.extend(seen.copies);
    report.plan.copies.extend(copies.iter().map(|copy| PlannedCopy {
        origin: copy.origin,
        pack: copy.pack.to_string(),
        records: copy.ids.len() as u64,
        len: copy.len,
    }));
    report.plan.recuts.extend(seen.recuts.iter().map(planned));
    let rewrite: Vec<RunFile> = to_rewrite(&seen.gathered).cloned().collect();
    report.plan.runs_damaged.extend(seen.gathered.damaged.iter().map(|file| file.name().to_string()));
    report.plan.runs_to_rewrite.extend(rewrite.iter().map(|file| file.name().to_string()));
    let marks = marks(&mut report, &seen.marked, seen.lost)?;
    let steps = Steps {
        built: seen.view.sweeps,
        seq: seen.gathered.highest_seq.map_or(0, |seq| seq.saturating_add(1)),
        copies,
        has_more: seen.has_more && !seen.recuts.is_empty(),
        recuts: seen.recuts,
        name: seen.gathered.adopted,
        rewrite,
        dropped: seen.gathered.dropped,
        dead: seen.view.dead,
        marks,
        remove: seen.gathered.damaged,
        records: seen.records,
    };
    Ok((steps, report))
}

fn note_packs(report: &mut RepairReport, gathered: &Gathered) {
    let plan = &mut report.plan;
    for one in &gathered.adopted {
        let name = ObjectName::pack(one.info.class, one.info.pack_id).to_string();
        plan.name.insert(name, NamedPack { len: one.info.len, records: one.records.len() as u64 });
    }
    for (name, (why, is_named)) in &gathered.lost {
        plan.lost.insert(name.to_string(), LostPack { why: why.clone(), is_named: *is_named });
    }
    for one in &gathered.flawed {
        let name = ObjectName::pack(one.info.class, one.info.pack_id).to_string();
        let (is_named, records_lost) = (one.is_named, one.bad);
        let (records_copied, copied_len) = (one.copied.len() as u64, one.copied_len());
        let why = one.why.clone();
        plan.flawed.insert(name, FlawedPack { why, is_named, records_lost, records_copied, copied_len });
    }
}

fn planned(recut: &Recut) -> PlannedRecut {
    let volume = match &recut.stream {
        Stream::Volume(name) => Some(name.clone()),
        Stream::Manifests => None,
    };
    PlannedRecut {
        snapshot: recut.sid,
        volume,
        chunks: recut.chunks.len() as u64,
        len: recut.chunks.iter().fold(0, |sum, piece| sum.saturating_add(piece.len)),
        pages: recut.pages.len() as u64,
    }
}

/// Good records that would be left out with their pack.
fn of_flawed(flawed: &super::flawed::Flawed) -> Option<Copy> {
    let pack = ObjectName::pack(flawed.info.class, flawed.info.pack_id);
    let (ids, len) = (flawed.copied.clone(), flawed.copied_len());
    (!ids.is_empty()).then_some(Copy { origin: Origin::Flawed, pack, ids, len })
}

/// Runs that name packs that are lost or other than they say.
fn to_rewrite(gathered: &Gathered) -> impl Iterator<Item = &RunFile> {
    let names_dropped = |packs: &[PackId]| packs.iter().any(|pack| gathered.dropped.contains(pack));
    gathered.runs.iter().filter(move |(_, packs)| names_dropped(packs)).map(|(file, _)| file)
}

/// A mark for each snapshot of which more, less or something else is lost than its newest mark says.
fn marks(
    report: &mut RepairReport,
    marked: &Marks,
    lost: BTreeMap<SnapshotId, Lost>,
) -> Result<Vec<(SnapshotId, u64, PlannedMark)>> {
    let mut marks = Vec::new();
    for (sid, lost) in lost {
        if lost.is_unsettled {
            report.unsettled.insert(sid);
        }
        let planned = PlannedMark { volumes: lost.volumes, manifests: lost.manifests };
        let is_new = match marked.newest.get(&sid) {
            Some(mark) => mark.volumes != planned.volumes || mark.manifests != planned.manifests,
            None => !planned.is_whole(),
        };
        if is_new {
            let n = marked.highest.get(&sid).map_or(Some(0), |n| n.checked_add(1));
            let n = n.ok_or_else(|| Error::damage(DAMAGE_PREFIX, format!("no number is left for {sid}")))?;
            report.plan.marks.insert(sid, planned.clone());
            marks.push((sid, n, planned.clone()));
        }
        if !planned.is_whole() {
            report.damaged.insert(sid, planned);
        }
    }
    Ok(marks)
}
