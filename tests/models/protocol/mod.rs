//! The deletion protocol (gc.md, sections 3 and 4): sessions, pruners and mergers over one store.
//!
//! A process takes one store request at a time, or a few of which no other process can tell
//! whether they are one. It may stop for ever between any two; nobody knows a clock. A wait for
//! delta is a note of what was unseen when it began: once the process goes on, all that is seen.

mod goals;
mod mark;
mod merger;
mod pruner;
mod rules;
mod session;
mod store;

pub(crate) use rules::{Goal, Rules, Slip};

use crate::set::Set;
use merger::Merger;
use pruner::Pruner;
use repository::env::Mutant;
use session::Session;
use stateright::{Model, Property};
use std::fmt;
use store::{Named, Objects, Run, Store};

/// Who takes a step.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Who {
    Session(u8),
    Pruner(u8),
    Merger(u8),
    /// The operator, or the store.
    World,
}

/// One line of a trace: who did what, to which packs, runs or sids.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Step {
    pub(crate) who: Who,
    pub(crate) did: &'static str,
    pub(crate) to: Set,
}

/// A step and the state after it.
#[derive(Clone, PartialEq)]
pub(crate) struct Move(Step, World);

impl fmt::Debug for Move {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:?} {} {:?}", self.0.who, self.0.did, self.0.to)
    }
}

/// The whole state of a model.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Default)]
pub(crate) struct World {
    store: Store,
    sessions: [Session; 2],
    pruners: [Pruner; 2],
    mergers: [Merger; 2],
    /// Prune has reported damage, and there was none.
    alarm: bool,
}

/// Where the successors of a state go.
pub(crate) struct Steps<'a> {
    world: &'a World,
    who: Who,
    out: &'a mut Vec<Move>,
}

impl Steps<'_> {
    fn push(&mut self, did: &'static str, to: Set, change: impl FnOnce(&mut World)) {
        let mut next = *self.world;
        change(&mut next);
        self.out.push(Move(Step { who: self.who, did, to }, next));
    }
}

impl Store {
    /// Uploads a pack that holds `chunk`; nothing if the world is full.
    fn put_pack(&mut self, rules: &Rules, chunk: u8) -> Option<u8> {
        let pack = self.pack_count;
        if pack >= rules.packs {
            return None;
        }
        self.pack_count += 1;
        self.chunk_of[usize::from(pack)] = chunk;
        self.packs.insert(pack);
        if rules.lag {
            self.unseen.packs.insert(pack);
        }
        Some(pack)
    }

    /// Publishes a run; nothing if the world is full.
    fn put_run(&mut self, rules: &Rules, packs: Set, built: u8) -> Option<u8> {
        let run = self.run_count;
        if run >= rules.runs {
            return None;
        }
        self.run_count += 1;
        self.runs[usize::from(run)] = Run { packs, built };
        self.live_runs.insert(run);
        if rules.lag {
            self.unseen.runs.insert(run);
        }
        Some(run)
    }

    fn delete_runs(&mut self, runs: Set) {
        for run in runs.iter() {
            self.runs[usize::from(run)] = Run::default();
        }
        self.live_runs -= runs;
        self.unseen.runs -= runs;
    }

    fn delete_snapshots(&mut self, sids: Set) {
        for sid in sids.iter() {
            if let Some(name @ Named::Final(_)) = self.snapshots.get_mut(usize::from(sid)) {
                *name = Named::Nothing;
                self.unseen.snapshots.remove(sid);
            }
        }
    }

    /// Put-if-absent of a snapshot; false if the name is taken.
    fn put_final(&mut self, rules: &Rules, sid: u8, chunks: Set) -> bool {
        let name = &mut self.snapshots[usize::from(sid)];
        if *name != Named::Nothing {
            return false;
        }
        *name = Named::Final(chunks);
        if rules.lag {
            self.unseen.snapshots.insert(sid);
        }
        true
    }

    fn put_record(&mut self, rules: &Rules, record: u8) {
        if rules.lag {
            self.unseen.records.insert(record);
        }
    }
}

impl Rules {
    /// Runs below this are ignored by a reader that has read `floor`.
    fn floor(&self, floor: u8) -> u8 {
        if self.breaks(Mutant::NoFloor) { 0 } else { floor }
    }

