//! Small records that cannot be read: what each stands for, and what may safely be done about it.

use super::marks::{self, Marks};
use super::packs::has_foreign_domains;
use super::report::{BadRecord, Remedy};
use crate::error::Named;
use crate::gc::{GcState, plan_of, sweep_of, wait_delta};
use crate::inspect::open_pending;
use crate::prune::end_session;
use crate::snapshots::{open_marker, open_snapshot};
use crate::{Error, ErrorKind, Repository, Result};
use repo_format::SnapshotId;
use repo_format::config::StoreMode;
use repo_format::gc_record::{Plan, Sweep};
use repo_format::layout::{FORGET_PREFIX, ObjectName, PENDING_PREFIX, SNAPSHOT_PREFIX};
use repo_format::sealed::Class;
use std::collections::{BTreeMap, BTreeSet};

/// Records that did not open at two looks with the wait between them, and what is to be done.
pub(super) type BadRecords = BTreeMap<ObjectName, BadRecord>;

/// Looks at snapshots, markers, marks, pending records, and the deletion records below the newest.
pub(super) async fn look(repository: &Repository, state: &GcState, marked: &Marks) -> Result<BadRecords> {
    let mut names: Vec<ObjectName> = Vec::new();
    for prefix in [SNAPSHOT_PREFIX, FORGET_PREFIX, PENDING_PREFIX] {
        names.extend(repository.store().list(prefix).await?.into_iter().map(|(name, _)| name));
    }
    names.extend(state.listed.iter().map(|(name, _)| *name).filter(|name| is_below_newest(state, name)));
    let mut bad: Vec<ObjectName> = marked.problems.iter().map(|(name, _)| *name).collect();
    let mut forgotten: BTreeSet<SnapshotId> = state.view().forgotten.into_iter().collect();
    for name in names {
        repository.exec().check_cancelled()?;
        match (open(repository, &name).await?, name) {
            (Some(_), _) => bad.push(name),
            // a plain marker never takes what nobody can tell the group of
            (None, ObjectName::Forget { sid, last: true }) => drop(forgotten.insert(sid)),
            (None, _) => {}
        }
    }
    let mut found = BadRecords::new();
    if bad.is_empty() {
        return Ok(found);
    }
    wait_delta(repository).await?;
    for name in bad {
        // what is given up needs no cure
        let is_over = matches!(name, ObjectName::Snapshot(sid) if forgotten.contains(&sid));
        if let Some(error) = open(repository, &name).await?.filter(|_| !is_over) {
            found.insert(name, remedy(repository, state, &name, &error));
        }
    }
    Ok(found)
}

/// Why a record does not open; nothing if it does, is gone, or is another domain's.
async fn open(repository: &Repository, name: &ObjectName) -> Result<Option<Error>> {
    let object = match repository.store().get(name).await {
        Ok(None) => return Ok(None),
        Ok(Some(object)) => object,
        Err(error) if error.is_damage() => return Ok(Some(error)),
        Err(error) => return Err(error),
    };
    let opened = match name {
        ObjectName::Snapshot(sid) => open_snapshot(repository, *sid, &object).map(drop),
        ObjectName::Forget { sid, .. } => open_marker(repository, name, *sid, &object),
        ObjectName::Pending(sid) => open_pending(repository, *sid, &object).map(drop),
        ObjectName::Damage { sid, n } => marks::read_one(repository, *sid, *n).await.map(drop),
        _ if plan_of(name).is_some() => open_plan(repository, name, &object).map(drop),
        _ if sweep_of(name).is_some() => open_sweep(repository, name, &object).map(drop),
        _ => Ok(()),
    };
    match opened {
        Ok(()) => Ok(None),
        Err(error) if error.kind() == ErrorKind::WrongKey && has_foreign_domains(repository) => Ok(None),
        Err(error) if error.is_damage() => Ok(Some(error)),
        Err(error) => Err(error),
    }
}

/// Opens a plan that was read.
pub(super) fn open_plan(repository: &Repository, name: &ObjectName, object: &[u8]) -> Result<Plan> {
    Plan::parse(&repository.open_signed(Class::Plan, name, object)?).named(name)
}

/// Opens a sweep that was read.
pub(super) fn open_sweep(repository: &Repository, name: &ObjectName, object: &[u8]) -> Result<Sweep> {
    Sweep::parse(&repository.open_signed(Class::Sweep, name, object)?).named(name)
}

/// Only the newest plan and sweep count.
fn is_below_newest(state: &GcState, name: &ObjectName) -> bool {
    let plan = plan_of(name).zip(state.plan.as_ref()).is_some_and(|((g, _), newest)| g < newest.g);
    plan || sweep_of(name).zip(state.sweep.as_ref()).is_some_and(|((g, _), newest)| g < newest.g)
}

fn remedy(repository: &Repository, state: &GcState, name: &ObjectName, error: &Error) -> BadRecord {
    let found = match error {
        Error::Format { source, .. } => source.to_string(),
        Error::Damage { detail, .. } => detail.clone(),
        other => other.to_string(),
    };
    let (remedy, follows) = match name {
        // nothing is done to what may be as it should be
        _ if error.kind() == ErrorKind::Failed => {
            (Remedy::Nothing, "a newer version may have written it: repair with that one".to_owned())
        }
        ObjectName::Snapshot(_) => (
            Remedy::Nothing,
            "nobody can say what it needs, so prune condemns nothing: put the object back from a copy of \
             the store, or give it up with `orlop forget --allow-last` and its full id"
                .to_owned(),
        ),
        ObjectName::Forget { sid, .. } => (
            Remedy::Remove,
            format!(
                "a marker that cannot be read counts as none: snapshot {sid} stays unless it is forgotten again"
            ),
        ),
        ObjectName::Damage { .. } => (Remedy::Remove, "a mark that cannot be read counts as none".to_owned()),
        ObjectName::Pending(_) if repository.config().store.mode == StoreMode::Many => (
            Remedy::EndSession,
            "prune condemns nothing while it is there; a backup that still runs begins anew".to_owned(),
        ),
        ObjectName::Pending(sid) => (
            Remedy::Nothing,
            format!(
                "prune condemns nothing while it is there: `orlop session drop {sid}` once its backup has ended"
            ),
        ),
        _ => match plan_of(name).filter(|(g, _)| dates_a_deletion(state, *g)) {
            Some((g, _)) => (
                Remedy::Nothing,
                format!(
                    "harmless: it only says when generation {g} forgot snapshots, and prune removes it in time"
                ),
            ),
            None => (Remedy::Remove, "only the newest generation counts".to_owned()),
        },
    };
    BadRecord { why: format!("{found}; {follows}"), remedy }
}

/// Whether the time of plan g says from when on snapshots may be deleted that it forgot.
fn dates_a_deletion(state: &GcState, g: u64) -> bool {
    let forgot = state.plan.iter().flat_map(|plan| &plan.body.forgotten).any(|one| one.g == g);
    let dead = state.sweep.iter().flat_map(|sweep| &sweep.body.dead).any(|dead| dead.g == g);
    forgot && !dead
}

/// Does what was decided about records below the newest generation.
pub(super) async fn settle(repository: &Repository, records: &BadRecords) -> Result<u64> {
    let mut count = 0;
    for (name, record) in records {
        match (record.remedy, name) {
            (Remedy::Remove, _) => repository.store().delete(name).await?,
            (Remedy::EndSession, ObjectName::Pending(sid)) => end_session(repository, *sid).await?,
            _ => continue,
        }
        count += 1;
        repository.exec().check_cancelled()?;
    }
    Ok(count)
}
