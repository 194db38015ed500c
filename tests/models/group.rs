//! Which snapshots a plan may take by their forget markers: p3's rule for groups.
//!
//! One group of three snapshots, in the order of time; some of them are incomplete. People mark
//! them, plainly or with `.last`; two pruners plan at once, each by a listing that may miss any
//! snapshot or marker.

use crate::check::{counterexample, exhaust};
use repository::env::Mutant;
use stateright::{Model, Property};

const SNAPSHOTS: u8 = 3;

/// A rule that is left out.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Slip {
    Engine(Mutant),
    /// The newest counts even if an earlier plan has forgotten it.
    ForgottenCounts,
    /// The newest counts even if its own `.last` marker takes it now.
    TakenByLastCounts,
    /// The newest counts even if it is incomplete.
    IncompleteCounts,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Default)]
struct Group {
    /// Snapshot objects, and those of them that are complete. Bit sets, as all below.
    finals: u8,
    complete: u8,
    ever: u8,
    /// Markers.
    plain: u8,
    last: u8,
    /// The newest plan's F, and how many plans there are.
    forgotten: u8,
    plans: u8,
    pruners: [Option<Planned>; 2],
    /// A plain marker took the last (complete) one.
    emptied: bool,
    without_complete: bool,
}

/// What a pruner is about to publish, if the generation is still free.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
struct Planned {
    g: u8,
    forgotten: u8,
    by_plain: u8,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Step {
    Commit { complete: bool },
    Mark { snapshot: u8, last: bool },
    Choose { pruner: u8, finals: u8, markers: u8 },
    Publish { pruner: u8 },
    DeleteForgotten,
}

#[derive(Clone, Copy)]
struct Rules {
    plans: u8,
    slip: Option<Slip>,
}

fn newest(set: u8) -> u8 {
    match set.checked_ilog2() {
        Some(bit) => 1 << bit,
        None => 0,
    }
}

impl Rules {
    /// F of the next plan, and what plain markers add to it.
    fn choose(&self, group: &Group, finals: u8, markers: u8) -> Planned {
        let taken = finals & group.last & markers;
        let mut rest = finals & !group.forgotten & !taken;
        match self.slip {
            Some(Slip::ForgottenCounts) => rest = finals & !taken,
            Some(Slip::TakenByLastCounts) => rest = finals & !group.forgotten,
            _ => {}
        }
        let complete = match self.slip {
            Some(Slip::IncompleteCounts) => rest,
            _ => rest & group.complete,
        };
        let mut kept = if complete == 0 { newest(rest) } else { newest(complete) };
        if self.slip == Some(Slip::Engine(Mutant::ForgetLastOfGroup)) {
            kept = 0;
        }
        let by_plain = rest & group.plain & markers & !kept & !group.forgotten & !taken;
        Planned { g: group.plans, forgotten: group.forgotten | taken | by_plain, by_plain }
    }
}

impl Model for Rules {
    type State = Group;
    type Action = Step;

    fn init_states(&self) -> Vec<Group> {
        vec![Group::default()]
    }

    fn actions(&self, group: &Group, steps: &mut Vec<Step>) {
        let all = (1 << SNAPSHOTS) - 1;
        if group.ever != all {
            steps.extend([true, false].map(|complete| Step::Commit { complete }));
        }
        for snapshot in (0..SNAPSHOTS).filter(|s| group.finals >> s & 1 == 1) {
            steps.extend([true, false].map(|last| Step::Mark { snapshot, last }));
        }
        let marked = group.plain | group.last;
        for pruner in 0..2 {
            if group.pruners[usize::from(pruner)].is_some() {
                steps.push(Step::Publish { pruner });
            } else if group.plans < self.plans {
                for finals in (0..=all).filter(|seen| seen & !group.finals == 0) {
                    for markers in (0..=all).filter(|seen| seen & !(marked & finals) == 0) {
                        steps.push(Step::Choose { pruner, finals, markers });
                    }
                }
            }
        }
        steps.push(Step::DeleteForgotten);
    }

    fn next_state(&self, group: &Group, step: Step) -> Option<Group> {
        let mut next = *group;
        match step {
            Step::Commit { complete } => {
                let new = group.ever + 1;
                next.ever |= new;
                next.finals |= new;
                next.complete |= if complete { new } else { 0 };
            }
            Step::Mark { snapshot, last: false } => next.plain |= 1 << snapshot,
            Step::Mark { snapshot, last: true } => next.last |= 1 << snapshot,
            Step::Choose { pruner, finals, markers } => {
                let planned = self.choose(group, finals, markers);
                next.pruners[usize::from(pruner)] = Some(planned);
            }
            Step::Publish { pruner } => {
                let planned = next.pruners[usize::from(pruner)].take()?;
                if planned.g == group.plans {
                    next.forgotten = planned.forgotten;
                    next.plans += 1;
                    let left = group.finals & !planned.forgotten;
                    next.emptied |= planned.by_plain != 0 && left == 0;
                    let took_complete = planned.by_plain & group.complete != 0;
                    next.without_complete |= took_complete && left & group.complete == 0;
                }
            }
            Step::DeleteForgotten => next.finals &= !group.forgotten,
        }
        (next != *group).then_some(next)
    }

    fn properties(&self) -> Vec<Property<Rules>> {
        vec![
            Property::always("plain markers leave a snapshot", |_, group: &Group| !group.emptied),
            Property::always("plain markers leave a complete one, if there was one", |_, group: &Group| {
                !group.without_complete
            }),
            Property::sometimes("the last one goes by its .last", |_, group: &Group| {
                group.ever != 0 && group.finals == 0
            }),
            Property::sometimes("a plain marker takes one", |_, group: &Group| {
                group.plain & group.forgotten & !group.last != 0
            }),
        ]
    }
}

#[test]
fn no_group_is_emptied_by_plain_markers() {
    exhaust("group, 2 plans", Rules { plans: 2, slip: None });
}

#[test]
fn every_slip_empties_a_group() {
    let slips = [
        Slip::Engine(Mutant::ForgetLastOfGroup),
        Slip::ForgottenCounts,
        Slip::TakenByLastCounts,
        Slip::IncompleteCounts,
    ];
    for slip in slips {
        counterexample(&format!("group, {slip:?}"), Rules { plans: 2, slip: Some(slip) });
    }
}

#[test]
#[ignore = "large: make model"]
fn large() {
    exhaust("group, 4 plans", Rules { plans: 4, slip: None });
}