    /// I1: whatever a FINAL that is not forgotten refers to has a location in a pack that exists,
    /// is listed in a run that counts, and is not dead.
    fn nothing_lost(&self, world: &World) -> bool {
        let store = &world.store;
        let now = store.truth();
        let good = store.indexed(store.live_runs, self.floor(now.floor)) & (store.packs - now.dead);
        store
            .finals(Set::ALL - now.forgotten)
            .all(|(_, chunks)| chunks.iter().all(|chunk| !store.copies(chunk, good).is_empty()))
    }

    fn operator(&self, steps: &mut Steps<'_>) {
        let store = &steps.world.store;
        let (finals, pending) = (store.finals(Set::ALL - store.marked), store.pending);
        let finals: Set = finals.map(|(sid, _)| sid).collect();
        for sid in finals.iter().filter(|_| !self.no_forget) {
            steps.push("marks a snapshot as forgotten", Set::one(sid), |next| {
                next.store.marked.insert(sid);
                if self.breaks(Mutant::ForgetDeletes) {
                    next.store.delete_snapshots(Set::one(sid));
                }
            });
        }
        for pack in store.doomed.iter() {
            steps.push("a DELETE of a pack lands", Set::one(pack), |next| {
                next.store.doomed.remove(pack);
                next.store.packs.remove(pack);
                next.store.unseen.packs.remove(pack);
                if self.lag_of_deletes {
                    next.store.unseen.deleted.insert(pack);
                }
            });
        }
        for sid in store.late_finals.iter() {
            steps.push("a late FINAL lands", Set::one(sid), |next| {
                next.store.late_finals.remove(sid);
                next.store.put_final(self, sid, next.store.bodies[usize::from(sid)]);
            });
        }
        for sid in pending.iter().filter(|_| self.stale) {
            let named = store.snapshots[usize::from(sid)] != Named::Nothing;
            if named || self.breaks(Mutant::NoTombstone) {
                steps.push("p8 removes a pending record", Set::one(sid), |next| {
                    next.store.pending.remove(sid);
                    next.store.unseen.pending.remove(sid);
                });
            } else {
                steps.push("p8 puts a TOMBSTONE", Set::one(sid), |next| {
                    next.store.snapshots[usize::from(sid)] = Named::Tombstone;
                });
            }
        }
    }
}

impl Model for Rules {
    type State = World;
    type Action = Move;

    /// Snapshot 0 refers to chunk 0 in pack 0; chunk 1 in pack 1 is garbage. One run lists both.
    fn init_states(&self) -> Vec<World> {
        let mut world = World::default();
        let store = &mut world.store;
        store.chunk_of[1] = 1;
        store.chunk_of[2] = 1;
        store.pack_count = match (self.bare, self.two_copies) {
            (true, _) => 1,
            (false, false) => 2,
            (false, true) => 3,
        };
        store.packs = (0..store.pack_count).collect();
        store.runs[0] = Run { packs: store.packs, built: 0 };
        store.run_count = 1;
        store.live_runs = Set::one(0);
        store.snapshots[0] = Named::Final(Set::one(0));
        store.bodies[0] = Set::one(0);
        for i in 0..self.sessions {
            world.sessions[usize::from(i)] = Session::new(i + 1);
        }
        vec![world]
    }

    fn actions(&self, world: &World, out: &mut Vec<Move>) {
        for i in 0..self.sessions {
            session::steps(self, i, &mut Steps { world, who: Who::Session(i), out });
        }
        for i in 0..self.pruners {
            pruner::steps(self, i, &mut Steps { world, who: Who::Pruner(i), out });
        }
        for i in 0..self.mergers {
            merger::steps(self, i, &mut Steps { world, who: Who::Merger(i), out });
        }
        self.operator(&mut Steps { world, who: Who::World, out });
    }

    fn next_state(&self, _: &World, Move(_, next): Move) -> Option<World> {
        Some(next)
    }

    fn properties(&self) -> Vec<Property<Rules>> {
        let mut properties = vec![
            Property::always("nothing is lost", |rules: &Rules, world| rules.nothing_lost(world)),
            Property::always("prune reports no damage", |_, world: &World| !world.alarm),
        ];
        properties.extend(self.goals.iter().map(|goal| goal.property()));
        properties
    }
}
