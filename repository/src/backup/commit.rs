//! Steps c3 to c6: announce, look again, mend, commit.

use super::session::Session;
use crate::env::Mutant;
use crate::error::Named;
use crate::gc::{self, GcView};
use crate::store::{DriverError, Put, PutOnce, StoreError};
use crate::{Error, Result};
use bytes::Bytes;
use repo_format::layout::ObjectName;
use repo_format::sealed::Class;
use repo_format::snapshot::{Pending, Snapshot};
use repo_format::{Id, SnapshotId};

/// What a commit came to.
pub(super) enum Commit {
    /// The snapshot is in the store.
    Done(SnapshotId),
    /// A prune has overtaken the session: everything anew, from c0.
    Overtaken,
}

/// How often a name that somebody else has taken is replaced by a fresh one.
const NAMES_MAX: u32 = 8;
/// How often the deletion records may change while the session mends.
const ROUNDS_MAX: u32 = 64;

/// Publishes `snapshot`, whose records are all acknowledged and listed in runs; `oldest` is the lowest
/// `built` of the runs that the session has believed.
pub(super) async fn commit(session: &mut Session, snapshot: &mut Snapshot, oldest: u64) -> Result<Commit> {
    let mut leftovers = Vec::new();
    let mut oldest = oldest.min(session.gc.sweeps);
    for _ in 0..NAMES_MAX {
        let Some((object, pending)) = announce(session, snapshot).await? else {
            snapshot.sid = session.repository.env().snapshot_id()?;
            continue;
        };
        if !look_again(session, snapshot, &mut oldest).await? {
            leftovers.push(pending);
            clean(session, &leftovers).await;
            return Ok(Commit::Overtaken);
        }
        let published = publish(session, snapshot.sid, &object).await?;
        if !matches!(published, Published::Open) {
            leftovers.push(pending);
        }
        if matches!(published, Published::Ours) {
            clean(session, &leftovers).await;
            return Ok(Commit::Done(snapshot.sid));
        }
        // a tombstone or foreign bytes have the name: another one
        snapshot.sid = session.repository.env().snapshot_id()?;
    }
    Err(Error::Conflict {
        what: format!("{NAMES_MAX} snapshot names in a row were taken; is the store's clock right?"),
    })
}

/// c3: the sealed snapshot, inside a pending record that every prune reads as a root. Nothing if the
/// record was there before, or was put and removed again while this session slept: it is not its own.
async fn announce(session: &Session, snapshot: &Snapshot) -> Result<Option<(Bytes, ObjectName)>> {
    let repository = &session.repository;
    let name = ObjectName::Snapshot(snapshot.sid);
    let body = snapshot.encode().named(name)?;
    let object = repository.seal_object(Class::Snapshot, &name, &body)?;
    // read back before anything rests on it
    let opened = repository.open_object(Class::Snapshot, &name, &object)?;
    if Snapshot::parse(&opened).named(name)? != *snapshot {
        return Err(Error::internal("a snapshot that reads back differently"));
    }
    let pending = ObjectName::Pending(snapshot.sid);
    let announced = announced(session, snapshot, &object)?;
    let record = Pending { snapshot: announced.to_vec(), parent: snapshot.parent, g0: session.gc.sweeps };
    let record = record.encode().named(pending)?;
    let sealed = repository.seal_object(Class::Pending, &pending, &record)?;
    if repository.env().breaks(Mutant::NoPending) {
        return Ok(Some((object, pending)));
    }
    match repository.store().put(&pending, sealed.into()).await {
        Ok(Put::Created) => {}
        Ok(Put::Taken) | Err(Error::Store(StoreError { cause: DriverError::Exists, .. })) => {
            return Ok(None);
        }
        Err(error) => return Err(error),
    }
    if !repository.env().breaks(Mutant::NoWaitAtC3) {
        gc::wait_delta(&session.repository).await?;
    }
    Ok(Some((object, pending)))
}

