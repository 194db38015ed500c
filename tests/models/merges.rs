//! Two mergers over overlapping runs while the floor rises (p9), and a session beside them.
//!
//! Nothing is condemned here, so every chunk must keep an entry that counts. A generation's floor
//! is the lowest `built` that its pruner saw; the sweep looks again. Everybody reads gc/ before
//! the runs. Runs are listed by name, and a merged run comes after its inputs (pages.rs).

use crate::check::{counterexample, exhaust};
use crate::set::Set;
use repository::env::Mutant;
use stateright::{Model, Property};
use std::fmt;

const RUNS: u8 = 7;

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Slip {
    Engine(Mutant),
    /// A merger that is below the floor deletes its inputs all the same, and its own run.
    DeletesBoth,
    /// The merged run is not waited for.
    NoWait,
}

#[derive(Clone, Copy, Debug)]
struct Rules {
    mergers: u8,
    merges: u8,
    generations: u8,
    session: bool,
    lag: bool,
    slip: Option<Slip>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Default)]
struct Run {
    /// Chunks with an entry.
    entries: Set,
    built: u8,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Default)]
enum At {
    #[default]
    Idle,
    Publish,
    LookAgain,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Default)]
struct Merger {
    at: At,
    merges: u8,
    inputs: Set,
    entries: Set,
    built: u8,
    merged: u8,
    /// Runs, and whether the newest record, that were unseen when its wait began.
    wait: Wait,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Default)]
struct Wait {
    runs: Set,
    record: bool,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Default)]
enum Pruner {
    #[default]
    Idle,
    /// p4 to come, with this floor
    Plan(u8),
    /// p5 to come
    Wait(Wait),
    /// p6 to come, with this floor
    Sweep(u8),
}

/// A session that uses chunk 2 of a run that it did not write, or writes a run of chunk 3.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Default)]
enum Session {
    #[default]
    Begin,
    /// c1 to come, with g0 and the floor read at c0
    Load(u8, u8),
    /// c2 to come, with g0
    Flush(u8),
    /// c4 to come, with what the floor is compared with
    LookAgain(u8, Wait),
    Committed,
    Anew,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Default)]
struct World {
    runs: [Run; RUNS as usize],
    there: Set,
    count: u8,
    /// Plans and sweeps so far, and the floors of the newest of each and of the sweep before.
    plans: u8,
    sweeps: u8,
    plan_floor: u8,
    floor: u8,
    floor_before: u8,
    unseen: Wait,
    mergers: [Merger; 2],
    pruner: Pruner,
    session: Session,
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

/// What a LIST of gc/ and two GETs show.
#[derive(Clone, Copy)]
struct View {
    sweeps: u8,
    floor: u8,
    newest_floor: u8,
}

impl World {
    fn views(&self) -> Vec<View> {
        let swept = self.plans == self.sweeps;
        let newest_floor = if swept { self.floor } else { self.plan_floor };
        let mut views = vec![View { sweeps: self.sweeps, floor: self.floor, newest_floor }];
        if self.unseen.record {
            // without the newest record
            views.push(match swept {
                true => {
                    View { sweeps: self.sweeps - 1, floor: self.floor_before, newest_floor: self.plan_floor }
                }
                false => View { newest_floor: self.floor, ..views[0] },
            });
        }
        views
    }

    fn put_run(&mut self, rules: &Rules, run: Run) -> Option<u8> {
        let number = self.count;
        if number >= RUNS {
            return None;
        }
        self.runs[usize::from(number)] = run;
        self.there.insert(number);
        self.count += 1;
        if rules.lag {
            self.unseen.runs.insert(number);
        }
        Some(number)
    }

    fn delete_runs(&mut self, runs: Set) {
        for run in runs.iter() {
            self.runs[usize::from(run)] = Run::default();
        }
        self.there -= runs;
        self.unseen.runs -= runs;
    }

    fn settle(&mut self, since: Wait) {
        self.unseen.runs -= since.runs;
        self.unseen.record &= !since.record;
    }

    fn listings(&self) -> impl Iterator<Item = Set> + use<> {
        let (there, unseen) = (self.there, self.unseen.runs);
        (there & unseen).subsets().map(move |seen| (there - unseen) | seen)
    }

    fn counting(&self, runs: Set, floor: u8) -> Set {
        runs.filter(|run| self.runs[usize::from(run)].built >= floor)
    }

    fn entries(&self, runs: Set) -> Set {
        runs.iter().fold(Set::EMPTY, |all, run| all | self.runs[usize::from(run)].entries)
    }

