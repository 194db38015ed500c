//! Stores without put-if-absent (gc.md, section 6): plans and sweeps under the name of a process.
//!
//! One process is meant to prune; here several do so by mistake, die with a request on its way,
//! and are taken over. Packs are listed in the index as soon as they exist, and no floor rises:
//! the other model has these.

mod pruner;
mod session;

use crate::check::{counterexample, exhaust};
use crate::set::Set;
use pruner::Process;
use session::Session;
use stateright::{Model, Property};
use std::fmt;

const PROCESSES: u8 = 3;
const GENERATIONS: u8 = 2;
const PACKS: u8 = 5;

/// A rule that is left out, or kept as gc.md had it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Slip {
    /// p4 does not wait before it lists.
    NoWaitAfterPlan,
    /// p4 does not list at all.
    NoLookAfterPlan,
    /// A session obeys one of several unswept plans.
    OnePlanCounts,
    /// The owner of a plan that is taken over may be alive.
    TakesOverTheLiving,
    /// The plan of a dead process is resumed at p5, not withdrawn.
    Resumes,
    /// A process is taken over while its last request may still land.
    TakesOverAtOnce,
    /// The last sweep of the process that is taken over may not be visible yet.
    NoWaitAtTakeOver,
    /// A process that died after the wait began is taken over, too.
    NamesAfterWaiting,
    /// A process that is stopped by an error withdraws its plan although it has sent its sweep.
    WithdrawsAfterSweep,
    /// `session drop` for a session that lives.
    DropsTheLiving,
    /// A pruner removes stale pending records, as if there were tombstones.
    PrunerDropsSessions,
}

#[derive(Clone, Copy, Default)]
struct Rules {
    processes: u8,
    prunes: u8,
    lag: bool,
    take_over: bool,
    drop: bool,
    slip: Option<Slip>,
}

impl Rules {
    fn slips(&self, slip: Slip) -> bool {
        self.slip == Some(slip)
    }
}

/// What was put and is not sure to be seen yet. Plans and sweeps are numbered by [`record`].
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Default)]
struct Objects {
    plans: Set,
    sweeps: Set,
    pending: Set,
    finals: Set,
    packs: Set,
}

/// The number of the record of generation `g` by process `p`.
fn record(g: u8, p: u8) -> u8 {
    g * PROCESSES + p
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Default)]
struct Store {
    packs: Set,
    pack_count: u8,
    /// Packs that hold chunk 1. The others hold chunk 0.
    holds_1: Set,
    pending: Set,
    finals: Set,
    plans: Set,
    candidates: [Set; 6],
    sweeps: Set,
    dead: [Set; 6],
    /// Sweeps that their dead writers have sent.
    late_sweeps: Set,
    unseen: Objects,
}

/// What one LIST of gc/ shows.
#[derive(Clone, Copy)]
struct View {
    plans: Set,
    sweeps: Set,
    /// One more than the newest generation with a sweep.
    swept: u8,
}

impl Store {
    fn view(&self, plans: Set, sweeps: Set) -> View {
        let swept = sweeps.iter().map(|sweep| sweep / PROCESSES + 1).max().unwrap_or(0);
        View { plans: plans.filter(|plan| plan / PROCESSES >= swept), sweeps, swept }
    }

    fn views(&self) -> impl Iterator<Item = View> + '_ {
        let seen =
            move |all: Set, unseen: Set| (all & unseen).subsets().map(move |shown| (all - unseen) | shown);
        seen(self.plans, self.unseen.plans).flat_map(move |plans| {
            seen(self.sweeps, self.unseen.sweeps).map(move |sweeps| self.view(plans, sweeps))
        })
    }

    fn dead(&self, view: &View) -> Set {
        let newest = view.sweeps.filter(|sweep| sweep / PROCESSES + 1 == view.swept);
        newest.iter().fold(Set::EMPTY, |dead, sweep| dead | self.dead[usize::from(sweep)])
    }

    fn condemned(&self, view: &View, plans: Set) -> Set {
        plans.iter().fold(self.dead(view), |all, plan| all | self.candidates[usize::from(plan)])
    }

    fn holding(&self, chunk: u8, among: Set) -> Set {
        among.filter(|pack| self.holds_1.has(pack) == (chunk == 1))
    }

    fn settle(&mut self, since: &mut Objects) {
        self.unseen.plans -= since.plans;
        self.unseen.sweeps -= since.sweeps;
        self.unseen.pending -= since.pending;
        self.unseen.finals -= since.finals;
        self.unseen.packs -= since.packs;
        *since = Objects::default();
    }

    fn put_sweep(&mut self, rules: &Rules, sweep: u8) {
        self.sweeps.insert(sweep);
        if rules.lag {
            self.unseen.sweeps.insert(sweep);
        }
    }
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
struct World {
    store: Store,
    session: Session,
    processes: [Process; PROCESSES as usize],
    taken_over: bool,
    withdrawn: bool,
}