/// What the pending record says will be committed: the very bytes.
fn announced(session: &Session, snapshot: &Snapshot, object: &Bytes) -> Result<Bytes> {
    let repository = &session.repository;
    if !repository.env().breaks(Mutant::CommitOtherBytes) {
        return Ok(object.clone());
    }
    let mut other = snapshot.clone();
    let blocks = other.volumes.iter_mut().filter(|volume| volume.chunker.segment_len().is_some());
    blocks.for_each(|volume| volume.root = Id::ZERO);
    let name = ObjectName::Snapshot(snapshot.sid);
    repository.seal_object(Class::Snapshot, &name, &other.encode().named(name)?)
}

/// c4: reads the deletion records again and mends until nothing that the snapshot needs is
/// condemned. False if the session or the `oldest` run is behind the newest floor, or it cannot mend.
async fn look_again(session: &mut Session, snapshot: &Snapshot, oldest: &mut u64) -> Result<bool> {
    let env = session.repository.env().clone();
    if env.breaks(Mutant::NoRecheckAtC4) {
        return Ok(true);
    }
    for _ in 0..ROUNDS_MAX {
        let now = gc::view(&session.repository).await?;
        // runs that the session relied on may fall below the floor, too
        if now.newest_floor > *oldest && !env.breaks(Mutant::NoFloor) {
            return Ok(false);
        }
        let parent_gone = session.parents.iter().any(|sid| now.forgotten.contains(sid))
            && !env.breaks(Mutant::NoParentCheckAtC4);
        let condemned = session.depends_on().iter().any(|pack| now.condemned.contains(pack));
        if !parent_gone && !condemned {
            return Ok(true);
        }
        let uploaded = session.repository.store().stats().uploaded_bytes;
        let built = mend(session, snapshot, &now).await?;
        session.report.bytes_mended += session.repository.store().stats().uploaded_bytes - uploaded;
        let Some(built) = built else { return Ok(false) };
        *oldest = built.min(*oldest);
        gc::wait_delta(&session.repository).await?;
    }
    Err(Error::Conflict {
        what: "deletion records kept changing while the backup was committed; try again".into(),
    })
}

/// Gives every record of the snapshot a location that is not condemned: there is one already, or
/// it is copied out of its condemned pack. Gives the lowest `built` of the runs that were believed;
/// nothing if neither can be done.
async fn mend(session: &mut Session, snapshot: &Snapshot, now: &GcView) -> Result<Option<u64>> {
    match super::mend::mend(session, snapshot, now).await {
        Ok(built) => Ok(Some(built)),
        // a record without any copy left: the sources are read again
        Err(error) if error.kind() == crate::ErrorKind::Damage => Ok(None),
        Err(error) => Err(error),
    }
}

/// What the one put of a snapshot came to.
enum Published {
    /// The store holds our bytes.
    Ours,
    /// Somebody else's bytes have the name, for ever.
    Taken,
    /// Nothing is there, and the put may still land: its pending record stays.
    Open,
}

/// c5: one request, sent once.
async fn publish(session: &Session, sid: SnapshotId, object: &Bytes) -> Result<Published> {
    let store = session.repository.store();
    let name = ObjectName::Snapshot(sid);
    if session.repository.env().breaks(Mutant::CommitTwice) {
        return match store.put(&name, object.clone().into()).await {
            Ok(Put::Created) => Ok(Published::Ours),
            Ok(Put::Taken) => Ok(Published::Taken),
            Err(Error::Store(StoreError { cause: DriverError::Exists, .. })) => Ok(Published::Open),
            Err(error) => Err(error),
        };
    }
    match store.put_once(&name, object.clone().into()).await? {
        PutOnce::Created => return Ok(Published::Ours),
        PutOnce::Exists | PutOnce::Ambiguous(_) => {}
    }
    Ok(match store.get(&name).await? {
        Some(found) if found == *object => Published::Ours,
        Some(_) => Published::Taken,
        None => Published::Open,
    })
}

/// c6: pending records go if this key may delete; else prune removes them.
async fn clean(session: &Session, pending: &[ObjectName]) {
    for name in pending {
        // the backup is committed: a record that stays is prune's to remove
        let _ = session.repository.store().delete(name).await;
    }
}