    fn lowest(&self, runs: Set, none: u8) -> u8 {
        runs.iter().map(|run| self.runs[usize::from(run)].built).min().unwrap_or(none)
    }
}

impl Rules {
    fn breaks(&self, mutant: Mutant) -> bool {
        self.slip == Some(Slip::Engine(mutant))
    }

    fn floor(&self, floor: u8) -> u8 {
        if self.breaks(Mutant::NoFloor) { 0 } else { floor }
    }

    fn merge(&self, world: &World, i: u8, steps: &mut Vec<Step>) {
        let merger = world.mergers[usize::from(i)];
        let who = if i == 0 { "merger 0" } else { "merger 1" };
        let mut push = |did, to, world: World, merger: Merger| {
            let mut next = world;
            next.mergers[usize::from(i)] = merger;
            steps.push(Step { who, did, to, next });
        };
        let idle = Merger { merges: merger.merges, ..Merger::default() };
        match merger.at {
            At::Idle if merger.merges >= self.merges => {}
            At::Idle => {
                for view in world.views() {
                    for listed in world.listings() {
                        let counting = world.counting(listed, self.floor(view.floor));
                        for inputs in counting.subsets().filter(|inputs| !inputs.is_empty()) {
                            let entries = world.entries(inputs);
                            let (merges, at, built) = (merger.merges + 1, At::Publish, view.sweeps);
                            let next = Merger { at, merges, inputs, entries, built, ..idle };
                            push("reads gc/ and runs", inputs, *world, next);
                        }
                    }
                }
            }
            At::Publish => {
                let mut next = *world;
                let run = Run { entries: merger.entries, built: merger.built };
                let Some(merged) = next.put_run(self, run) else { return };
                let wait = if self.slip == Some(Slip::NoWait) { Wait::default() } else { next.unseen };
                let merger = Merger { at: At::LookAgain, merged, wait, entries: Set::EMPTY, ..merger };
                push("publishes the merged run", merger.inputs, next, merger);
            }
            At::LookAgain => {
                let mut settled = *world;
                settled.settle(merger.wait);
                for view in settled.views() {
                    let mut next = settled;
                    let (own, inputs) = (Set::one(merger.merged), merger.inputs);
                    if view.newest_floor <= merger.built || self.breaks(Mutant::MergeWithoutFloorCheck) {
                        next.delete_runs(inputs);
                        push("deletes its inputs", inputs, next, idle);
                    } else {
                        let both = self.slip == Some(Slip::DeletesBoth);
                        next.delete_runs(if both { own | inputs } else { own });
                        push("is below the floor: deletes the merged run", own, next, idle);
                    }
                }
            }
        }
    }

    fn prune(&self, world: &World, steps: &mut Vec<Step>) {
        let mut push = |did, to, world: World, pruner: Pruner| {
            let next = World { pruner, ..world };
            steps.push(Step { who: "pruner", did, to, next });
        };
        let floor = self.floor(world.floor);
        match world.pruner {
            Pruner::Idle if world.plans < self.generations => {
                let mut cleaned = *world;
                let below = world.there - world.counting(world.there, floor);
                cleaned.delete_runs(below);
                for listed in cleaned.listings() {
                    let counting = cleaned.counting(listed, floor);
                    let lowest = cleaned.lowest(counting, world.sweeps).min(world.sweeps).max(world.floor);
                    push("removes what is below the floor, lists runs", below, cleaned, Pruner::Plan(lowest));
                }
            }
            Pruner::Idle => {}
            Pruner::Plan(plan_floor) => {
                let mut next = World { plans: world.plans + 1, plan_floor, ..*world };
                next.unseen.record = self.lag;
                let wait = next.unseen;
                push("p4 publishes a plan", Set::one(plan_floor), next, Pruner::Wait(wait));
            }
            Pruner::Wait(wait) => {
                let mut settled = *world;
                settled.settle(wait);
                for listed in settled.listings() {
                    let counting = settled.counting(listed, floor);
                    let lowest = match self.breaks(Mutant::FloorNotReadAgainAtP5) {
                        true => world.plan_floor,
                        false => settled.lowest(counting, u8::MAX).min(world.plan_floor),
                    };
                    let lowest = lowest.max(world.floor);
                    push("p5 lists runs", counting, settled, Pruner::Sweep(lowest));
                }
            }
            Pruner::Sweep(floor) => {
                let mut next = World { sweeps: world.plans, floor, floor_before: world.floor, ..*world };
                next.unseen.record = self.lag;
                push("p6 publishes a sweep", Set::one(floor), next, Pruner::Idle);
            }
        }
    }

