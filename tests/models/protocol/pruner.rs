//! A pruner: steps p0 to p7. (p8 is the world's, p9 the merger's.)

use super::mark;
use super::store::{GENERATIONS, Generation};
use super::{Objects, Rules, Steps, Store};
use crate::set::Set;
use repository::env::Mutant;

#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Default)]
pub(super) enum At {
    /// p0
    #[default]
    Idle,
    /// p0: what earlier generations condemned
    FinishPast,
    /// p1
    ListPacks,
    /// p2
    ListPending,
    /// p3
    ListSnapshots,
    Mark,
    Repack,
    PublishRepacked,
    /// p4
    Plan,
    /// p5
    ListAgain,
    ListSnapshotsAgain,
    MarkAgain,
    /// p6
    Sweep,
    /// p7 with a window of 0
    Delete,
}

/// What a pruner remembers.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Default)]
pub(crate) struct Pruner {
    pub(super) at: At,
    /// Runs that it has begun.
    pub(super) prunes: u8,
    /// Its generation.
    pub(super) g: u8,
    /// p1: L, and the dead packs that this LIST showed.
    pub(super) listed: Set,
    pub(super) shown: Set,
    /// Sids that it found.
    pub(super) pending: Set,
    pub(super) finals: Set,
    pub(super) candidates: Set,
    pub(super) forgotten: Set,
    pub(super) floor: u8,
    /// Roots that this process marked at p3.
    pub(super) seen: Set,
    /// The pack that it repacks, then the copy.
    pub(super) moved: u8,
    pub(super) condemned: Set,
    pub(super) dead: Set,
    pub(super) sweep_floor: u8,
    pub(super) wait: Objects,
}

impl Pruner {
    pub(super) fn at(self, at: At) -> Pruner {
        if at == At::Idle {
            Pruner { prunes: self.prunes, ..Pruner::default() }
        } else {
            Pruner { at, ..self }
        }
    }
}

/// A successor: what was done, to what, and the store and pruner after it.
pub(super) struct Out<'a, 'b> {
    steps: &'a mut Steps<'b>,
    i: usize,
}

impl Out<'_, '_> {
    pub(super) fn to(&mut self, did: &'static str, what: Set, store: Store, pruner: Pruner) {
        let i = self.i;
        self.steps.push(did, what, |next| {
            next.store = store;
            next.pruners[i] = pruner;
        });
    }

    /// A FINAL has a chunk without a location: the pruner says so.
    pub(super) fn alarm(&mut self, did: &'static str, what: Set, store: Store, pruner: Pruner) {
        let i = self.i;
        self.steps.push(did, what, |next| {
            next.store = store;
            next.pruners[i] = pruner;
            next.alarm = true;
        });
    }
}

/// What pruner `i` may do next.
pub(crate) fn steps(rules: &Rules, i: u8, steps: &mut Steps<'_>) {
    let i = usize::from(i);
    let (store, pruner) = (steps.world.store, steps.world.pruners[i]);
    let out = &mut Out { steps, i };
    match pruner.at {
        At::Idle if pruner.prunes < rules.prunes => begin(rules, store, pruner, out),
        At::Idle => {}
        At::FinishPast => finish_past(store, pruner, out),
        At::ListPacks => list_packs(rules, store, pruner, out),
        At::ListPending => list_first(rules, store, pruner, At::ListSnapshots, out),
        At::ListSnapshots => list_second(rules, store, pruner, At::Mark, out),
        At::Mark => mark::plan(rules, store, pruner, out),
        At::Repack => repack(rules, store, pruner, out),
        At::PublishRepacked => publish_repacked(rules, store, pruner, out),
        At::Plan => publish_plan(rules, store, pruner, out),
        At::ListAgain => list_again(rules, store, pruner, out),
        At::ListSnapshotsAgain => list_second(rules, store, pruner, At::MarkAgain, out),
        At::MarkAgain => mark::sweep(rules, store, pruner, out),
        At::Sweep => publish_sweep(rules, store, pruner, out),
        At::Delete => delete(rules, store, pruner, out),
    }
}

