//! The only place where packs and snapshots are deleted. Names are taken from the newest sweep's dead
//! and the newest plan's F, read just before.

use super::Prune;
use super::inventory::{PackList, list_packs};
use crate::gc::{GcState, plan_of, sweep_of};
use crate::{Error, Repository, Result};
use futures::stream::{StreamExt, iter};
use repo_format::layout::{ObjectName, SNAPSHOT_PREFIX};
use repo_format::{PackId, SnapshotId};
use std::collections::BTreeSet;

/// Objects deleted at the same time.
const DELETES_IN_FLIGHT: usize = 16;

/// What may be deleted now, and what has to wait.
#[derive(Debug, Default)]
pub(super) struct Due {
    packs: Vec<PackId>,
    snapshots: Vec<SnapshotId>,
    waiting: Vec<PackId>,
    /// When the last of what waits may be deleted, Unix milliseconds.
    free_at_ms: Option<u64>,
}

impl Due {
    /// By generations: each waits for the window since its plan was stored.
    pub(super) fn new(state: &GcState, window_ms: u64, now_ms: u64) -> Self {
        let mut due = Due::default();
        let Some(sweep) = &state.sweep else { return due };
        for dead in &sweep.body.dead {
            let free_at = dead.at.saturating_add(window_ms);
            if free_at <= now_ms {
                due.packs.extend(&dead.packs);
            } else {
                due.waiting.extend(&dead.packs);
                due.free_at_ms = due.free_at_ms.max(Some(free_at));
            }
        }
        let times = state.plan_times();
        for one in state.plan.iter().flat_map(|plan| &plan.body.forgotten) {
            let dead = sweep.body.dead.iter().find(|dead| dead.g == one.g).map(|dead| dead.at);
            // a generation whose records are gone lies below the floor: it is older than any window
            let at = dead.or(times.get(&one.g).copied()).unwrap_or(0);
            if one.g <= sweep.g && at.saturating_add(window_ms) <= now_ms {
                due.snapshots.extend(&one.sids);
            }
        }
        due
    }
}

impl Prune<'_> {
    /// Deletes what is due; a dry run counts it.
    pub(super) async fn delete_due(&mut self, state: &GcState) -> Result<()> {
        let due = Due::new(state, self.window_ms(), self.now_ms);
        self.report.free_at_ms = None;
        self.report.bytes_waiting = 0;
        if due.packs.is_empty() && due.waiting.is_empty() && due.snapshots.is_empty() {
            return Ok(());
        }
        let listed = list_packs(self.repository).await?;
        let len = |packs: &[PackId]| packs.iter().filter_map(|id| listed.get(id)).map(|pack| pack.len).sum();
        self.report.bytes_waiting = len(&due.waiting);
        if self.report.bytes_waiting > 0 {
            self.report.free_at_ms = due.free_at_ms;
        }
        if self.options.dry_run {
            self.report.plan.packs_to_delete =
                due.packs.iter().filter(|id| listed.contains_key(id)).count() as u64;
            self.report.plan.bytes_to_delete = len(&due.packs);
            return Ok(());
        }
        self.progress.phase("deleting");
        self.delete_packs(&due.packs, &listed).await?;
        self.delete_snapshots(&due.snapshots).await
    }

    pub(super) async fn delete_packs(&mut self, packs: &[PackId], listed: &PackList) -> Result<()> {
        let names = packs
            .iter()
            .filter_map(|id| listed.get(id).map(|pack| (ObjectName::pack(pack.class, *id), pack.len)));
        let repository = self.repository;
        let mut deletes = iter(names.collect::<Vec<_>>())
            .map(|(name, len)| async move { repository.store().delete(&name).await.map(|()| len) })
            .buffer_unordered(DELETES_IN_FLIGHT);
        while let Some(deleted) = deletes.next().await {
            self.report.bytes_freed += deleted?;
            self.report.packs_deleted += 1;
            repository.exec().check_cancelled()?;
        }
        Ok(())
    }

    async fn delete_snapshots(&mut self, sids: &[SnapshotId]) -> Result<()> {
        if sids.is_empty() {
            return Ok(());
        }
        let listed: BTreeSet<ObjectName> =
            self.repository.store().list(SNAPSHOT_PREFIX).await?.into_iter().map(|(name, _)| name).collect();
        for name in sids.iter().map(|sid| ObjectName::Snapshot(*sid)).filter(|name| listed.contains(name)) {
            self.repository.store().delete(&name).await?;
            self.report.snapshots_deleted += 1;
            self.repository.exec().check_cancelled()?;
        }
        Ok(())
    }

    /// Removes plans and sweeps that nothing refers to any more: those below the newest sweep's floor.
    pub(super) async fn delete_old_records(&mut self, state: &GcState) -> Result<()> {
        let newest = [state.plan.as_ref().map(|plan| plan.g), state.sweep.as_ref().map(|sweep| sweep.g)];
        let limit = newest.into_iter().flatten().min().unwrap_or(0).min(state.floor());
        for (name, _) in &state.listed {
            let g = plan_of(name).or(sweep_of(name)).map_or(u64::MAX, |(g, _)| g);
            if g < limit {
                self.repository.store().delete(name).await?;
            }
        }
        Ok(())
    }
}

