//! Key slots, markers, pending records and snapshots.

use super::Check;
use crate::error::Named;
use crate::gc::GcView;
use crate::snapshots::{open_final, open_snapshot};
use crate::{Error, Repository, Result};
use bytes::Bytes;
use futures::stream::{Stream, StreamExt, iter};
use repo_format::gc_record::ForgetMarker;
use repo_format::keys::slot::SealedSlot;
use repo_format::layout::{
    DAMAGE_PREFIX, FORGET_PREFIX, ObjectName, PENDING_PREFIX, SLOT_PREFIX, SNAPSHOT_PREFIX,
};
use repo_format::sealed::Class;
use repo_format::snapshot::{Pending, Snapshot};
use repo_format::{ErrorKind as FormatKind, SnapshotId};
use std::collections::BTreeSet;
use std::pin::pin;

/// Small objects read at the same time.
const READS_IN_FLIGHT: usize = 8;

/// The snapshots of this domain.
pub(super) struct Finals {
    /// All names that hold no tombstone, damaged and forgotten ones included.
    pub(super) names: BTreeSet<SnapshotId>,
    /// What can be read and was not forgotten, rising by sid.
    pub(super) snapshots: Vec<Snapshot>,
    /// Whose packs may be gone.
    pub(super) forgotten: BTreeSet<SnapshotId>,
}

/// Every key slot parses and has its checksum. Slots of an `init` that failed are no damage.
pub(super) async fn check_slots(check: &mut Check<'_>) -> Result<()> {
    for (name, object) in read_all(check, SLOT_PREFIX, "slot").await? {
        if let ObjectName::Slot(slot_id) = name
            && let Err(error) = SealedSlot::parse(slot_id, &object).named(name)
        {
            check.findings.add_error(name, "slot", error)?;
        }
    }
    Ok(())
}

/// Forget markers, damage marks and pending records open.
pub(super) async fn check_marks(check: &mut Check<'_>) -> Result<()> {
    for prefix in [FORGET_PREFIX, DAMAGE_PREFIX, PENDING_PREFIX] {
        for (name, object) in read_all(check, prefix, "damaged").await? {
            if let Err(error) = check_mark(check.repository, &name, &object)
                && !is_foreign(check, &error)
            {
                check.findings.add_error(name, "damaged", error)?;
            }
        }
    }
    Ok(())
}

/// True: under a key that another domain may have.
fn is_foreign(check: &Check<'_>, error: &Error) -> bool {
    let wrong_key = matches!(error, Error::Format { source, .. } if source.kind() == FormatKind::WrongKey);
    wrong_key && check.has_foreign_domains()
}

fn check_mark(repository: &Repository, name: &ObjectName, object: &[u8]) -> Result<()> {
    match name {
        ObjectName::Forget { sid, .. } => {
            let payload = repository.open_signed(Class::Forget, name, object)?;
            same_sid(name, ForgetMarker::parse(&payload).named(name)?.sid, *sid)
        }
        ObjectName::Damage { .. } => repository.open_signed(Class::Damage, name, object).map(drop),
        ObjectName::Pending(sid) => {
            let body = repository.open_object(Class::Pending, name, object)?;
            let pending = Pending::parse(&body).named(name)?;
            open_final(repository, *sid, &pending.snapshot).map(drop)
        }
        _ => Ok(()),
    }
}

fn same_sid(name: &ObjectName, found: SnapshotId, expected: SnapshotId) -> Result<()> {
    if found == expected {
        Ok(())
    } else {
        Err(Error::damage(name, format!("says that it is of snapshot {found}")))
    }
}

/// Reads every snapshot and tombstone. A damaged one hurts itself.
pub(super) async fn read_finals(check: &mut Check<'_>, view: &GcView) -> Result<Finals> {
    let mut finals = Finals {
        names: BTreeSet::new(),
        snapshots: Vec::new(),
        forgotten: view.forgotten.iter().copied().collect(),
    };
    let mut reads = pin!(read_each(check.repository, SNAPSHOT_PREFIX).await?);
    while let Some((name, read)) = reads.next().await {
        let ObjectName::Snapshot(sid) = name else { continue };
        check.objects += 1;
        let read = match read {
            // deleted since the listing
            Ok(None) => continue,
            Ok(Some(object)) => open_snapshot(check.repository, sid, &object),
            Err(error) if error.is_bad_copy() => Err(error),
            Err(error) => return Err(error),
        };
        match read {
            Ok(None) => {}
            Ok(Some(snapshot)) => {
                finals.names.insert(sid);
                if !finals.forgotten.contains(&sid) {
                    finals.snapshots.push(snapshot);
                }
            }
            Err(error) if is_foreign(check, &error) => {}
            Err(error) => {
                finals.names.insert(sid);
                let finding = check.findings.add_error(name, "damaged", error)?;
                check.findings.hurt(finding, sid);
            }
        }
        check.repository.exec().check_cancelled()?;
    }
    Ok(finals)
}

/// Reads what is below a folder of small objects, in the order of the listing.
async fn read_each<'r>(
    repository: &'r Repository,
    prefix: &str,
) -> Result<impl Stream<Item = (ObjectName, Result<Option<Bytes>>)> + use<'r>> {
    let listed = repository.store().list(prefix).await?;
    let read = move |(name, _)| async move { (name, repository.store().get(&name).await) };
    Ok(iter(listed).map(read).buffered(READS_IN_FLIGHT))
}

/// All objects below a folder of small ones; one that is too long is a finding.
async fn read_all(check: &mut Check<'_>, prefix: &str, kind: &str) -> Result<Vec<(ObjectName, Bytes)>> {
    let mut found = Vec::new();
    let mut reads = pin!(read_each(check.repository, prefix).await?);
    while let Some((name, read)) = reads.next().await {
        check.objects += 1;
        match read {
            // deleted since the listing
            Ok(None) => {}
            Ok(Some(object)) => found.push((name, object)),
            Err(error) => drop(check.findings.add_error(name, kind, error)?),
        }
        check.repository.exec().check_cancelled()?;
    }
    Ok(found)
}