fn begin(rules: &Rules, store: Store, pruner: Pruner, out: &mut Out<'_, '_>) {
    for view in store.views() {
        let mut pruner = pruner;
        pruner.prunes += 1;
        if view.plans > view.sweeps {
            let plan = store.generation(view.plans - 1);
            pruner.g = view.plans - 1;
            pruner.candidates = plan.candidates;
            pruner.forgotten = plan.forgotten;
            pruner.floor = plan.floor;
            if !rules.breaks(Mutant::ResumeWithoutWait) {
                pruner.wait = store.unseen;
            }
            for listed in store.pack_listings() {
                pruner.shown = listed & view.dead;
                out.to("p0 resumes a plan", plan.candidates, store, pruner.at(At::ListAgain));
                if view.dead.is_empty() {
                    break;
                }
            }
            continue;
        }
        if view.plans >= GENERATIONS {
            continue;
        }
        pruner.g = view.plans;
        pruner.dead = view.dead;
        pruner.forgotten = view.forgotten;
        let past =
            view.dead.meets(store.packs - store.doomed) || store.finals(view.forgotten).next().is_some();
        let at = if past { At::FinishPast } else { At::ListPacks };
        out.to("p0 begins", view.dead, store, Pruner { dead: view.dead, ..pruner }.at(at));
    }
}

/// Deletes what earlier generations condemned, or does not, since their window is not over, or
/// crashes in between.
fn finish_past(store: Store, pruner: Pruner, out: &mut Out<'_, '_>) {
    let (dead, forgotten) = (pruner.dead, pruner.forgotten);
    let pruner = pruner.at(At::ListPacks);
    out.to("p0 leaves the dead alone", Set::EMPTY, store, pruner);
    let mut store = store;
    store.doomed |= dead & store.packs;
    out.to("p0 deletes dead packs", dead, store, pruner);
    if store.finals(forgotten).next().is_some() {
        store.delete_snapshots(forgotten);
        out.to("p0 deletes dead packs and forgotten snapshots", dead, store, pruner);
    }
}

fn list_packs(rules: &Rules, store: Store, mut pruner: Pruner, out: &mut Out<'_, '_>) {
    let dead = pruner.dead;
    pruner.dead = Set::EMPTY;
    pruner.forgotten = Set::EMPTY;
    for listed in store.pack_listings() {
        let not_locations = if rules.breaks(Mutant::DeadLocationInP1) { Set::EMPTY } else { dead };
        pruner.listed = listed - not_locations;
        pruner.shown = listed & dead;
        out.to("p1 lists packs", pruner.listed, store, pruner.at(At::ListPending));
    }
}

fn list_pending(store: Store, pruner: Pruner, then: At, out: &mut Out<'_, '_>) {
    for pending in Store::listings(store.pending, store.unseen.pending) {
        let pruner = Pruner { pending, ..pruner };
        out.to("lists and reads pending records", pending, store, pruner.at(then));
    }
}

fn list_snapshots(store: Store, pruner: Pruner, then: At, out: &mut Out<'_, '_>) {
    let finals = store.finals(Set::ALL).map(|(sid, _)| sid).collect();
    for finals in Store::listings(finals, store.unseen.snapshots) {
        let pruner = Pruner { finals, ..pruner };
        out.to("lists and reads snapshots", finals, store, pruner.at(then));
    }
}

/// The first of the two lists of p2 and p5, and the wait after it.
fn list_first(rules: &Rules, store: Store, mut pruner: Pruner, then: At, out: &mut Out<'_, '_>) {
    // the mutant leaves out the wait of p5
    if then == At::ListSnapshots || !rules.breaks(Mutant::NoWaitBetweenListsOfP5) {
        pruner.wait = store.unseen;
    }
    match rules.breaks(Mutant::SnapshotsBeforePending) {
        false => list_pending(store, pruner, then, out),
        true => list_snapshots(store, pruner, then, out),
    }
}

fn list_second(rules: &Rules, mut store: Store, mut pruner: Pruner, then: At, out: &mut Out<'_, '_>) {
    store.settle(&mut pruner.wait);
    match rules.breaks(Mutant::SnapshotsBeforePending) {
        false => list_snapshots(store, pruner, then, out),
        true => list_pending(store, pruner, then, out),
    }
}

