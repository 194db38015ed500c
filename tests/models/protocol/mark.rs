//! Marking: what p3 plans and what p5 sweeps.

use super::pruner::{At, Out, Pruner};
use super::store::{CHUNKS, Generation};
use super::{Rules, Slip, Store};
use crate::set::Set;
use repository::env::Mutant;

impl Store {
    /// All chunks that the pending records of `sids` name.
    fn named_by(&self, sids: Set) -> Set {
        sids.iter().fold(Set::EMPTY, |chunks, sid| chunks | self.bodies[usize::from(sid)])
    }

    /// All chunks of the FINALs among `sids`. One that was deleted meanwhile is no root.
    fn referred_by(&self, sids: Set) -> Set {
        self.finals(sids).fold(Set::EMPTY, |chunks, (_, more)| chunks | more)
    }

    fn before(&self, g: u8) -> Generation {
        if g == 0 { Generation::default() } else { *self.generation(g - 1) }
    }
}

/// Every way to choose one of the packs of each entry; entries without any have no say.
fn choices(entries: &[Set], chosen: Set, then: &mut dyn FnMut(Set)) {
    match entries.split_first() {
        None => then(chosen),
        Some((packs, rest)) if packs.is_empty() => choices(rest, chosen, then),
        Some((packs, rest)) => {
            for pack in packs.iter() {
                choices(rest, chosen | Set::one(pack), then);
            }
        }
    }
}

/// p3: marks, chooses a location per chunk, and plans.
pub(super) fn plan(rules: &Rules, store: Store, pruner: Pruner, out: &mut Out<'_, '_>) {
    let before = store.before(pruner.g);
    let floor = rules.floor(before.sweep_floor);
    for runs in Store::listings(store.live_runs, store.unseen.runs) {
        let mut pruner = pruner;
        let lowest = store.lowest_built(runs, floor, pruner.g).min(pruner.g);
        pruner.floor = lowest.max(before.sweep_floor);
        pruner.forgotten = forgotten(rules, &store, &pruner, &before);
        let kept = pruner.finals - pruner.forgotten;
        let dead = if rules.breaks(Mutant::DeadLocationInP1) { Set::EMPTY } else { before.dead };
        let index = store.indexed(runs, floor) - dead;
        let missing: Set = (0..CHUNKS).filter(|&c| store.copies(c, index).is_empty()).collect();
        if store.referred_by(kept).meets(missing) {
            report(rules, "p3 stops: damage", missing, store, pruner.at(At::Idle), 2 * pruner.g, out);
            continue;
        }
        // a session that can no longer be met must mend: it does not count as seen
        let met = pruner.pending.filter(|sid| !store.bodies[usize::from(sid)].meets(missing));
        pruner.seen = met | kept;
        let live = store.named_by(pruner.pending) | store.referred_by(kept);
        plan_for(rules, store, pruner, live, index, out);
    }
}

/// A chunk of a FINAL has no location. That is damage, unless the records have moved on from the
/// `records` that this process works by: then it is the process that is behind.
fn report(
    rules: &Rules,
    did: &'static str,
    missing: Set,
    store: Store,
    then: Pruner,
    records: u8,
    out: &mut Out<'_, '_>,
) {
    for view in store.views() {
        if view.plans + view.sweeps == records || rules.slips(Slip::AlarmOfThePast) {
            out.alarm(did, missing, store, then);
        } else {
            out.to("finds newer records: no damage", missing, store, then);
        }
    }
}

/// F of a plan: what was forgotten before, without sids that are over and done with, and the
/// marked ones.
fn forgotten(rules: &Rules, store: &Store, pruner: &Pruner, before: &Generation) -> Set {
    let mut forgotten = before.forgotten;
    if rules.breaks(Mutant::ForgottenNotCumulative) {
        forgotten = Set::EMPTY;
    }
    let floor = if rules.breaks(Mutant::ForgottenByOwnFloor) { pruner.floor } else { before.sweep_floor };
    let stays = |sid: u8| {
        let listed = store.finals(Set::one(sid)).next().is_some();
        listed || store.forgotten_in(sid, pruner.g) >= floor
    };
    forgotten.filter(stays) | pruner.finals & store.marked
}