    fn session(&self, world: &World, steps: &mut Vec<Step>) {
        let mut push = |did, to, world: World, session: Session| {
            let next = World { session, ..world };
            steps.push(Step { who: "session", did, to, next });
        };
        match world.session {
            Session::Begin => {
                for view in world.views() {
                    let next = Session::Load(view.sweeps, self.floor(view.floor));
                    push("c0 reads gc/", Set::one(view.sweeps), *world, next);
                }
            }
            Session::Load(g0, floor) => {
                for listed in world.listings() {
                    let counting = world.counting(listed, floor);
                    let used = counting.filter(|run| world.runs[usize::from(run)].entries.has(2));
                    let reached = world.lowest(counting, g0).min(g0);
                    // chunk 2 is found; or else it is uploaded
                    let next = match used.is_empty() {
                        true => Session::Flush(g0),
                        false => Session::LookAgain(reached, world.unseen),
                    };
                    push("c1 reads runs, c3 announces itself", counting, *world, next);
                }
            }
            Session::Flush(built) => {
                let mut next = *world;
                if next.put_run(self, Run { entries: Set::one(2), built }).is_some() {
                    let wait = next.unseen;
                    push("c2 publishes a run", Set::one(2), next, Session::LookAgain(built, wait));
                }
            }
            Session::LookAgain(reached, wait) => {
                let mut settled = *world;
                settled.settle(wait);
                for view in settled.views() {
                    let (did, next) = match view.newest_floor > reached && !self.breaks(Mutant::NoFloor) {
                        true => ("c4 is below the floor: anew", Session::Anew),
                        false => ("c5 commits", Session::Committed),
                    };
                    push(did, Set::one(view.newest_floor), settled, next);
                }
            }
            Session::Committed | Session::Anew => {}
        }
    }
}

impl Model for Rules {
    type State = World;
    type Action = Step;

    /// Three runs, each with an entry of its own.
    fn init_states(&self) -> Vec<World> {
        let mut world = World { there: Set(0b111), count: 3, ..World::default() };
        for run in 0..3 {
            world.runs[usize::from(run)] = Run { entries: Set::one(run), built: 0 };
        }
        vec![world]
    }

    fn actions(&self, world: &World, steps: &mut Vec<Step>) {
        for i in 0..self.mergers {
            self.merge(world, i, steps);
        }
        self.prune(world, steps);
        if self.session {
            self.session(world, steps);
        }
    }

    fn next_state(&self, _: &World, step: Step) -> Option<World> {
        Some(step.next)
    }

    fn properties(&self) -> Vec<Property<Rules>> {
        vec![
            Property::always("every chunk keeps an entry that counts", |rules: &Rules, world: &World| {
                let counting = world.counting(world.there, rules.floor(world.floor));
                (Set(0b11) - world.entries(counting)).is_empty()
            }),
            Property::always("what a session relies on keeps an entry", |rules: &Rules, world: &World| {
                let counting = world.counting(world.there, rules.floor(world.floor));
                world.session != Session::Committed || world.entries(counting).has(2)
            }),
            Property::sometimes("the floor rises", |_, world: &World| world.floor > 0),
            Property::sometimes("all runs become one", |_, world: &World| world.there.iter().count() == 1),
        ]
    }
}

const TWO: Rules = Rules { mergers: 2, merges: 1, generations: 2, session: false, lag: true, slip: None };
const BESIDE: Rules = Rules { mergers: 1, merges: 1, generations: 2, session: true, ..TWO };

#[test]
fn overlapping_merges_lose_no_entry() {
    exhaust("merges, 2x1, 2 generations, lag", TWO);
    exhaust("merges, 1x1, 2 generations, a session, lag", BESIDE);
}

#[test]
fn every_slip_loses_an_entry() {
    let slips = [
        (Slip::Engine(Mutant::MergeWithoutFloorCheck), TWO),
        (Slip::Engine(Mutant::FloorNotReadAgainAtP5), TWO),
        (Slip::DeletesBoth, TWO),
        (Slip::NoWait, TWO),
    ];
    for (slip, rules) in slips {
        counterexample(&format!("merges, {slip:?}"), Rules { slip: Some(slip), ..rules });
    }
}

#[test]
#[ignore = "large: make model"]
fn large() {
    exhaust("merges, 2x1, 2 generations, a session, lag", Rules { session: true, ..TWO });
    exhaust("merges, 2x1, 3 generations, lag", Rules { generations: 3, ..TWO });
    exhaust("merges, 2x2, 2 generations", Rules { merges: 2, lag: false, ..TWO });
}
