//! What a client must know of prune: the newest plan and sweep, and what they condemn.

use crate::error::Named;
use crate::{Error, Repository, Result};
use repo_format::gc_record::{Plan, Sweep};
use repo_format::layout::{GC_PREFIX, ObjectName};
use repo_format::sealed::Class;
use repo_format::{PackId, SnapshotId};
use std::collections::HashSet;

/// The state of deletion as one LIST and at most two GETs show it.
#[derive(Debug, Default, Clone)]
pub(crate) struct GcView {
    /// Sweeps so far: g + 1 of the newest, 0 for none.
    pub(crate) sweeps: u64,
    /// Runs with a lower `built` are ignored.
    pub(crate) floor: u64,
    /// The newest floor: the unfinished plan's, if there is one.
    pub(crate) newest_floor: u64,
    /// Packs that are no locations (the newest sweep's).
    pub(crate) dead: HashSet<PackId>,
    /// Packs that nothing new may depend on: the dead, and the candidates of an unfinished plan.
    pub(crate) condemned: HashSet<PackId>,
    /// Snapshots forgotten so far.
    pub(crate) forgotten: HashSet<SnapshotId>,
}

/// Reads the newest plan and sweep. A signature that does not hold is damage: nothing is believed.
pub(crate) async fn view(repository: &Repository) -> Result<GcView> {
    // a record may be removed between the listing and the read once a higher one exists: list again
    for _ in 0..5 {
        if let Some(view) = try_view(repository).await? {
            return Ok(view);
        }
    }
    let found = "the newest plan and sweep do not belong together, or keep changing: one may be missing";
    Err(Error::damage(GC_PREFIX, found))
}

async fn try_view(repository: &Repository) -> Result<Option<GcView>> {
    let listed = repository.store().list(GC_PREFIX).await?;
    let newest =
        |pick: fn(&ObjectName) -> Option<u64>| listed.iter().filter_map(|(name, _)| pick(name)).max();
    let plan = newest(|name| if let ObjectName::Plan(g) = name { Some(*g) } else { None });
    let sweep = newest(|name| if let ObjectName::Sweep(g) = name { Some(*g) } else { None });
    // plan g follows sweep g-1 and precedes sweep g: anything else is a listing that is not whole
    let whole = match (plan, sweep) {
        (None, None) => true,
        (Some(plan), Some(sweep)) => plan == sweep || sweep.checked_add(1) == Some(plan),
        (Some(plan), None) => plan == 0,
        (None, Some(_)) => false,
    };
    if !whole {
        return Ok(None);
    }
    let mut view = GcView::default();
    if let Some(g) = sweep {
        let name = ObjectName::Sweep(g);
        let Some(object) = repository.store().get(&name).await? else { return Ok(None) };
        let body = repository.open_signed(Class::Sweep, &name, &object)?;
        let sweep = Sweep::parse(&body).named(name)?;
        view.sweeps = g.saturating_add(1);
        view.floor = sweep.floor;
        view.newest_floor = sweep.floor;
        view.dead = sweep.dead.iter().flat_map(|dead| dead.packs.iter().copied()).collect();
        view.condemned = view.dead.clone();
    }
    if let Some(g) = plan {
        let name = ObjectName::Plan(g);
        let Some(object) = repository.store().get(&name).await? else { return Ok(None) };
        let body = repository.open_signed(Class::Plan, &name, &object)?;
        let plan = Plan::parse(&body).named(name)?;
        view.forgotten = plan.forgotten.iter().flat_map(|forgotten| forgotten.sids.iter().copied()).collect();
        if sweep.is_none_or(|sweep| sweep < g) {
            view.newest_floor = plan.floor;
            view.condemned.extend(plan.candidates.iter().copied());
        }
    }
    Ok(Some(view))
}
