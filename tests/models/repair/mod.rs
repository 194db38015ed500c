//! `repair index` beside prune and a session: packs are adopted by their trailers, and records of
//! condemned packs are copied.
//!
//! Damage strikes once: an index run or one of two copies of a chunk is lost. From then on nothing
//! is promised until a repair says that all is well again; then all must stay well. Everything is
//! seen at once; a dead pack may be deleted at any time.

mod pruner;
mod steps;

use crate::check::{counterexample, exhaust};
use crate::set::Set;
use pruner::Pruner;
use stateright::{Model, Property};
use std::fmt;
use steps::{Repair, Session};

const PACKS: u8 = 6;
const RUNS: u8 = 5;
const GENERATIONS: u8 = 2;

/// A rule that is left out.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Slip {
    /// Repair adopts packs in `dead`.
    AdoptsDead,
    /// Repair relies on candidates of an unfinished plan: they are not dead yet.
    ReliesOnCandidates,
    /// Repair does not name them either, and p5 rescues one for a session.
    LeavesOutCandidates,
    /// Repair does not look at gc/ again after it has published its run.
    NoLookAgain,
    /// Its run claims the sweeps of the moment when it is published.
    BuiltReadLate,
    /// p5 does not see that a pack which p3 kept is gone.
    KeptPackNotListedAgain,
}

#[derive(Clone, Copy, Default)]
struct Rules {
    repairs: u8,
    prunes: u8,
    session: bool,
    slip: Option<Slip>,
}

impl Rules {
    fn slips(&self, slip: Slip) -> bool {
        self.slip == Some(slip)
    }
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Default)]
struct Run {
    packs: Set,
    built: u8,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Default)]
struct Store {
    packs: Set,
    pack_count: u8,
    /// Packs that hold chunk 1; the others hold chunk 0.
    holds_1: Set,
    runs: [Run; RUNS as usize],
    run_count: u8,
    live_runs: Set,
    /// The session's: sid 1 refers to chunk 1. Snapshot 0 refers to chunk 0 and is always there.
    pending: bool,
    committed: bool,
    plans: u8,
    sweeps: u8,
    candidates: Set,
    plan_floor: u8,
    dead: Set,
    floor: u8,
    condemned_by: [Set; GENERATIONS as usize],
}

impl Store {
    fn unswept(&self) -> bool {
        self.plans > self.sweeps
    }

    fn condemned(&self) -> Set {
        self.dead | if self.unswept() { self.candidates } else { Set::EMPTY }
    }

    fn newest_floor(&self) -> u8 {
        if self.unswept() { self.plan_floor } else { self.floor }
    }

    fn counting(&self) -> impl Iterator<Item = Run> + '_ {
        let runs = self.live_runs.iter().map(|run| self.runs[usize::from(run)]);
        runs.filter(|run| run.built >= self.floor)
    }

    fn indexed(&self) -> Set {
        self.counting().fold(Set::EMPTY, |packs, run| packs | run.packs)
    }

    fn lowest_built(&self, none: u8) -> u8 {
        self.counting().map(|run| run.built).min().unwrap_or(none)
    }

    fn holding(&self, chunk: u8, among: Set) -> Set {
        among.filter(|pack| self.holds_1.has(pack) == (chunk == 1))
    }

    fn put_pack(&mut self, chunk: u8) -> Option<u8> {
        let pack = self.pack_count;
        if pack >= PACKS {
            return None;
        }
        self.pack_count += 1;
        self.packs.insert(pack);
        if chunk == 1 {
            self.holds_1.insert(pack);
        }
        Some(pack)
    }

    /// False if the world is full.
    fn put_run(&mut self, packs: Set, built: u8) -> bool {
        let run = self.run_count;
        if run >= RUNS {
            return false;
        }
        self.run_count += 1;
        self.runs[usize::from(run)] = Run { packs, built };
        self.live_runs.insert(run);
        true
    }

    fn delete_run(&mut self, run: u8) {
        self.live_runs.remove(run);
        self.runs[usize::from(run)] = Run::default();
    }

    /// Chunks of FINALs.
    fn finals(&self) -> Set {
        if self.committed { Set(0b11) } else { Set(0b01) }
    }
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
struct World {
    store: Store,
    pruner: Pruner,
    session: Session,
    repair: Repair,
    damaged: bool,
    /// No damage yet, or repaired since.
    sound: bool,
    repaired_by_copy: bool,
}

