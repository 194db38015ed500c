//! p5 to p7: everything is looked at again, and only what is still not needed is condemned.

use super::choose::{Need, Ranks, bucket_of_all, locate};
use super::confirm::missing_packs;
use super::duties::{Duties, Duty, ids_of};
use super::inventory::{Inventory, PackList, list_packs};
use super::mark::mark;
use super::roots::{Final, Root, read_damaged};
use super::{Prune, Round};
use crate::env::Mutant;
use crate::error::Named;
use crate::gc::{self, GcState, Record};
use crate::reader::Reader;
use crate::spill::{BUCKET_COUNT, Spill};
use crate::store::{DriverError, Put, StoreError};
use crate::walked::Walked;
use crate::{Error, ErrorKind, Repository, Result};
use bytes::Bytes;
use futures::stream::StreamExt;
use repo_format::gc_record::{Dead, Plan, Sweep};
use repo_format::layout::ObjectName;
use repo_format::sealed::Class;
use repo_format::{PackId, SnapshotId};
use std::collections::BTreeSet;
use std::pin::pin;

/// Roots that this process marked before it wrote the plan; what they need is kept by it.
pub(super) struct Seen {
    pub(super) sids: BTreeSet<SnapshotId>,
    /// Pages below which everything was marked, see [`Walked::store`].
    pub(super) walked: Spill<16>,
    /// Packs that keep what they need.
    pub(super) keepers: BTreeSet<PackId>,
}

/// What the second look found.
struct Verdict {
    condemned: Vec<PackId>,
    /// Lowest `built` of the runs that count.
    lowest_built: u64,
}