/// The store's own time: of an object that was written just now.
pub(super) async fn store_now(repository: &Repository) -> Result<u64> {
    let name = ObjectName::Probe(repository.env().random()?);
    let store = repository.store();
    store.put_unique(&name, bytes::Bytes::from_static(b"now\n").into()).await?;
    let mut found = store.head(&name).await?;
    if found.is_none() {
        crate::gc::wait_delta(repository).await?;
        found = store.head(&name).await?;
    }
    store.delete(&name).await?;
    found.map(|meta| meta.modified_ms).ok_or_else(|| Error::StoreUnfit {
        url: store.url().to_owned(),
        reason: "an object that was just written cannot be found".into(),
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::gc::Record;
    use repo_format::gc_record::{Dead, Forgotten, Plan, Sweep};

    fn state() -> GcState {
        let (p, s) = (|n: u8| PackId([n; 16]), |n: u8| SnapshotId([n; 16]));
        let dead = vec![Dead { g: 2, at: 100, packs: vec![p(1)] }, Dead { g: 4, at: 200, packs: vec![p(2)] }];
        let sweep = Sweep { condemned: vec![p(2)], dead, floor: 0, prev: [0; 32] };
        let forgotten = vec![
            Forgotten { g: 1, sids: vec![s(1)] },
            Forgotten { g: 3, sids: vec![s(3)] },
            Forgotten { g: 4, sids: vec![s(4)] },
            Forgotten { g: 5, sids: vec![s(5)] },
        ];
        let plan = Plan { forgotten, ..Plan::default() };
        let record = |name: ObjectName, g, stored_ms| (name, g, stored_ms);
        let (name, g, stored_ms) = record(ObjectName::Plan(5), 5, 250);
        let plan = Record { name, g, body: plan, hash: [0; 32], stored_ms };
        let sweep = Record { name: ObjectName::Sweep(4), g: 4, body: sweep, hash: [0; 32], stored_ms: 201 };
        let listed = vec![(ObjectName::Plan(3), 150), (ObjectName::Plan(4), 200), (ObjectName::Plan(5), 250)];
        GcState { plan: Some(plan), sweep: Some(sweep), listed, ..GcState::default() }
    }

    #[test]
    fn each_generation_waits_for_its_window() {
        let first = |due: &Due| {
            let packs: Vec<u8> = due.packs.iter().map(|pack| pack.0[0]).collect();
            let sids: Vec<u8> = due.snapshots.iter().map(|sid| sid.0[0]).collect();
            (packs, sids, due.free_at_ms)
        };
        // generation 1 has no record any more: older than any window
        assert_eq!(first(&Due::new(&state(), 50, 149)), (vec![], vec![1], Some(250)));
        assert_eq!(first(&Due::new(&state(), 50, 150)), (vec![1], vec![1], Some(250)));
        assert_eq!(first(&Due::new(&state(), 50, 200)), (vec![1], vec![1, 3], Some(250)));
        assert_eq!(first(&Due::new(&state(), 50, 250)), (vec![1, 2], vec![1, 3, 4], None));
        // generation 5 has no sweep yet
        assert_eq!(first(&Due::new(&state(), 0, 900)), (vec![1, 2], vec![1, 3, 4], None));
        assert_eq!(first(&Due::new(&GcState::default(), 0, 900)), (vec![], vec![], None));
    }
}
