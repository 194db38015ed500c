//! p1 to p4: what is there, what is needed, what could go; then the plan, written before anything else.

use super::choose::{Choice, Need, Ranks, choose};
use super::condemn::{Seen, put_first};
use super::confirm::{Confirmed, Leaving, confirm, missing_packs, pack_name};
use super::copy::copy;
use super::forgotten::{Forgetting, Inputs};
use super::inventory::{Inventory, PRUNE_SID, PackList, list_packs};
use super::mark::{Missing, mark};
use super::plan::{Candidate, Goals, select};
use super::report::PlannedPack;
use super::roots::{Final, Finals, Pendings, Root, read_damaged, read_finals, read_markers, read_pendings};
use super::{Prune, Round};
use crate::Result;
use crate::copier::target_len;
use crate::env::Mutant;
use crate::error::Named;
use crate::gc::{self, GcState, GcView};
use crate::index::PackInfo;
use crate::reader::Reader;
use crate::spill::{BUCKET_COUNT, Spill};
use crate::walked::Walked;
use repo_format::gc_record::Plan;
use repo_format::pack::{FOOTER_LEN, HEADER_LEN};
use repo_format::sealed::Class;
use repo_format::{PackId, SnapshotId, limits};
use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

/// Lost records that a report names.
const LOST_SHOWN_MAX: usize = 64;

/// Everything that was read before the plan.
struct Survey {
    listed: PackList,
    finals: Finals,
    pendings: Pendings,
    forgetting: Forgetting,
    damaged: BTreeSet<SnapshotId>,
    inventory: Inventory,
    ranks: Ranks,
    gone: Arc<BTreeSet<u32>>,
}

impl Survey {
    /// The listing, without all else.
    fn into_listed(self) -> PackList {
        self.listed
    }
}

/// What is needed, by whose need it is.
struct Needs {
    refs: Spill<16>,
    damaged: Spill<16>,
    announced: Spill<16>,
    walked: Walked,
    /// A pending lacks something: it has to be looked at again.
    is_announced_unmet: bool,
}

impl Needs {
    fn lists(&self) -> [(&Spill<16>, Need); 3] {
        [(&self.refs, Need::Final), (&self.damaged, Need::Damaged), (&self.announced, Need::Announced)]
    }
}

