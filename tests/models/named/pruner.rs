//! A pruning process, and what becomes of it when it dies.

use super::{GENERATIONS, Objects, PROCESSES, Rules, Slip, Step, Store, World, push, record};
use crate::set::Set;

#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Default)]
enum At {
    #[default]
    Idle,
    TakeOver,
    /// p3
    Mark,
    /// p4
    Plan,
    LookAfterPlan,
    /// p5
    ListAgain,
    MarkAgain,
    /// p6
    Sweep,
    /// p7 with a window of 0
    Delete,
    Dead,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Default)]
pub(super) struct Process {
    at: At,
    prunes: u8,
    g: u8,
    /// Plans that are to be taken over, as the operator has named their owners.
    named: Set,
    listed: Set,
    pending: Set,
    candidates: Set,
    seen: Set,
    dead: Set,
    wait: Objects,
}

impl Process {
    fn at(self, at: At) -> Process {
        match at {
            At::Idle => Process { prunes: self.prunes, ..Process::default() },
            At::Dead => Process { at, ..Process::default() },
            _ => Process { at, ..self },
        }
    }
}

fn shown(all: Set, unseen: Set) -> impl Iterator<Item = Set> {
    (all & unseen).subsets().map(move |some| (all - unseen) | some)
}

struct Out<'a> {
    steps: &'a mut Vec<Step>,
    world: &'a World,
    p: u8,
}

impl Out<'_> {
    fn to(&mut self, did: &'static str, what: Set, store: Store, process: Process) {
        let mut next = World { store, ..*self.world };
        next.processes[usize::from(self.p)] = process;
        push(self.steps, self.p, did, what, next);
    }

    /// Notes in the last successor that a rule was used.
    fn note(&mut self, mark: impl FnOnce(&mut World)) {
        if let Some(step) = self.steps.last_mut() {
            mark(&mut step.next);
        }
    }
}

/// What process `p` may do next.
pub(super) fn steps(rules: &Rules, world: &World, p: u8, steps: &mut Vec<Step>) {
    let (mut store, mut process) = (world.store, world.processes[usize::from(p)]);
    let out = &mut Out { steps, world, p };
    if rules.take_over && !matches!(process.at, At::Idle | At::Dead) {
        out.to("dies", Set::EMPTY, store, process.at(At::Dead));
    }
    if matches!(process.at, At::LookAfterPlan | At::ListAgain | At::MarkAgain | At::Sweep) {
        out.to(
            "is stopped: withdraws",
            Set::EMPTY,
            without(store, record(process.g, p)),
            process.at(At::Idle),
        );
    }
    match process.at {
        At::Idle if process.prunes < rules.prunes => begin(rules, store, process, out),
        At::Idle | At::Dead => {}
        At::TakeOver => take_over(rules, store, process, out),
        At::Mark => mark(store, process, out),
        At::Plan => {
            let plan = record(process.g, p);
            store.plans.insert(plan);
            store.candidates[usize::from(plan)] = process.candidates;
            if rules.lag {
                store.unseen.plans.insert(plan);
            }
            if !rules.slips(Slip::NoWaitAfterPlan) {
                process.wait = store.unseen;
            }
            let at = if rules.slips(Slip::NoLookAfterPlan) { At::ListAgain } else { At::LookAfterPlan };
            out.to("p4 puts its plan", process.candidates, store, process.at(at));
        }
        At::LookAfterPlan => look_after_plan(store, process, out),
        At::ListAgain => {
            store.settle(&mut process.wait);
            process.wait = store.unseen;
            for pending in shown(store.pending, store.unseen.pending) {
                process.pending = pending;
                out.to("p5 lists pending", pending, store, process.at(At::MarkAgain));
            }
        }
        At::MarkAgain => mark_again(store, process, out),
        At::Sweep => sweep(rules, store, process, out),
        At::Delete => {
            for view in store.views() {
                let mut store = store;
                let dead = store.dead(&view);
                store.packs -= dead;
                store.unseen.packs -= dead;
                out.to("p7 deletes", dead, store, process.at(At::Idle));
            }
        }
    }
}

/// p0: an unfinished plan of another process stops it, unless the operator has it taken over.
fn begin(rules: &Rules, store: Store, mut process: Process, out: &mut Out<'_>) {
    process.prunes += 1;
    for view in store.views() {
        if view.plans.is_empty() {
            if view.swept < GENERATIONS {
                process.g = view.swept;
                process.dead = store.dead(&view);
                for packs in shown(store.packs, store.unseen.packs) {
                    for pending in shown(store.pending, store.unseen.pending) {
                        let wait = store.unseen;
                        let listed = packs - process.dead;
                        let process = Process { listed, pending, wait, ..process };
                        out.to("p1 and p2 list packs and pending", listed, store, process.at(At::Mark));
                    }
                }
            }
            continue;
        }
        if !rules.take_over || living(rules, out.world, view.plans) {
            out.to("p0 finds a plan of another process: stops", view.plans, store, process.at(At::Idle));
        } else {
            process.named = view.plans;
            if !rules.slips(Slip::NoWaitAtTakeOver) {
                process.wait = store.unseen;
            }
            out.to("p0 may take over", view.plans, store, process.at(At::TakeOver));
        }
    }
}