/// A step and where it leads. Number 9 is the session, 8 the operator.
#[derive(Clone, Copy, PartialEq, Eq)]
struct Step {
    who: u8,
    did: &'static str,
    to: Set,
    next: World,
}

impl fmt::Debug for Step {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}: {} {:?}", self.who, self.did, self.to)
    }
}

fn push(steps: &mut Vec<Step>, who: u8, did: &'static str, to: Set, next: World) {
    steps.push(Step { who, did, to, next });
}

impl Model for Rules {
    type State = World;
    type Action = Step;

    /// FINAL 0 refers to chunk 0 in pack 0; chunk 1 in pack 1 is garbage.
    fn init_states(&self) -> Vec<World> {
        let store = Store {
            packs: Set(0b11),
            pack_count: 2,
            holds_1: Set::one(1),
            finals: Set::one(0),
            ..Store::default()
        };
        let processes = [Process::default(); PROCESSES as usize];
        vec![World { store, session: Session::new(), processes, taken_over: false, withdrawn: false }]
    }

    fn actions(&self, world: &World, steps: &mut Vec<Step>) {
        session::steps(self, world, steps);
        for p in 0..self.processes {
            pruner::steps(self, world, p, steps);
        }
        for sweep in world.store.late_sweeps.iter() {
            let mut next = *world;
            next.store.late_sweeps.remove(sweep);
            next.store.put_sweep(self, sweep);
            push(steps, 8, "a late sweep lands", Set::one(sweep), next);
        }
    }

    fn next_state(&self, _: &World, step: Step) -> Option<World> {
        Some(step.next)
    }

    fn properties(&self) -> Vec<Property<Rules>> {
        let mut properties = vec![
            Property::always("nothing is lost", |_, world: &World| {
                let store = &world.store;
                let truth = store.view(store.plans, store.sweeps);
                let good = store.packs - store.dead(&truth);
                store.finals.iter().all(|sid| !store.holding(sid, good).is_empty())
            }),
            Property::always("a generation has one sweep", |_, world: &World| {
                (0..GENERATIONS)
                    .all(|g| world.store.sweeps.filter(|sweep| sweep / PROCESSES == g).iter().count() <= 1)
            }),
            Property::sometimes("a pack is deleted, and a session commits", |_, world: &World| {
                !world.store.packs.has(1) && world.store.finals.has(1)
            }),
        ];
        if self.processes > 1 {
            let text = "a plan is withdrawn";
            properties.push(Property::sometimes(text, |_, world: &World| world.withdrawn));
        }
        if self.take_over {
            properties.push(Property::sometimes("a take-over ends with a sweep", |_, world: &World| {
                world.taken_over && !world.store.sweeps.is_empty()
            }));
        }
        properties
    }
}

const TWO: Rules = Rules { processes: 2, prunes: 1, lag: true, take_over: false, drop: false, slip: None };
const TAKEN_OVER: Rules = Rules { processes: 3, take_over: true, lag: false, ..TWO };

#[test]
fn two_by_mistake_lose_nothing() {
    exhaust("named, 1x2x1 with lag", TWO);
    exhaust("named, 1x2x2", Rules { prunes: 2, lag: false, ..TWO });
}

#[test]
fn the_dead_are_taken_over() {
    exhaust("named, 1x2x1 with take-over and lag", Rules { take_over: true, ..TWO });
    exhaust("named, 1x3x1 with take-over", TAKEN_OVER);
}

#[test]
fn dead_sessions_are_dropped() {
    exhaust("named, 1x1x2 with drop and lag", Rules { processes: 1, prunes: 2, drop: true, ..TWO });
}

#[test]
fn every_slip_loses_something() {
    let slips = [
        (Slip::NoWaitAfterPlan, TWO),
        (Slip::NoLookAfterPlan, TWO),
        (Slip::OnePlanCounts, TWO),
        (Slip::TakesOverTheLiving, TAKEN_OVER),
        (Slip::Resumes, TAKEN_OVER),
        (Slip::TakesOverAtOnce, TAKEN_OVER),
        (Slip::NoWaitAtTakeOver, Rules { take_over: true, ..TWO }),
        (Slip::WithdrawsAfterSweep, TWO),
        (Slip::DropsTheLiving, Rules { drop: true, ..TWO }),
        (Slip::PrunerDropsSessions, TWO),
    ];
    for (slip, rules) in slips {
        counterexample(&format!("named, {slip:?}"), Rules { slip: Some(slip), ..rules });
    }
}

#[test]
#[ignore = "large: make model"]
fn large() {
    let slip = Some(Slip::NamesAfterWaiting);
    counterexample("named, NamesAfterWaiting", Rules { lag: true, slip, ..TAKEN_OVER });
    exhaust("named, 1x2x2 with lag and take-over", Rules { prunes: 2, take_over: true, drop: true, ..TWO });
    exhaust("named, 1x3x1 with lag and take-over", Rules { lag: true, drop: true, ..TAKEN_OVER });
}
