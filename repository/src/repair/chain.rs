//! A newest plan or sweep that cannot be read.
//!
//! Which packs are condemned says the newest sweep, and which snapshots are forgotten the newest plan. Of
//! the two only a plan that has no sweep yet can be done without: nothing was condemned or deleted by it.
//! It gets the *empty sweep*, a move that any prune may make, put if absent: if the prune that wrote the
//! plan was faster, its sweep counts. The next plan then takes F from the generation before (ADR 20).

use super::records::{open_plan, open_sweep};
use super::report::{BadRecord, Remedy};
use crate::error::Named;
use crate::gc::{plan_of, sweep_of, wait_delta};
use crate::store::Put;
use crate::{Error, ErrorKind, Repository, Result};
use repo_format::config::StoreMode;
use repo_format::gc_record::{Plan, Sweep};
use repo_format::layout::{GC_PREFIX, ObjectName};
use repo_format::sealed::{Class, object_hash};

/// A record as it lies there: its hash, and what it says if it opens.
#[derive(Debug, Clone, PartialEq, Eq)]
struct Found<T> {
    hash: [u8; 32],
    body: Option<T>,
}

/// The newest generations.
#[derive(Debug, Default, Clone, PartialEq, Eq)]
struct Newest {
    /// Of the newest plan, and of the newest sweep.
    plan_g: Option<u64>,
    sweep_g: Option<u64>,
    plan: Option<Found<Plan>>,
    sweep: Option<Found<Sweep>>,
    /// The plan before the newest.
    plan_before: Option<Found<Plan>>,
}

/// What to write to get past a plan that cannot be read.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct EndGeneration {
    pub(super) g: u64,
    /// Empty; nothing if it is there already.
    sweep: Option<Sweep>,
    /// Generation g + 1 without candidates; its link to the sweep is set once that is there.
    plan: Plan,
}

/// What is wrong with the newest records, and the way out if there is one.
pub(super) async fn look(repository: &Repository) -> Result<(ObjectName, BadRecord, Option<EndGeneration>)> {
    let newest = read(repository).await?;
    let is_many = repository.config().store.mode == StoreMode::Many;
    match decide(&newest).filter(|_| is_many) {
        Some(end) => {
            let why = "nobody can read it, and nothing was condemned by it: its generation is ended empty";
            let record = BadRecord { why: why.into(), remedy: Remedy::EndGeneration };
            Ok((ObjectName::Plan(end.g), record, Some(end)))
        }
        None => Ok((culprit(&newest), BadRecord { why: HOPELESS.into(), remedy: Remedy::Nothing }, None)),
    }
}

/// One line for who has to act.
const HOPELESS: &str = "nobody can say which packs are condemned, so nothing may be backed up, pruned or repaired: \
                        put the object back from a copy of the store under the same name; until then snapshots \
                        can be restored";

async fn read(repository: &Repository) -> Result<Newest> {
    let listed = repository.store().list(GC_PREFIX).await?;
    let highest =
        |of: &dyn Fn(&ObjectName) -> Option<u64>| listed.iter().filter_map(|(name, _)| of(name)).max();
    let plan_g = highest(&|name| plan_of(name).filter(|(_, proc)| proc.is_none()).map(|(g, _)| g));
    let sweep_g = highest(&|name| sweep_of(name).filter(|(_, proc)| proc.is_none()).map(|(g, _)| g));
    let mut newest = Newest { plan_g, sweep_g, ..Newest::default() };
    if let Some(g) = plan_g {
        newest.plan = get(repository, ObjectName::Plan(g), open_plan).await?;
        if let Some(before) = g.checked_sub(1) {
            newest.plan_before = get(repository, ObjectName::Plan(before), open_plan).await?;
        }
    }
    if let Some(g) = sweep_g {
        newest.sweep = get(repository, ObjectName::Sweep(g), open_sweep).await?;
    }
    Ok(newest)
}

type Open<T> = fn(&Repository, &ObjectName, &[u8]) -> Result<T>;

/// Nothing if not one byte of it can be had.
async fn get<T>(repository: &Repository, name: ObjectName, open: Open<T>) -> Result<Option<Found<T>>> {
    let object = match repository.store().get(&name).await {
        Ok(Some(object)) => object,
        Ok(None) => return Ok(None),
        Err(error) if error.is_damage() => return Ok(None),
        Err(error) => return Err(error),
    };
    let body = match open(repository, &name, &object) {
        Ok(body) => Some(body),
        Err(error) if matches!(error.kind(), ErrorKind::Damage | ErrorKind::WrongKey) => None,
        // a newer version may have written it
        Err(error) => return Err(error),
    };
    Ok(Some(Found { hash: object_hash(&object), body }))
}

/// The way out, if the plan is all that is missing and nothing was condemned by it. Pure.
fn decide(newest: &Newest) -> Option<EndGeneration> {
    let g = newest.plan_g?;
    let plan = newest.plan.as_ref().filter(|plan| plan.body.is_none())?;
    let before = g.checked_sub(1);
    // F of the generation before: nobody has deleted a snapshot that only plan g forgot
    let forgotten = match before {
        None => Vec::new(),
        Some(_) => newest.plan_before.as_ref()?.body.as_ref()?.forgotten.clone(),
    };
    let last = newest.sweep.as_ref().and_then(|sweep| sweep.body.as_ref());
    let (sweep, floor) = if newest.sweep_g == Some(g) {
        // an empty sweep that names these very bytes was written by somebody who could not read them either
        let last = last.filter(|sweep| sweep.condemned.is_empty() && sweep.prev == plan.hash)?;
        (None, last.floor)
    } else if newest.sweep_g == before {
        let (dead, floor) = match before {
            None => (Vec::new(), 0),
            Some(_) => (last?.dead.clone(), last?.floor),
        };
        (Some(Sweep { condemned: Vec::new(), dead, floor, prev: plan.hash }), floor)
    } else {
        return None;
    };
    Some(EndGeneration { g, sweep, plan: Plan { candidates: Vec::new(), forgotten, floor, prev: None } })
}

