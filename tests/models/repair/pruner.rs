//! Prune, without lag: p1 to p6.

use super::{GENERATIONS, Rules, Slip, Step, Store, World};
use crate::set::Set;

#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Default)]
pub(super) struct Pruner {
    prunes: u8,
    at: At,
    listed: Set,
    /// Roots of p3, as chunks.
    pending: bool,
    seen: Set,
    kept: Set,
    candidates: Set,
    floor: u8,
    shown: Set,
    /// p5 has found a pack gone that p3 had kept.
    gone: bool,
    /// What the sweep will say.
    dead: Set,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Default)]
enum At {
    #[default]
    Idle,
    Mark,
    Plan,
    ListAgain,
    MarkAgain,
    Sweep,
}

impl Pruner {
    fn ended(self) -> Pruner {
        Pruner { prunes: self.prunes, ..Pruner::default() }
    }
}

fn roots(store: &Store, pending: bool) -> Set {
    store.finals() | if pending { Set::one(1) } else { Set::EMPTY }
}

/// Every way to choose one of `locations` for each chunk.
fn choices(locations: &[Set]) -> Vec<Set> {
    locations.iter().filter(|packs| !packs.is_empty()).fold(vec![Set::EMPTY], |chosen, packs| {
        let more = |set: &Set| packs.iter().map(move |pack| *set | Set::one(pack)).collect::<Vec<_>>();
        chosen.iter().flat_map(more).collect()
    })
}

pub(super) fn steps(rules: &Rules, world: &World, steps: &mut Vec<Step>) {
    let (store, mut pruner) = (world.store, world.pruner);
    let mut push = |did, to, store: Store, pruner: Pruner| {
        let next = World { pruner, store, ..*world };
        steps.push(Step { who: "pruner", did, to, next });
    };
    match pruner.at {
        At::Idle if pruner.prunes < rules.prunes && store.plans < GENERATIONS => {
            pruner.prunes += 1;
            pruner.listed = store.packs - store.dead;
            pruner.pending = store.pending;
            push("p1 and p2 list packs and pending", pruner.listed, store, Pruner { at: At::Mark, ..pruner });
        }
        At::Idle => {}
        At::Mark => {
            let index = store.indexed() & pruner.listed;
            let missing = |chunk: u8| store.holding(chunk, index).is_empty();
            if store.finals().iter().any(missing) {
                return push("p3 stops: damage", store.finals(), store, pruner.ended());
            }
            let live = roots(&store, pruner.pending);
            // a pending record that cannot be met does not count as seen
            pruner.seen = live.filter(|chunk| !missing(chunk));
            pruner.floor = store.lowest_built(store.sweeps).min(store.sweeps).max(store.floor);
            let locations: Vec<Set> = live.iter().map(|chunk| store.holding(chunk, index)).collect();
            for kept in choices(&locations) {
                let candidates = pruner.listed - kept;
                let planned = Pruner { at: At::Plan, kept, candidates, listed: Set::EMPTY, ..pruner };
                push("p3 chooses", candidates, store, planned);
            }
        }
        At::Plan => {
            let (candidates, plan_floor) = (pruner.candidates, pruner.floor);
            let next = Store { plans: store.plans + 1, candidates, plan_floor, ..store };
            push("p4 publishes a plan", candidates, next, Pruner { at: At::ListAgain, ..pruner });
        }
        At::ListAgain => {
            pruner.shown = store.packs & store.dead;
            pruner.pending = store.pending;
            let gone = pruner.kept - store.packs;
            pruner.gone = !gone.is_empty() && !rules.slips(Slip::KeptPackNotListedAgain);
            pruner.kept = Set::EMPTY;
            push("p5 lists packs and pending", store.packs, store, Pruner { at: At::MarkAgain, ..pruner });
        }
        At::MarkAgain => mark_again(store, pruner, &mut push),
        At::Sweep => {
            let mut next = Store { sweeps: store.plans, dead: pruner.dead, floor: pruner.floor, ..store };
            next.condemned_by[usize::from(store.sweeps)] = pruner.candidates;
            push("p6 publishes a sweep", pruner.candidates, next, pruner.ended());
        }
    }
}

fn mark_again(store: Store, mut pruner: Pruner, push: &mut dyn FnMut(&'static str, Set, Store, Pruner)) {
    let index = store.indexed() - store.dead;
    let new = roots(&store, pruner.pending) - pruner.seen;
    let new = new.filter(|chunk| store.holding(chunk, index - pruner.candidates).is_empty());
    let locations: Vec<Set> =
        new.iter().map(|chunk| store.holding(chunk, index & pruner.candidates)).collect();
    let plan_floor = pruner.floor;
    let empty = pruner.gone || locations.iter().any(|packs| packs.is_empty());
    let candidates = pruner.candidates;
    pruner = Pruner { at: At::Sweep, seen: Set::EMPTY, pending: false, gone: false, ..pruner };
    if empty {
        pruner = Pruner { candidates: Set::EMPTY, dead: store.dead, floor: store.floor, ..pruner };
        pruner.shown = Set::EMPTY;
        return push("p5 misses something: an empty sweep", Set::EMPTY, store, pruner);
    }
    pruner.floor = store.lowest_built(u8::MAX).min(plan_floor).max(store.floor);
    let old = store.dead.filter(|pack| {
        let by = store.condemned_by.iter().position(|packs| packs.has(pack)).unwrap_or(0);
        pruner.shown.has(pack) || by >= usize::from(pruner.floor)
    });
    pruner.shown = Set::EMPTY;
    for rescued in choices(&locations) {
        let condemned = candidates - rescued;
        let swept = Pruner { candidates: condemned, dead: old | condemned, ..pruner };
        push("p5 marks again", condemned, store, swept);
    }
}