#[derive(Clone, Copy, PartialEq, Eq)]
struct Step {
    who: &'static str,
    did: &'static str,
    to: Set,
    next: World,
}

impl fmt::Debug for Step {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}: {} {:?}", self.who, self.did, self.to)
    }
}

/// What the world does to the store.
fn strike(world: &World, steps: &mut Vec<Step>) {
    let mut push = |did, to, next| steps.push(Step { who: "store", did, to, next });
    for pack in (world.store.dead & world.store.packs).iter() {
        let mut next = *world;
        next.store.packs.remove(pack);
        push("deletes a dead pack", Set::one(pack), next);
    }
    if world.damaged {
        return;
    }
    let struck = World { damaged: true, sound: false, ..*world };
    for run in world.store.live_runs.iter() {
        let mut next = struck;
        next.store.delete_run(run);
        push("loses a run", Set::one(run), next);
    }
    for pack in world.store.holding(0, world.store.packs).iter() {
        let mut next = struck;
        next.store.packs.remove(pack);
        push("loses a pack", Set::one(pack), next);
    }
}

impl Model for Rules {
    type State = World;
    type Action = Step;

    /// Packs 0 and 2 hold chunk 0, which snapshot 0 needs; chunk 1 in pack 1 is garbage.
    fn init_states(&self) -> Vec<World> {
        let mut store = Store { packs: Set(0b111), pack_count: 3, holds_1: Set::one(1), ..Store::default() };
        store.put_run(store.packs, 0);
        let (pruner, session, repair) = (Pruner::default(), Session::default(), Repair::default());
        let (damaged, sound, repaired_by_copy) = (false, true, false);
        vec![World { store, pruner, session, repair, damaged, sound, repaired_by_copy }]
    }

    fn actions(&self, world: &World, out: &mut Vec<Step>) {
        strike(world, out);
        pruner::steps(self, world, out);
        steps::repair(self, world, out);
        if self.session {
            steps::session(world, out);
        }
    }

    fn next_state(&self, _: &World, step: Step) -> Option<World> {
        Some(step.next)
    }

    fn properties(&self) -> Vec<Property<Rules>> {
        let mut properties = vec![
            Property::always("what was repaired stays whole", |_, world: &World| {
                let store = &world.store;
                let good = store.indexed() & (store.packs - store.dead);
                let whole = |chunk| !store.holding(chunk, good).is_empty();
                !world.sound || store.finals().iter().all(whole)
            }),
            Property::sometimes("damage is repaired", |_, world: &World| world.damaged && world.sound),
            Property::sometimes("a record comes out of a condemned pack", |_, world: &World| {
                world.sound && world.repaired_by_copy
            }),
        ];
        if self.prunes > 1 {
            properties.push(Property::sometimes("the floor rises", |_, world: &World| {
                world.store.floor > 0 && world.damaged
            }));
        }
        properties
    }
}

const ONE: Rules = Rules { repairs: 2, prunes: 1, session: true, slip: None };
const TWO: Rules = Rules { repairs: 1, prunes: 2, ..ONE };

#[test]
fn what_is_repaired_stays_whole() {
    exhaust("repair, 1 prune", ONE);
    exhaust("repair, 2 prunes", TWO);
}

#[test]
fn every_slip_loses_something() {
    let slips = [
        (Slip::AdoptsDead, TWO),
        (Slip::ReliesOnCandidates, ONE),
        (Slip::LeavesOutCandidates, ONE),
        (Slip::BuiltReadLate, TWO),
        (Slip::KeptPackNotListedAgain, ONE),
    ];
    for (slip, rules) in slips {
        counterexample(&format!("repair, {slip:?}"), Rules { slip: Some(slip), ..rules });
    }
}

/// Not needed for safety, as p5 lists packs again and a floor rises only over runs that have what
/// is needed: but a repair that looks again does not say that all is well while it must run again.
#[test]
fn looking_again_is_not_what_keeps_it_whole() {
    for (name, rules) in [("1 prune", ONE), ("2 prunes", TWO)] {
        let rules = Rules { slip: Some(Slip::NoLookAgain), ..rules };
        exhaust(&format!("repair, NoLookAgain, {name}"), rules);
    }
}

#[test]
#[ignore = "large: make model"]
fn large() {
    exhaust("repair, 2 repairs, 2 prunes", Rules { repairs: 2, ..TWO });
}
