//! Signed marks on snapshots of which something is lost. The highest one of a snapshot counts.

use super::report::PlannedMark;
use super::walk::Lost;
use super::{Repair, walk};
use crate::error::Named;
use crate::store::Put;
use crate::vfs::is_damage;
use crate::{Error, Repository, Result};
use futures::stream::{StreamExt, iter};
use repo_format::SnapshotId;
use repo_format::gc_record::{Damage, LostVolume};
use repo_format::layout::{DAMAGE_PREFIX, ObjectName};
use repo_format::sealed::Class;
use std::collections::BTreeMap;

/// Small objects fetched at the same time.
const READS_IN_FLIGHT: usize = 8;

/// What is known to be lost of a snapshot. With nothing in it the snapshot was lost in part once and is
/// whole again.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Mark {
    /// Number of the mark.
    pub n: u64,
    /// Volumes with lost ranges.
    pub volumes: Vec<LostVolume>,
    /// Paths of lost manifests; `*` stands for all, where nobody can say which.
    pub manifests: Vec<String>,
}

impl Mark {
    /// Nothing is lost any more.
    pub fn is_whole(&self) -> bool {
        self.volumes.is_empty() && self.manifests.is_empty()
    }

    /// The marked ranges of a volume.
    pub(super) fn ranges(&self, volume: &str) -> &[(u64, u64)] {
        let found = self.volumes.iter().find(|lost| lost.name == volume);
        found.map_or(&[], |lost| lost.ranges.as_slice())
    }
}

/// All marks, as far as they are signed.
#[derive(Debug, Default)]
pub(super) struct Marks {
    pub(super) newest: BTreeMap<SnapshotId, Mark>,
    /// The highest number of a name, whatever is stored there.
    highest: BTreeMap<SnapshotId, u64>,
    problems: Vec<Error>,
}

/// The newest mark of each snapshot that has one, and which marks could not be believed.
pub async fn marks(repository: &Repository) -> Result<(BTreeMap<SnapshotId, Mark>, Vec<Error>)> {
    let marks = read(repository).await?;
    Ok((marks.newest, marks.problems))
}

pub(super) async fn read(repository: &Repository) -> Result<Marks> {
    let mut marks = Marks::default();
    let listed = repository.store().list(DAMAGE_PREFIX).await?;
    let names = listed.into_iter().filter_map(|(name, _)| match name {
        ObjectName::Damage { sid, n } => Some((sid, n)),
        _ => None,
    });
    let mut reads = iter(names)
        .map(|(sid, n)| async move { (sid, n, read_one(repository, sid, n).await) })
        .buffered(READS_IN_FLIGHT);
    while let Some((sid, n, found)) = reads.next().await {
        repository.exec().check_cancelled()?;
        let highest = marks.highest.entry(sid).or_insert(n);
        *highest = n.max(*highest);
        match found {
            Ok(Some(mark)) => {
                let newest = marks.newest.entry(sid).or_insert_with(|| mark.clone());
                if newest.n < n {
                    *newest = mark;
                }
            }
            Ok(None) => {}
            Err(error) if is_damage(&error) => marks.problems.push(error),
            Err(error) => return Err(error),
        }
    }
    Ok(marks)
}

async fn read_one(repository: &Repository, sid: SnapshotId, n: u64) -> Result<Option<Mark>> {
    let name = ObjectName::Damage { sid, n };
    let Some(object) = repository.store().get(&name).await? else { return Ok(None) };
    let body = repository.open_signed(Class::Damage, &name, &object)?;
    let damage = Damage::parse(&body).named(name)?;
    if damage.sid != sid {
        return Err(Error::damage(name, format!("says that it is of snapshot {}", damage.sid)));
    }
    Ok(Some(Mark { n, volumes: damage.volumes, manifests: damage.manifests }))
}

impl Repair<'_> {
    /// Writes a mark for each snapshot of which more, less or something else is lost than its newest
    /// mark says.
    pub(super) async fn mark(&mut self, marked: &Marks, found: BTreeMap<SnapshotId, Lost>) -> Result<()> {
        self.report.damaged.clear();
        self.report.unsettled.clear();
        self.report.plan.marks.clear();
        for (sid, lost) in found {
            if lost.is_unsettled {
                self.report.unsettled.insert(sid);
            }
            let planned = PlannedMark { volumes: lost.volumes, manifests: lost.manifests };
            let is_new = match marked.newest.get(&sid) {
                Some(mark) => mark.volumes != planned.volumes || mark.manifests != planned.manifests,
                None => !planned.is_whole(),
            };
            if is_new {
                self.report.plan.marks.insert(sid, planned.clone());
                if !self.options.dry_run {
                    self.put_mark(sid, marked.highest.get(&sid).copied(), &planned).await?;
                }
            }
            if !planned.is_whole() {
                self.report.damaged.insert(sid, planned);
            }
        }
        Ok(())
    }

    async fn put_mark(&mut self, sid: SnapshotId, highest: Option<u64>, planned: &PlannedMark) -> Result<()> {
        let n = highest.map_or(Some(0), |n| n.checked_add(1));
        let n = n.ok_or_else(|| Error::damage(DAMAGE_PREFIX, format!("no number is left for {sid}")))?;
        let name = ObjectName::Damage { sid, n };
        let damage = Damage {
            sid,
            created_ms: self.repository.env().clock.now_ms(),
            volumes: planned.volumes.clone(),
            manifests: planned.manifests.clone(),
        };
        let body = damage.encode().named(name)?;
        let object = self.repository.seal_signed(Class::Damage, &name, &body)?;
        if self.repository.store().put(&name, object.into()).await? == Put::Taken {
            let what = format!("{name} exists already: another repair is at work; run it again");
            return Err(Error::Conflict { what });
        }
        self.report.marks_written += 1;
        Ok(())
    }
}

/// Lost ranges of a volume as a mark lists them.
pub(super) fn lost_volume(name: &str, ranges: Vec<(u64, u64)>) -> Option<LostVolume> {
    let ranges = walk::joined(ranges);
    (!ranges.is_empty()).then(|| LostVolume { name: name.to_owned(), ranges })
}