/// The record to blame where nothing helps.
fn culprit(newest: &Newest) -> ObjectName {
    let is_bad = newest.sweep.as_ref().is_none_or(|sweep| sweep.body.is_none());
    match (newest.plan_g, newest.sweep_g) {
        (_, Some(g)) if is_bad => ObjectName::Sweep(g),
        (Some(plan), sweep) if plan.checked_sub(1) > sweep => ObjectName::Sweep(plan.saturating_sub(1)),
        (Some(plan), Some(sweep)) => ObjectName::Plan(plan.max(sweep)),
        (plan, sweep) => ObjectName::Plan(plan.or(sweep).unwrap_or_default()),
    }
}

/// Writes what was decided. Whoever was faster counts: then it is looked at again.
pub(super) async fn execute(repository: &Repository, end: EndGeneration) -> Result<()> {
    let name = ObjectName::Sweep(end.g);
    if let Some(sweep) = end.sweep {
        let payload = sweep.encode().named(name)?;
        let object = repository.seal_signed(Class::Sweep, &name, &payload)?;
        if repository.store().put(&name, object.into()).await? == Put::Taken {
            return wait_delta(repository).await;
        }
        wait_delta(repository).await?;
    }
    let stored = repository.store().get(&name).await?;
    let stored = stored.ok_or_else(|| Error::damage(name, "it was just written and cannot be read"))?;
    let next = end.g.checked_add(1).ok_or_else(|| Error::damage(GC_PREFIX, "no generation is left"))?;
    let name = ObjectName::Plan(next);
    let plan = Plan { prev: Some(object_hash(&stored)), ..end.plan };
    let payload = plan.encode().named(name)?;
    let object = repository.seal_signed(Class::Plan, &name, &payload)?;
    // taken: another repair, or a prune after it, was faster
    repository.store().put(&name, object.into()).await?;
    wait_delta(repository).await
}

#[cfg(test)]
mod tests {
    use super::*;
    use repo_format::gc_record::{Dead, Forgotten};
    use repo_format::{PackId, SnapshotId};

    fn sweep(condemned: &[u8], prev: [u8; 32]) -> Option<Found<Sweep>> {
        let condemned: Vec<PackId> = condemned.iter().map(|n| PackId([*n; 16])).collect();
        let dead = vec![Dead { g: 3, at: 9, packs: vec![PackId([1; 16])] }];
        Some(Found { hash: [7; 32], body: Some(Sweep { condemned, dead, floor: 2, prev }) })
    }

    fn damaged_plan() -> Newest {
        let forgotten = vec![Forgotten { g: 4, sids: vec![SnapshotId([4; 16])] }];
        let before = Plan { forgotten, ..Plan::default() };
        Newest {
            plan_g: Some(5),
            sweep_g: Some(4),
            plan: Some(Found { hash: [5; 32], body: None }),
            sweep: sweep(&[], [4; 32]),
            plan_before: Some(Found { hash: [4; 32], body: Some(before) }),
        }
    }

    #[test]
    fn an_unfinished_plan_is_ended_empty() {
        let newest = damaged_plan();
        let end = decide(&newest).unwrap();
        let empty = end.sweep.clone().unwrap();
        assert!(empty.condemned.is_empty() && empty.dead.len() == 1 && empty.floor == 2);
        assert_eq!((end.g, empty.prev), (5, [5; 32]));
        assert!(end.plan.candidates.is_empty() && end.plan.forgotten.len() == 1 && end.plan.floor == 2);
        // after a crash behind the sweep
        let resumed = decide(&Newest { sweep_g: Some(5), sweep: sweep(&[], [5; 32]), ..newest }).unwrap();
        assert_eq!(resumed, EndGeneration { sweep: None, ..end });
    }

    #[test]
    fn the_first_plan_has_nothing_before_it() {
        let newest =
            Newest { plan_g: Some(0), sweep_g: None, sweep: None, plan_before: None, ..damaged_plan() };
        let end = decide(&newest).unwrap();
        assert_eq!((end.g, end.plan), (0, Plan::default()));
    }

    #[test]
    fn where_something_may_be_condemned_nothing_is_written() {
        let base = damaged_plan();
        let hopeless = [
            // the prune's own sweep is there: it may have deleted snapshots that only the plan names
            Newest { sweep_g: Some(5), sweep: sweep(&[2], [5; 32]), ..base.clone() },
            Newest { sweep_g: Some(5), sweep: sweep(&[], [6; 32]), ..base.clone() },
            // no dead, no F
            Newest { sweep: Some(Found { hash: [7; 32], body: None }), ..base.clone() },
            Newest { sweep_g: Some(3), ..base.clone() },
            Newest { plan_before: None, ..base.clone() },
            // not one byte of the plan
            Newest { plan: None, ..base.clone() },
            Newest { plan: Some(Found { hash: [5; 32], body: Some(Plan::default()) }), ..base },
        ];
        assert!(hopeless.iter().all(|newest| decide(newest).is_none()));
    }
}