/// Whether the owner of one of `plans` may still act, or a request of the dead may still land.
fn living(rules: &Rules, world: &World, plans: Set) -> bool {
    let alive = |plan: u8| world.processes[usize::from(plan % PROCESSES)].at != At::Dead;
    let in_flight = !world.store.late_sweeps.is_empty() && !rules.slips(Slip::TakesOverAtOnce);
    in_flight || plans.iter().any(alive) && !rules.slips(Slip::TakesOverTheLiving)
}

/// The plans of the dead are withdrawn, as p4 withdraws its own: before its sweep, a plan may
/// always go. Once delta has passed since they were dead, no sweep of theirs is unseen; that says
/// nothing of others.
fn take_over(rules: &Rules, mut store: Store, mut process: Process, out: &mut Out<'_>) {
    store.settle(&mut process.wait);
    for view in store.views() {
        let (mut store, mut process) = (store, process);
        let Some(plan) = view.plans.iter().next() else {
            process.prunes -= 1;
            out.to("finds nothing to take over", Set::EMPTY, store, process.at(At::Idle));
            continue;
        };
        let others = !(view.plans - process.named).is_empty() && !rules.slips(Slip::NamesAfterWaiting);
        process.named = Set::EMPTY;
        if others || living(rules, out.world, view.plans) {
            out.to("finds a plan of another process: stops", view.plans, store, process.at(At::Idle));
            continue;
        }
        if rules.slips(Slip::Resumes) {
            process.g = plan / PROCESSES;
            process.dead = store.dead(&view);
            process.candidates = store.candidates[usize::from(plan)];
            process.wait = store.unseen;
            out.to("takes over: resumes a plan", Set::one(plan), store, process.at(At::ListAgain));
        } else {
            store.plans -= view.plans;
            store.unseen.plans -= view.plans;
            process.prunes -= 1;
            out.to("takes over: withdraws plans", view.plans, store, process.at(At::Idle));
        }
        out.note(|world| world.taken_over = true);
    }
}

fn live(sids: Set) -> impl Iterator<Item = u8> {
    // sid n refers to chunk n
    sids.iter()
}

/// p3: chooses a location for each live chunk; the rest is to go.
fn mark(mut store: Store, mut process: Process, out: &mut Out<'_>) {
    store.settle(&mut process.wait);
    for finals in shown(store.finals, store.unseen.finals) {
        let mut choices = vec![Set::EMPTY];
        for chunk in live(finals | process.pending) {
            let locations = store.holding(chunk, process.listed);
            if !locations.is_empty() {
                choices = locations
                    .iter()
                    .flat_map(|pack| choices.iter().map(move |chosen| *chosen | Set::one(pack)))
                    .collect();
            }
        }
        for chosen in choices {
            let mut process = process;
            process.seen = finals | process.pending;
            process.candidates = process.listed - chosen;
            (process.listed, process.pending) = (Set::EMPTY, Set::EMPTY);
            out.to("p3 chooses", process.candidates, store, process.at(At::Plan));
        }
    }
}

fn without(mut store: Store, plan: u8) -> Store {
    store.plans.remove(plan);
    store.unseen.plans.remove(plan);
    store
}

fn look_after_plan(mut store: Store, mut process: Process, out: &mut Out<'_>) {
    store.settle(&mut process.wait);
    let own = record(process.g, out.p);
    for view in store.views() {
        let later = |n: u8| n != own && n / PROCESSES >= process.g;
        if view.plans.iter().any(later) || view.sweeps.iter().any(later) {
            out.to("p4 finds another: withdraws", view.plans, without(store, own), process.at(At::Idle));
            out.note(|world| world.withdrawn = true);
        } else {
            out.to("p4 is alone", Set::EMPTY, store, process.at(At::ListAgain));
        }
    }
}

/// p5: what is new since p3 rescues the packs that it needs.
fn mark_again(mut store: Store, mut process: Process, out: &mut Out<'_>) {
    store.settle(&mut process.wait);
    let truth = store.view(store.plans, store.sweeps);
    let undead = store.packs - store.dead(&truth);
    for finals in shown(store.finals, store.unseen.finals) {
        let mut rescued = Set::EMPTY;
        for chunk in live((finals | process.pending) - process.seen) {
            let locations = store.holding(chunk, undead);
            if (locations - process.candidates).is_empty() {
                rescued |= locations;
            }
        }
        let mut process = process;
        process.candidates -= rescued;
        (process.pending, process.seen) = (Set::EMPTY, Set::EMPTY);
        out.to("p5 marks again", process.candidates, store, process.at(At::Sweep));
    }
}

fn sweep(rules: &Rules, mut store: Store, process: Process, out: &mut Out<'_>) {
    let number = record(process.g, out.p);
    store.dead[usize::from(number)] = process.dead | process.candidates;
    if rules.take_over {
        let mut late = store;
        late.late_sweeps.insert(number);
        out.to("p6 sends its sweep and dies", process.candidates, late, process.at(At::Dead));
    }
    if rules.slips(Slip::WithdrawsAfterSweep) {
        let mut late = without(store, number);
        late.late_sweeps.insert(number);
        out.to("p6 sends its sweep, is stopped, withdraws", process.candidates, late, process.at(At::Idle));
    }
    store.put_sweep(rules, number);
    out.to("p6 puts its sweep", process.candidates, store, process.at(At::Delete));
}
