//! What a client must know of prune: the newest plan and sweep, and what they condemn.

use crate::error::Named;
use crate::{Error, Repository, Result};
use bytes::Bytes;
use futures::stream::{StreamExt, TryStreamExt, iter};
use repo_format::config::StoreMode;
use repo_format::gc_record::{Plan, Sweep};
use repo_format::layout::{GC_PREFIX, ObjectName};
use repo_format::sealed::{Class, object_hash};
use repo_format::{PackId, ProcessId, SnapshotId};
use std::collections::{BTreeMap, HashSet};
use std::time::Duration;

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

/// A plan or sweep that counts.
#[derive(Debug, Clone)]
pub(crate) struct Record<T> {
    pub(crate) name: ObjectName,
    pub(crate) g: u64,
    /// What it says.
    pub(crate) body: T,
    /// BLAKE3 of the object: the next record names it.
    pub(crate) hash: [u8; 32],
    /// When the store says that it was written, in Unix milliseconds.
    pub(crate) stored_ms: u64,
}

/// The newest records, and which others there are.
#[derive(Debug, Clone, Default)]
pub(crate) struct GcState {
    pub(crate) plan: Option<Record<Plan>>,
    pub(crate) sweep: Option<Record<Sweep>>,
    /// Mode one: plans of the same generation beside `plan`, written by mistake.
    pub(crate) other_plans: Vec<Record<Plan>>,
    /// Plans and sweeps of any generation, with the store's time.
    pub(crate) listed: Vec<(ObjectName, u64)>,
}

impl GcState {
    /// Sweeps so far.
    pub(crate) fn sweeps(&self) -> u64 {
        self.sweep.as_ref().map_or(0, |sweep| sweep.g.saturating_add(1))
    }

    /// The plan that has no sweep yet.
    pub(crate) fn unfinished(&self) -> Option<&Record<Plan>> {
        self.plan.as_ref().filter(|plan| self.sweep.as_ref().is_none_or(|sweep| sweep.g < plan.g))
    }

    /// All plans of the newest generation, if it has no sweep yet. More than one in mode one only.
    pub(crate) fn unswept(&self) -> impl Iterator<Item = &Record<Plan>> {
        let plan = self.unfinished();
        plan.into_iter().chain(self.other_plans.iter().filter(move |_| plan.is_some()))
    }

    /// Floor of the newest sweep.
    pub(crate) fn floor(&self) -> u64 {
        self.sweep.as_ref().map_or(0, |sweep| sweep.body.floor)
    }

    /// The store's time of each generation's plan, as far as it is still there.
    pub(crate) fn plan_times(&self) -> BTreeMap<u64, u64> {
        self.listed.iter().filter_map(|(name, at)| Some((plan_of(name)?.0, *at))).collect()
    }

    /// What clients go by.
    pub(crate) fn view(&self) -> GcView {
        let mut view = GcView { sweeps: self.sweeps(), floor: self.floor(), ..GcView::default() };
        if let Some(sweep) = &self.sweep {
            view.dead = sweep.body.dead.iter().flat_map(|dead| dead.packs.iter().copied()).collect();
            view.condemned = view.dead.clone();
        }
        let forgotten =
            |plan: &Record<Plan>| plan.body.forgotten.clone().into_iter().flat_map(|one| one.sids);
        view.forgotten.extend(self.plan.iter().flat_map(forgotten));
        let mut newest_floor = None;
        for plan in self.unswept() {
            // whichever of several is swept in the end: all of them are obeyed
            newest_floor = newest_floor.max(Some(plan.body.floor));
            view.condemned.extend(plan.body.candidates.iter().copied());
            view.forgotten.extend(forgotten(plan));
        }
        view.newest_floor = newest_floor.unwrap_or(view.floor);
        view
    }
}

/// Generation and, in mode one, the process that wrote a record.
pub(crate) type Written = (u64, Option<ProcessId>);

/// Generation and writer of a plan's name.
pub(crate) fn plan_of(name: &ObjectName) -> Option<Written> {
    match name {
        ObjectName::Plan(g) => Some((*g, None)),
        ObjectName::ProcPlan { g, proc } => Some((*g, Some(*proc))),
        _ => None,
    }
}

/// Generation and writer of a sweep's name.
pub(crate) fn sweep_of(name: &ObjectName) -> Option<Written> {
    match name {
        ObjectName::Sweep(g) => Some((*g, None)),
        ObjectName::ProcSweep { g, proc } => Some((*g, Some(*proc))),
        _ => None,
    }
}