fn plan_for(rules: &Rules, store: Store, pruner: Pruner, live: Set, index: Set, out: &mut Out<'_, '_>) {
    let mut pruner = pruner;
    let listed = pruner.listed;
    (pruner.listed, pruner.pending, pruner.finals) = (Set::EMPTY, Set::EMPTY, Set::EMPTY);
    let locations: Vec<Set> = live.iter().map(|chunk| store.copies(chunk, index & listed)).collect();
    choices(&locations, Set::EMPTY, &mut |chosen| {
        let unchosen = listed - chosen;
        for candidates in unchosen.subsets() {
            let pruner = Pruner { candidates, ..pruner };
            out.to("p3 marks and chooses", candidates, store, pruner.at(At::Plan));
            if !rules.lenient {
                break;
            }
        }
        for moved in chosen.iter().filter(|_| rules.repack) {
            let candidates = unchosen | Set::one(moved);
            let pruner = Pruner { candidates, moved, ..pruner };
            out.to("p3 marks and will repack", candidates, store, pruner.at(At::Repack));
        }
    });
}

/// p5: marks what is new since p3 and rescues the packs that it needs.
pub(super) fn sweep(rules: &Rules, store: Store, pruner: Pruner, out: &mut Out<'_, '_>) {
    let before = store.before(pruner.g);
    let floor = rules.floor(before.sweep_floor);
    let late_list = rules.breaks(Mutant::DeadLeavesByLateList);
    for runs in Store::listings(store.live_runs, store.unseen.runs) {
        for listed in store.pack_listings() {
            let mut pruner = pruner;
            if late_list {
                pruner.shown = listed & before.dead;
            }
            let lowest = match rules.breaks(Mutant::FloorNotReadAgainAtP5) {
                true => pruner.floor,
                false => store.lowest_built(runs, floor, u8::MAX).min(pruner.floor),
            };
            pruner.sweep_floor = lowest.max(before.sweep_floor);
            let dead = if rules.breaks(Mutant::DeadLocationInP5) { Set::EMPTY } else { before.dead };
            let index = store.indexed(runs, floor) - dead;
            sweep_for(rules, store, pruner, index, &before, out);
            if !late_list {
                break;
            }
        }
    }
}

fn sweep_for(
    rules: &Rules,
    store: Store,
    pruner: Pruner,
    index: Set,
    before: &Generation,
    out: &mut Out<'_, '_>,
) {
    let candidates = pruner.candidates;
    let finals = store.referred_by(pruner.finals - pruner.forgotten - pruner.seen);
    let mut live = finals | store.named_by(pruner.pending - pruner.seen);
    if rules.breaks(Mutant::NoRelistAtP5) {
        live = Set::EMPTY;
    }
    let needed = live.filter(|chunk| store.copies(chunk, index - candidates).is_empty());
    let missing = needed.filter(|chunk| store.copies(chunk, index).is_empty());
    let mut swept = pruner;
    (swept.pending, swept.finals, swept.seen, swept.candidates) = Default::default();
    if !missing.is_empty() {
        let (dead, sweep_floor) = (before.dead, before.sweep_floor);
        let empty = Pruner { condemned: Set::EMPTY, dead, sweep_floor, ..swept };
        let did = "p5 misses a chunk: an empty sweep";
        return match finals.meets(missing) {
            true => report(rules, did, missing, store, empty.at(At::Sweep), 2 * pruner.g + 1, out),
            false => out.to(did, missing, store, empty.at(At::Sweep)),
        };
    }
    let locations: Vec<Set> = needed.iter().map(|chunk| store.copies(chunk, index & candidates)).collect();
    let stays = |pack: u8| {
        let young = store.died(pack, pruner.g) >= swept.sweep_floor;
        pruner.shown.has(pack) || young && !rules.slips(Slip::DeadLeavesBelowFloor)
    };
    let old = before.dead.filter(stays);
    choices(&locations, Set::EMPTY, &mut |rescued| {
        let condemned = candidates - rescued;
        let mut swept = Pruner { condemned, dead: old | condemned, ..swept };
        swept.shown = Set::EMPTY;
        out.to("p5 marks again", condemned, store, swept.at(At::Sweep));
    });
}