impl Prune<'_> {
    /// Ends a generation that some prune has begun. Its process may still be at work.
    pub(super) async fn resume(&mut self, state: &GcState, plan: Record<Plan>) -> Result<Round> {
        let listed = list_packs(self.repository).await?;
        self.report.plan.forgotten = sids_of(&plan.body).into_iter().collect();
        if !self.breaks(Mutant::ResumeWithoutWait) {
            gc::wait_delta(self.repository).await?;
        }
        self.look_again(state, plan, None, listed).await?;
        Ok(Round::Again)
    }

    /// p5 to p7 for a plan that this process wrote.
    pub(super) async fn condemn(
        &mut self,
        state: &GcState,
        plan: Record<Plan>,
        seen: Option<Seen>,
        listed: PackList,
    ) -> Result<Round> {
        let g = plan.g;
        self.wait_unless(Mutant::NoWaitAfterP4).await?;
        let result = self.look_again(state, plan, seen, listed).await;
        if result.is_err() {
            self.withdraw(g).await;
        }
        result
    }

    async fn look_again(
        &mut self,
        state: &GcState,
        plan: Record<Plan>,
        seen: Option<Seen>,
        listed: PackList,
    ) -> Result<Round> {
        let now = gc::state(self.repository).await?;
        if now.plan.as_ref().is_some_and(|newest| newest.g > plan.g) {
            return Ok(Round::Again);
        }
        if !Self::is_swept(&now, &plan) {
            let sees_again = !self.breaks(Mutant::NoRelistAtP5);
            let verdict = if sees_again { self.verdict(state, &plan, seen).await? } else { None };
            if verdict.is_none() && sees_again && self.is_overtaken(&plan).await? {
                return Ok(Round::Again);
            }
            let verdict = match verdict {
                Some(verdict) => verdict,
                None if sees_again => Verdict { condemned: Vec::new(), lowest_built: 0 },
                None => Verdict { condemned: plan.body.candidates.clone(), lowest_built: u64::MAX },
            };
            let condemned = verdict.condemned.clone();
            self.put_sweep(state, &plan, verdict, &listed).await?;
            if self.breaks(Mutant::DeleteByOldList) && self.window_ms() == 0 {
                self.delete_packs(&condemned, &listed).await?;
            }
        }
        self.report.generation = Some(plan.g);
        // p7: by what is stored, whoever wrote it
        self.now_ms = super::delete::store_now(self.repository).await?;
        let stored = gc::state(self.repository).await?;
        self.delete_due(&stored).await?;
        Ok(Round::Done)
    }

    /// What was found missing may have gone for good reasons if a newer generation has come: by its
    /// records it has to be looked at again (ADR 11).
    async fn is_overtaken(&mut self, plan: &Record<Plan>) -> Result<bool> {
        let now = gc::state(self.repository).await?;
        let is_overtaken = now.plan.as_ref().is_some_and(|newest| newest.g > plan.g);
        if is_overtaken {
            self.report.lost.clear();
        }
        Ok(is_overtaken)
    }

    /// p5. Nothing if a root lacks something, or cannot be read: then nothing is condemned.
    async fn verdict(
        &mut self,
        state: &GcState,
        plan: &Record<Plan>,
        seen: Option<Seen>,
    ) -> Result<Option<Verdict>> {
        self.progress.phase("looking again");
        let (pendings, finals) = self.read_roots(true).await?;
        let listed = &list_packs(self.repository).await?;
        let keepers = seen.iter().flat_map(|seen| &seen.keepers);
        if let Some(pack) = keepers.copied().find(|pack| !listed.contains_key(pack)) {
            // what it kept has no other location that was chosen (ADR 12)
            self.report.warnings.push(format!("pack {pack} has vanished meanwhile: nothing is condemned"));
            return Ok(None);
        }
        let keeps_dead = self.breaks(Mutant::DeadLocationInP5);
        let view = state.view();
        let inventory =
            Inventory::load(self.repository, &view, &self.folder, self.memory(4), keeps_dead).await?;
        let built = inventory.runs.iter().map(|run| run.built).filter(|built| *built >= view.floor).min();
        let forgotten = sids_of(&plan.body);
        if !self.can_know(&finals, &pendings) {
            return Ok(None);
        }
        let damaged = read_damaged(self.repository).await?;
        let (sids, walked) = match seen {
            Some(seen) => (seen.sids, Walked::load(&inventory.pages, &seen.walked).await?),
            None => (BTreeSet::new(), Walked::default()),
        };
        let is_new = |root: &&Root| !sids.contains(&root.sid) && !forgotten.contains(&root.sid);
        let (hurt, whole): (Vec<&Final>, Vec<&Final>) =
            finals.finals.iter().partition(|one| damaged.contains(&one.root.sid));
        let new = |list: Vec<&Final>| -> Vec<Root> {
            list.into_iter().map(|one| &one.root).filter(is_new).cloned().collect()
        };
        let mut roots = new(whole);
        // a pending of a forgotten snapshot is no root; its session must not have been seen whole
        roots.extend(pendings.roots.iter().filter(|root| !sids.contains(&root.sid)).cloned());
        let reader = Reader::new(self.repository.clone(), inventory.pages.clone());
        let (mut refs, mut tolerated) =
            (Spill::new(&self.folder, self.memory(2)), Spill::new(&self.folder, self.memory(1)));
        let apart = || Walked::new(&inventory.pages);
        let missing = mark(&reader, &roots, &walked, &mut apart(), &mut refs).await?;
        mark(&reader, &new(hurt), &walked, &mut apart(), &mut tolerated).await?;
        if let Some(one) = missing.first() {
            self.report.lost.push((one.sid, one.record.clone()));
            return Ok(None);
        }
        let needs = [(&refs, Need::Final), (&tolerated, Need::Damaged)];
        let rescued = self.rescue(&inventory, &plan.body.candidates, &needs, listed).await?;
        let Some(rescued) = rescued else { return Ok(None) };
        let condemned =
            plan.body.candidates.iter().filter(|pack| !rescued.contains(pack)).copied().collect::<Vec<_>>();
        self.report.packs_rescued += rescued.len() as u64;
        Ok(Some(Verdict { condemned, lowest_built: built.unwrap_or(u64::MAX) }))
    }

    /// Candidates that are the only location of something. Nothing if something has none at all.
    async fn rescue(
        &mut self,
        inventory: &Inventory,
        candidates: &[PackId],
        needs: &[(&Spill<16>, Need)],
        listed: &PackList,
    ) -> Result<Option<BTreeSet<PackId>>> {
        let gone = missing_packs(self.repository, inventory, listed).await?;
        let ranks = Ranks::new(inventory, listed);
        let is_candidate: Vec<bool> =
            inventory.packs.iter().map(|pack| candidates.binary_search(&pack.pack_id).is_ok()).collect();
        let is_candidate = |pack: u32| is_candidate.get(pack as usize).copied().unwrap_or(false);
        let mut rescued: BTreeSet<u32> = BTreeSet::new();
        // records with a location outside, which is to be confirmed, and one inside
        let mut duties = Duties::new(&self.folder, self.memory(1));
        for n in 0..BUCKET_COUNT {
            let lists = bucket_of_all(needs, n).await?;
            if lists.iter().all(|(ids, _)| ids.is_empty()) {
                continue;
            }
            self.repository.exec().check_cancelled()?;
            let entries = inventory.entries.bucket(n).await?;
            for (ids, need) in &lists {
                for (id, locations) in locate(ids, &entries) {
                    let outside = ranks.best(locations, |pack| !is_candidate(pack) && !gone.contains(&pack));
                    let inside = ranks.best(locations, |pack| is_candidate(pack) && !gone.contains(&pack));
                    match (outside, inside) {
                        (Some((keeper, _)), Some((pack, _))) => {
                            duties.push(Duty { keeper, id: *id, leaving: pack });
                        }
                        (None, Some((pack, _))) => drop(rescued.insert(pack)),
                        (Some(_), None) => {}
                        (None, None) if *need == Need::Damaged => {}
                        (None, None) => return Ok(None),
                    }
                }
            }
            duties.settle().await?;
        }
        let mut reads = pin!(duties.read(self.repository, inventory, 1));
        while let Some(read) = reads.next().await {
            let (group, read) = read?;
            let ids = match read {
                Ok(trailer) => ids_of(&trailer),
                Err(error) if error.kind() == ErrorKind::Damage => Vec::new(),
                Err(error) => return Err(error),
            };
            let is_broken = |duty: &&Duty| ids.binary_search(&duty.id).is_err();
            rescued.extend(group.iter().filter(is_broken).map(|duty| duty.leaving));
        }
        let name = |n: u32| inventory.packs.get(n as usize).map(|pack| pack.pack_id);
        Ok(Some(rescued.into_iter().filter_map(name).collect()))
    }

    /// p6. Whoever is first: the stored one counts.
    async fn put_sweep(
        &mut self,
        state: &GcState,
        plan: &Record<Plan>,
        verdict: Verdict,
        listed: &PackList,
    ) -> Result<()> {
        self.still_stands(plan.g).await?;
        let name = self.sweep_name(plan.g);
        let old_floor = state.floor();
        let lowest = if self.breaks(Mutant::FloorNotReadAgainAtP5) { u64::MAX } else { verdict.lowest_built };
        let floor = plan.body.floor.min(lowest).max(old_floor);
        let late = match self.breaks(Mutant::DeadLeavesByLateList) {
            true => Some(list_packs(self.repository).await?),
            false => None,
        };
        let listed = late.as_ref().unwrap_or(listed);
        let mut dead = Vec::new();
        for one in state.sweep.iter().flat_map(|sweep| &sweep.body.dead) {
            let stays = |pack: &&PackId| listed.contains_key(pack) || one.g >= floor;
            let packs: Vec<PackId> = one.packs.iter().filter(stays).copied().collect();
            if !packs.is_empty() {
                dead.push(Dead { g: one.g, at: one.at, packs });
            }
        }
        if !verdict.condemned.is_empty() {
            dead.push(Dead { g: plan.g, at: plan.stored_ms, packs: verdict.condemned.clone() });
        }
        let sweep = Sweep { condemned: verdict.condemned, dead, floor, prev: plan.hash };
        let payload = sweep.encode().named(name)?;
        let object = self.repository.seal_signed(Class::Sweep, &name, &payload)?;
        self.sweep_sent = true;
        if put_first(self.repository, &name, object).await? {
            let len = |pack: &PackId| listed.get(pack).map_or(0, |pack| pack.len);
            self.report.packs_condemned += sweep.condemned.len() as u64;
            self.report.bytes_condemned += sweep.condemned.iter().map(len).sum::<u64>();
        }
        gc::wait_delta(self.repository).await
    }
}

/// Whether a record was put; false if somebody else's was there, or was and has been removed as old.
pub(super) async fn put_first(repository: &Repository, name: &ObjectName, object: Bytes) -> Result<bool> {
    match repository.store().put(name, object.into()).await {
        Ok(put) => Ok(put == Put::Created),
        Err(Error::Store(StoreError { cause: DriverError::Exists, .. })) => Ok(false),
        Err(error) => Err(error),
    }
}

fn sids_of(plan: &Plan) -> BTreeSet<SnapshotId> {
    plan.forgotten.iter().flat_map(|one| one.sids.iter().copied()).collect()
}