/// Reads the newest plan and sweep. A signature that does not hold is damage: nothing is believed.
pub(crate) async fn view(repository: &Repository) -> Result<GcView> {
    Ok(state(repository).await?.view())
}

/// Records fetched at the same time: one of each kind, but for mistakes in mode one.
const READS_IN_FLIGHT: usize = 2;
/// Tries until a listing and what it names belong together.
const TRY_COUNT: u32 = 8;

/// As [`view`], with the records themselves.
pub(crate) async fn state(repository: &Repository) -> Result<GcState> {
    // a record may be removed between the listing and the read once a higher one exists: list again
    for n in 0..TRY_COUNT {
        if let Some(state) = try_state(repository).await? {
            return Ok(state);
        }
        if n > 1 {
            wait_delta(repository).await?;
        }
    }
    let found = "the newest plan and sweep do not belong together, or keep changing: one may be missing";
    Err(Error::damage(GC_PREFIX, found))
}

async fn try_state(repository: &Repository) -> Result<Option<GcState>> {
    let named = repository.config().store.mode == StoreMode::One;
    let listed: Vec<(ObjectName, u64)> = repository
        .store()
        .list(GC_PREFIX)
        .await?
        .into_iter()
        .map(|(name, meta)| (name, meta.modified_ms))
        .filter(|(name, _)| {
            // records of the other mode are nobody's
            plan_of(name).or(sweep_of(name)).is_some_and(|(_, proc)| proc.is_some() == named)
        })
        .collect();
    let newest = |of: fn(&ObjectName) -> Option<Written>| {
        let found = listed.iter().filter_map(|(name, at)| Some((of(name)?.0, *name, *at)));
        let highest = found.clone().map(|(g, ..)| g).max();
        found.filter(|(g, ..)| Some(*g) == highest).collect::<Vec<_>>()
    };
    let (plans, sweeps) = (newest(plan_of), newest(sweep_of));
    let (plan, sweep) = (plans.first().map(|plan| plan.0), sweeps.first().map(|sweep| sweep.0));
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
    let mut state = GcState { listed: listed.clone(), ..GcState::default() };
    let names: Vec<ObjectName> = sweeps.iter().chain(&plans).map(|(_, name, _)| *name).collect();
    let read = |name| async move { repository.store().get(&name).await };
    let objects: Vec<Option<Bytes>> = iter(names).map(read).buffered(READS_IN_FLIGHT).try_collect().await?;
    let Some(objects) = objects.into_iter().collect::<Option<Vec<Bytes>>>() else { return Ok(None) };
    let mut objects = objects.into_iter();
    for ((g, name, stored_ms), object) in sweeps.into_iter().zip(&mut objects) {
        let payload = repository.open_signed(Class::Sweep, &name, &object)?;
        let body = Sweep::parse(&payload).named(name)?;
        // mode one: of two sweeps by mistake the first name counts for everybody
        state.sweep.get_or_insert(Record { name, g, body, hash: object_hash(&object), stored_ms });
    }
    for ((g, name, stored_ms), object) in plans.into_iter().zip(objects) {
        let payload = repository.open_signed(Class::Plan, &name, &object)?;
        let body = Plan::parse(&payload).named(name)?;
        let record = Record { name, g, body, hash: object_hash(&object), stored_ms };
        // mode one: a plan that was overtaken while it was written counts for nobody once there is a sweep
        let is_swept_one = |sweep: &Record<Sweep>| sweep.g != g || sweep.body.prev == record.hash;
        if state.plan.is_none() && (!named || state.sweep.as_ref().is_none_or(is_swept_one)) {
            state.plan = Some(record);
        } else {
            state.other_plans.push(record);
        }
    }
    if named && state.plan.is_none() && !state.other_plans.is_empty() {
        return Ok(None);
    }
    Ok(Some(state))
}

/// Until what was put is seen by every reader of this store.
pub(crate) async fn wait_delta(repository: &Repository) -> Result<()> {
    let delta_ms = repository.config().store.delta_ms;
    if delta_ms == 0 {
        return Ok(());
    }
    let exec = repository.exec();
    let wait = async {
        exec.sleep(Duration::from_millis(delta_ms)).await;
        Ok(())
    };
    exec.unless_cancelled(wait).await
}