fn repack(rules: &Rules, mut store: Store, mut pruner: Pruner, out: &mut Out<'_, '_>) {
    let chunk = store.chunk_of[usize::from(pruner.moved)];
    let Some(copy) = store.put_pack(rules, chunk) else { return };
    pruner.moved = copy;
    out.to("p3 copies a chunk to a pack", Set::one(copy), store, pruner.at(At::PublishRepacked));
}

fn publish_repacked(rules: &Rules, mut store: Store, mut pruner: Pruner, out: &mut Out<'_, '_>) {
    let packs = Set::one(pruner.moved);
    if store.put_run(rules, packs, pruner.g).is_none() {
        return;
    }
    pruner.moved = 0;
    out.to("p3 publishes a run of the copy", packs, store, pruner.at(At::Plan));
}

fn publish_plan(rules: &Rules, mut store: Store, mut pruner: Pruner, out: &mut Out<'_, '_>) {
    let g = pruner.g;
    if !rules.breaks(Mutant::NoWaitAfterP4) {
        pruner.wait = store.unseen;
    }
    if store.plans == g && (g == 0 || store.generation(g - 1).swept) {
        let (candidates, forgotten, floor) = (pruner.candidates, pruner.forgotten, pruner.floor);
        store.generations[usize::from(g)] =
            Generation { candidates, forgotten, floor, ..Generation::default() };
        store.plans += 1;
        store.put_record(rules, 2 * g);
        if !rules.breaks(Mutant::NoWaitAfterP4) {
            pruner.wait = store.unseen;
        }
        return out.to("p4 publishes a plan", candidates, store, pruner.at(At::ListAgain));
    }
    if rules.old_removed && store.plans > g + 1 {
        out.to("p4 publishes a plan of an old name", pruner.candidates, store, pruner.at(At::ListAgain));
    }
    out.to("p4 finds a plan: ends", Set::EMPTY, store, pruner.at(At::Idle));
}

fn list_again(rules: &Rules, mut store: Store, mut pruner: Pruner, out: &mut Out<'_, '_>) {
    store.settle(&mut pruner.wait);
    let (mut overtaken, mut newest) = (false, false);
    for view in store.views() {
        let higher = view.plans > pruner.g + 1;
        overtaken |= higher;
        newest |= !higher;
    }
    if overtaken {
        out.to("p5 finds a higher plan: ends", Set::EMPTY, store, pruner.at(At::Idle));
    }
    if newest {
        list_first(rules, store, pruner, At::ListSnapshotsAgain, out);
    }
}

fn publish_sweep(rules: &Rules, mut store: Store, mut pruner: Pruner, out: &mut Out<'_, '_>) {
    let at = if rules.window_0 { At::Delete } else { At::Idle };
    let generation = &mut store.generations[usize::from(pruner.g)];
    if !generation.swept {
        generation.swept = true;
        generation.condemned = pruner.condemned;
        generation.dead = pruner.dead;
        generation.sweep_floor = pruner.sweep_floor;
        store.put_record(rules, 2 * pruner.g + 1);
        return out.to("p6 publishes a sweep", pruner.condemned, store, pruner.at(at));
    }
    let next_is_swept = store.plans > pruner.g + 1 && store.generation(pruner.g + 1).swept;
    if rules.old_removed && next_is_swept {
        // nobody will read it
        out.to("p6 publishes a sweep of an old name", pruner.condemned, store, pruner.at(at));
    }
    pruner.dead = store.generation(pruner.g).dead;
    out.to("p6 takes the stored sweep", pruner.dead, store, pruner.at(at));
}

/// Deletes by the newest sweep and plan, whatever this process has published.
fn delete(rules: &Rules, store: Store, pruner: Pruner, out: &mut Out<'_, '_>) {
    for view in store.views() {
        let (dead, forgotten) = match rules.breaks(Mutant::DeleteByOldList) {
            false => (view.dead, view.forgotten),
            true => (pruner.dead, pruner.forgotten),
        };
        let mut store = store;
        store.doomed |= dead & store.packs;
        out.to("p7 deletes dead packs", dead, store, pruner.at(At::Idle));
        if store.finals(forgotten).next().is_some() {
            store.delete_snapshots(forgotten);
            out.to("p7 deletes dead packs and forgotten snapshots", dead, store, pruner.at(At::Idle));
        }
    }
}