impl Prune<'_> {
    /// p1 to p4, and on to p5 if there is anything to condemn or forget.
    pub(super) async fn plan_and_condemn(&mut self, state: &GcState) -> Result<Round> {
        let (view, g) = (state.view(), state.sweeps());
        let Some(mut survey) = self.survey(state, &view, g).await? else { return Ok(Round::Done) };
        self.progress.phase("walking maps");
        let Some((needs, choice)) = self.needs(&survey).await? else { return self.lost(state).await };
        self.progress.phase("planning");
        let leaving = self.leaving(&survey, &view, &choice);
        let budget = (&self.folder.clone(), self.memory(2));
        let confirmed = confirm(
            self.repository,
            &survey.inventory,
            &survey.ranks,
            &survey.gone,
            &leaving,
            &needs.lists(),
            budget,
        )
        .await?;
        self.drop_staying(&leaving, &confirmed);
        self.runs = Some(survey.inventory.runs.clone());
        if self.options.dry_run {
            return Ok(Round::Done);
        }
        let mut walked = Spill::new(&self.folder, self.memory(1));
        needs.walked.store(&mut walked).await?;
        let is_announced_unmet = needs.is_announced_unmet;
        // copying takes memory of its own
        drop(needs);
        survey.inventory.forget_entries(&self.folder);
        let packs = self.copy_out(&leaving, &confirmed, &view).await?;
        let previous = state.plan.as_ref().map(|plan| plan.body.forgotten.as_slice()).unwrap_or_default();
        if packs.is_empty() && survey.forgetting.all == previous {
            return Ok(Round::Done);
        }
        let Some(plan) = self.put_plan(state, &survey, g, packs).await? else { return Ok(Round::Again) };
        // what p5 needs, and no more: it reads the index once again
        let mut seen = Self::seen(&survey, walked, &choice, &plan.body.candidates);
        if !is_announced_unmet {
            seen.sids.extend(survey.pendings.roots.iter().map(|root| root.sid));
        }
        drop((leaving, confirmed, choice));
        let listed = survey.into_listed();
        self.condemn(state, plan, Some(seen), listed).await
    }

    /// p1 to p3, up to what is forgotten. Nothing if something that has to be known cannot be read.
    async fn survey(&mut self, state: &GcState, view: &GcView, g: u64) -> Result<Option<Survey>> {
        self.progress.phase("listing");
        // the dead among them, too: they stay dead as long as they are there
        let listed = list_packs(self.repository).await?;
        let (pendings, finals) = self.read_roots(!self.options.dry_run).await?;
        let markers = read_markers(self.repository).await?;
        let damaged = read_damaged(self.repository).await?;
        self.report.warnings.extend(markers.refused.iter().map(|why| format!("ignored: {why}")));
        let previous = state.plan.as_ref().map(|plan| plan.body.forgotten.as_slice()).unwrap_or_default();
        self.progress.phase("reading the index");
        let keeps_dead = self.breaks(Mutant::DeadLocationInP1);
        let inventory =
            Inventory::load(self.repository, view, &self.folder, self.memory(4), keeps_dead).await?;
        let floor = if self.breaks(Mutant::ForgottenByOwnFloor) {
            self.next_floor(state, &inventory, g)
        } else {
            view.floor
        };
        let inputs = Inputs {
            previous,
            finals: &finals,
            markers: &markers,
            g,
            floor,
            is_cumulative: !self.breaks(Mutant::ForgottenNotCumulative),
            takes_last: self.breaks(Mutant::ForgetLastOfGroup),
        };
        let forgetting = inputs.decide();
        let plan = &mut self.report.plan;
        plan.forgotten = forgetting.all.iter().flat_map(|one| one.sids.iter().copied()).collect();
        plan.forgotten.sort_unstable();
        plan.kept_last = forgetting.kept_last.clone();
        if !self.can_know(&finals, &pendings) {
            return Ok(None);
        }
        let gone = Arc::new(missing_packs(self.repository, &inventory, &listed).await?);
        let ranks = Ranks::new(&inventory, &listed);
        Ok(Some(Survey { listed, finals, pendings, forgetting, damaged, inventory, ranks, gone }))
    }

    /// Pending records first, then snapshots: what is committed in between is in the second list.
    pub(super) async fn read_roots(&self, waits: bool) -> Result<(Pendings, Finals)> {
        if self.breaks(Mutant::SnapshotsBeforePending) {
            let finals = read_finals(self.repository).await?;
            gc::wait_delta(self.repository).await?;
            return Ok((read_pendings(self.repository).await?, finals));
        }
        let pendings = read_pendings(self.repository).await?;
        if waits {
            self.wait_unless(Mutant::NoWaitBetweenListsOfP5).await?;
        }
        Ok((pendings, read_finals(self.repository).await?))
    }

    /// What cannot be read may need anything: then nothing is condemned.
    pub(super) fn can_know(&mut self, finals: &Finals, pendings: &Pendings) -> bool {
        let mut blocked = Vec::new();
        for (sid, why) in
            finals.unreadable.iter().filter(|(sid, _)| !self.report.plan.forgotten.contains(sid))
        {
            blocked.push((*sid, format!("unreadable: {why}")));
        }
        for sid in &pendings.unreadable {
            self.report.warnings.push(format!(
                "pending/{sid} cannot be read: nothing is condemned until its session ends or is dropped"
            ));
        }
        let can = blocked.is_empty() && pendings.unreadable.is_empty();
        self.report.lost.extend(blocked);
        can
    }

    /// Marks all roots and chooses locations. Nothing if a committed snapshot lacks something.
    async fn needs(&mut self, survey: &Survey) -> Result<Option<(Needs, Choice)>> {
        let reader = Reader::new(self.repository.clone(), survey.inventory.pages.clone());
        let forgotten: BTreeSet<SnapshotId> = self.report.plan.forgotten.iter().copied().collect();
        let kept = survey.finals.finals.iter().filter(|one| !forgotten.contains(&one.root.sid));
        let (hurt, whole): (Vec<&Final>, Vec<&Final>) =
            kept.partition(|one| survey.damaged.contains(&one.root.sid));
        let roots = |list: &[&Final]| list.iter().map(|one| one.root.clone()).collect::<Vec<Root>>();
        let mut needs = Needs {
            refs: Spill::new(&self.folder, self.memory(2)),
            damaged: Spill::new(&self.folder, self.memory(1)),
            announced: Spill::new(&self.folder, self.memory(1)),
            walked: Walked::new(&survey.inventory.pages),
            is_announced_unmet: false,
        };
        let none = Walked::default();
        let missing = mark(&reader, &roots(&whole), &none, &mut needs.walked, &mut needs.refs).await?;
        let before = &needs.walked;
        // what is marked damaged may lack anything: it must not count as walked for others
        let mut apart = Walked::new(&survey.inventory.pages);
        mark(&reader, &roots(&hurt), before, &mut apart, &mut needs.damaged).await?;
        let mut announced = Walked::new(&survey.inventory.pages);
        let unmet =
            mark(&reader, &survey.pendings.roots, before, &mut announced, &mut needs.announced).await?;
        let exec = self.repository.exec();
        let choice = choose(exec, &survey.inventory, &survey.ranks, &survey.gone, &needs.lists()).await?;
        needs.is_announced_unmet = choice.is_announced_unmet || !unmet.is_empty();
        if !missing.is_empty() || !choice.lost.is_empty() {
            self.name_lost(&reader, &roots(&whole), missing, &choice.lost).await?;
            return Ok(None);
        }
        Ok(Some((needs, choice)))
    }

    /// Says which snapshots need what no pack holds.
    async fn name_lost(
        &mut self,
        reader: &Reader,
        roots: &[Root],
        pages: Vec<Missing>,
        lost: &[[u8; 16]],
    ) -> Result<()> {
        let mut named: BTreeMap<SnapshotId, String> = BTreeMap::new();
        for one in pages {
            named.entry(one.sid).or_insert(one.record);
        }
        let mut sorted = lost.to_vec();
        sorted.sort_unstable();
        for root in roots {
            if sorted.is_empty() || named.contains_key(&root.sid) || named.len() >= LOST_SHOWN_MAX {
                continue;
            }
            let mut refs = Spill::new(&self.folder, self.memory(2));
            let mut walked = Walked::new(reader.index().memory());
            mark(reader, std::slice::from_ref(root), &Walked::default(), &mut walked, &mut refs).await?;
            for n in 0..BUCKET_COUNT {
                let ids = refs.bucket(n).await?;
                if let Some(id) = ids.iter().find(|id| sorted.binary_search(id).is_ok()) {
                    let hex: String = id.iter().map(|byte| format!("{byte:02x}")).collect();
                    named.entry(root.sid).or_insert(format!("record {hex}..."));
                }
            }
        }
        self.report.lost.extend(named);
        Ok(())
    }

    /// Packs that could go, by the index; what stays is counted.
    fn leaving(&mut self, survey: &Survey, view: &GcView, choice: &Choice) -> Vec<Leaving> {
        let forgotten: BTreeSet<SnapshotId> = self.report.plan.forgotten.iter().copied().collect();
        let has_ended =
            |sid: &SnapshotId| *sid == PRUNE_SID || survey.finals.exists(sid) || forgotten.contains(sid);
        let mut candidates = Vec::new();
        let mut total_len = 0u64;
        // what is dead already is condemned once
        for (pack_id, listed) in survey.listed.iter().filter(|(pack_id, _)| !view.dead.contains(pack_id)) {
            let number = survey.inventory.numbers.get(pack_id).copied();
            let pack = number.and_then(|n| survey.inventory.packs.get(n as usize));
            let frame = pack.map_or(0, |pack| u64::from(pack.trailer_len)) + (HEADER_LEN + FOOTER_LEN) as u64;
            total_len = total_len.saturating_add(listed.len);
            candidates.push(Candidate {
                pack_id: *pack_id,
                class: listed.class,
                len: listed.len,
                records_len: listed.len.saturating_sub(frame),
                is_listed: pack.is_some(),
                is_young: !pack.is_some_and(|pack| has_ended(&pack.sid))
                    && !self.is_older(listed.stored_ms, self.options.pace.session_age),
                used: number.and_then(|n| choice.uses.get(n as usize).copied()).unwrap_or_default(),
            });
        }
        let selection = select(&candidates, self.goals());
        let room = limits::DEAD_PACK_COUNT_MAX.saturating_sub(view.dead.len() as u64);
        let room = usize::try_from(room.min(limits::PLAN_PACK_COUNT_MAX)).unwrap_or(usize::MAX);
        let plan = &mut self.report.plan;
        (plan.packs_total, plan.bytes_total) = (candidates.len() as u64, total_len);
        (plan.bytes_used, plan.bytes_unused_after) = (selection.used_len, selection.unused_len);
        (plan.packs_young, plan.bytes_young) = (selection.young, selection.young_len);
        (plan.condemn, plan.repack) = (selection.condemn, selection.repack);
        plan.condemn.truncate(room);
        plan.repack.truncate(room.saturating_sub(plan.condemn.len()));
        let one = |planned: &PlannedPack, is_copied: bool| {
            let number = survey.inventory.numbers.get(&planned.pack_id).copied();
            let known = number.and_then(|n| survey.inventory.packs.get(n as usize)).cloned();
            let unlisted = PackInfo {
                pack_id: planned.pack_id,
                class: planned.class,
                len: planned.len,
                trailer_len: 0,
                sid: PRUNE_SID,
            };
            Leaving { pack: known.unwrap_or(unlisted), number, is_copied }
        };
        let mut leaving: Vec<Leaving> = plan.condemn.iter().map(|pack| one(pack, false)).collect();
        leaving.extend(plan.repack.iter().map(|pack| one(pack, true)));
        leaving
    }

    fn goals(&self) -> Goals {
        let target_len = target_len(self.repository);
        Goals {
            max_unused: self.options.max_unused,
            max_repack_len: self.options.max_repack_bytes,
            target_len,
        }
    }

    /// Packs that their trailers keep leave the plan.
    fn drop_staying(&mut self, leaving: &[Leaving], confirmed: &Confirmed) {
        let mut staying = BTreeSet::new();
        for (place, why) in &confirmed.staying {
            if let Some(one) = leaving.get(*place) {
                if !confirmed.vanished.contains(place) {
                    self.report.warnings.push(format!("{} stays: {why}", pack_name(&one.pack)));
                }
                staying.insert(one.pack.pack_id);
            }
        }
        self.report.plan.condemn.retain(|pack| !staying.contains(&pack.pack_id));
        self.report.plan.repack.retain(|pack| !staying.contains(&pack.pack_id));
    }

    /// Repacks, and gives the packs that may be condemned, rising.
    async fn copy_out(
        &mut self,
        leaving: &[Leaving],
        confirmed: &Confirmed,
        view: &GcView,
    ) -> Result<Vec<PackId>> {
        let mut packs: BTreeSet<PackId> = BTreeSet::new();
        for (place, one) in leaving.iter().enumerate() {
            if !one.is_copied && !confirmed.staying.contains_key(&place) {
                packs.insert(one.pack.pack_id);
            }
        }
        if !self.report.plan.repack.is_empty() {
            self.progress.phase("repacking");
            self.progress.add_total(self.report.plan.repack.iter().map(|pack| pack.len).sum());
            let runs = self.runs.as_deref().unwrap_or_default();
            let seq = runs.iter().map(|run| run.file.seq).max().map_or(0, |seq| seq.saturating_add(1));
            let deadline = self.options.max_time.map(|time| self.started + time);
            let goals = (view.sweeps, seq);
            let copied = copy(self.repository, leaving, confirmed, goals, deadline, self.progress).await?;
            self.report.bytes_repacked += copied.copied_len;
            self.report.warnings.extend(copied.damaged.iter().map(|why| format!("not repacked: {why}")));
            let done = leaving.iter().zip(&copied.done).filter(|(_, done)| **done);
            packs.extend(done.map(|(one, _)| one.pack.pack_id));
        }
        Ok(packs.into_iter().collect())
    }

    /// What nobody may be behind of: lower runs are ignored from then on.
    pub(super) fn next_floor(&self, state: &GcState, inventory: &Inventory, g: u64) -> u64 {
        let floor = state.floor();
        let built = inventory.runs.iter().map(|run| run.built).filter(|built| *built >= floor).min();
        let times = state.plan_times();
        let old = times.iter().filter(|(_, at)| self.is_older(**at, self.options.pace.floor_age));
        let old = old.map(|(g, _)| *g).max().unwrap_or(0);
        let behind = g.saturating_sub(self.options.pace.floor_generations);
        built.unwrap_or(u64::MAX).min(behind).min(old).max(floor)
    }

    /// p4. Nothing if another prune has written this generation.
    async fn put_plan(
        &mut self,
        state: &GcState,
        survey: &Survey,
        g: u64,
        candidates: Vec<PackId>,
    ) -> Result<Option<gc::Record<Plan>>> {
        self.progress.phase("condemning");
        self.still_owns().await?;
        let name = self.plan_name(g);
        let body = Plan {
            candidates,
            forgotten: survey.forgetting.all.clone(),
            floor: self.next_floor(state, &survey.inventory, g),
            prev: state.sweep.as_ref().map(|sweep| sweep.hash),
        };
        let payload = body.encode().named(name)?;
        let object = self.repository.seal_signed(Class::Plan, &name, &payload)?;
        let hash = repo_format::sealed::object_hash(&object);
        if !put_first(self.repository, &name, object).await? {
            return Ok(None);
        }
        if let Err(error) = self.is_alone(g).await {
            self.withdraw(g).await;
            return Err(error);
        }
        let stored = self.repository.store().head(&name).await?;
        let stored_ms = stored.map_or(self.now_ms, |meta| meta.modified_ms);
        Ok(Some(gc::Record { name, g, body, hash, stored_ms }))
    }

    /// Something has no location: by records of the past that may be as it should be (ADR 11).
    async fn lost(&mut self, state: &GcState) -> Result<Round> {
        let newest = |state: &GcState| state.plan.as_ref().map(|plan| plan.g);
        if newest(&gc::state(self.repository).await?) == newest(state) {
            return Ok(Round::Done);
        }
        self.report.lost.clear();
        Ok(Round::Again)
    }

    /// What the second look need not look at: all committed roots.
    fn seen(survey: &Survey, walked: Spill<16>, choice: &Choice, candidates: &[PackId]) -> Seen {
        let packs = survey.inventory.packs.iter().zip(&choice.uses);
        let kept =
            packs.filter(|(pack, used)| used.chosen > 0 && candidates.binary_search(&pack.pack_id).is_err());
        let keepers = kept.map(|(pack, _)| pack.pack_id).collect();
        let sids = survey.finals.finals.iter().map(|one| one.root.sid).collect();
        Seen { sids, walked, keepers }
    }
}
