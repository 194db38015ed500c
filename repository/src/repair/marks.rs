//! Signed marks on snapshots of which something is lost. The highest one of a snapshot counts.

use super::report::PlannedMark;
use super::walk;
use crate::error::Named;
use crate::store::Put;
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
    pub(super) highest: BTreeMap<SnapshotId, u64>,
    /// Marks that nobody signed, or that cannot be read.
    pub(super) problems: Vec<(ObjectName, Error)>,
}

/// The newest mark of each snapshot that has one, and which marks could not be believed.
pub async fn marks(repository: &Repository) -> Result<(BTreeMap<SnapshotId, Mark>, Vec<Error>)> {
    let marks = read(repository).await?;
    Ok((marks.newest, marks.problems.into_iter().map(|(_, error)| error).collect()))
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
            Err(error) if error.is_damage() => marks.problems.push((ObjectName::Damage { sid, n }, error)),
            Err(error) => return Err(error),
        }
    }
    Ok(marks)
}

pub(super) async fn read_one(repository: &Repository, sid: SnapshotId, n: u64) -> Result<Option<Mark>> {
    let name = ObjectName::Damage { sid, n };
    let Some(object) = repository.store().get(&name).await? else { return Ok(None) };
    let body = repository.open_signed(Class::Damage, &name, &object)?;
    let damage = Damage::parse(&body).named(name)?;
    if damage.sid != sid {
        return Err(Error::damage(name, format!("says that it is of snapshot {}", damage.sid)));
    }
    Ok(Some(Mark { n, volumes: damage.volumes, manifests: damage.manifests }))
}

/// Writes a mark that a plan has decided on.
///
/// # Errors
/// [`Error::Conflict`] if its number is taken: another repair is at work.
pub(super) async fn put(
    repository: &Repository,
    sid: SnapshotId,
    n: u64,
    planned: &PlannedMark,
) -> Result<()> {
    let name = ObjectName::Damage { sid, n };
    let damage = Damage {
        sid,
        created_ms: repository.env().clock.now_ms(),
        volumes: planned.volumes.clone(),
        manifests: planned.manifests.clone(),
    };
    let body = damage.encode().named(name)?;
    let object = repository.seal_signed(Class::Damage, &name, &body)?;
    if repository.store().put(&name, object.into()).await? == Put::Taken {
        let what = format!("{name} exists already: another repair is at work; run it again");
        return Err(Error::Conflict { what });
    }
    Ok(())
}

/// Lost ranges of a volume as a mark lists them.
pub(super) fn lost_volume(name: &str, ranges: Vec<(u64, u64)>) -> Option<LostVolume> {
    let ranges = walk::joined(ranges);
    (!ranges.is_empty()).then(|| LostVolume { name: name.to_owned(), ranges })
}
