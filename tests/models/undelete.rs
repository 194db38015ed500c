//! `undelete`: a forgotten snapshot becomes a new one, while prune takes away what it is made of.
//!
//! That it keeps to c0 to c6 as any session is checked in worlds.rs, with lag and merges. Here:
//! which packs it may use, which it may only copy from, and under which name it commits. At first
//! snapshot 0 is in F; its chunk 0 lies in a dead pack, its chunk 1 in one that is not condemned yet.

use crate::check::{counterexample, exhaust};
use crate::set::Set;
use stateright::{Model, Property};
use std::fmt;

const PACKS: u8 = 6;
const OLD: u8 = 0;
const NEW: u8 = 1;
const CHUNKS: Set = Set(0b11);

/// A rule that is left out.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Slip {
    /// A dead pack that still exists is a location.
    UsesDead,
    /// So is a candidate.
    UsesCandidates,
    /// The old snapshot is taken as a parent: its chunks are inherited without a look.
    Inherits,
    /// It commits under the old name, which is in F for ever.
    OldName,
    NoPending,
    NoLookAgain,
}

#[derive(Clone, Copy)]
struct Rules {
    generations: u8,
    slip: Option<Slip>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Default)]
enum At {
    #[default]
    Begin,
    Read,
    Find,
    Announce,
    LookAgain,
    Commit,
    Restored,
    /// It has said that too much is gone.
    Gone,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Default)]
struct World {
    packs: Set,
    pack_count: u8,
    /// Packs that hold chunk 1; the others hold chunk 0.
    holds_1: Set,
    finals: Set,
    pending: bool,
    /// The pruner: generations planned and swept, what p3 saw, and the records.
    plans: u8,
    sweeps: u8,
    seen: bool,
    candidates: Set,
    /// What p5 has decided to condemn, if p6 is to come.
    marked: Option<Set>,
    dead: Set,
    /// The undelete.
    at: At,
    condemned: Set,
    deps: Set,
    copied: bool,
}

#[derive(Clone, Copy, PartialEq, Eq)]
struct Step {
    did: &'static str,
    to: Set,
    next: World,
}

impl fmt::Debug for Step {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} {:?}", self.did, self.to)
    }
}

impl World {
    fn holding(&self, chunk: u8, among: Set) -> Set {
        among.filter(|pack| self.holds_1.has(pack) == (chunk == 1))
    }

    fn condemned(&self) -> Set {
        self.dead | if self.plans > self.sweeps { self.candidates } else { Set::EMPTY }
    }

    fn missing(&self, among: Set) -> Set {
        CHUNKS.filter(|chunk| self.holding(chunk, among).is_empty())
    }

    /// One location each for the chunks of the new snapshot: every choice.
    fn kept(&self, among: Set) -> Vec<Set> {
        CHUNKS.iter().fold(vec![Set::EMPTY], |kept, chunk| {
            let packs = self.holding(chunk, among);
            let with = |pack: u8| kept.iter().map(move |set| *set | Set::one(pack));
            packs.iter().flat_map(with).collect()
        })
    }
}

impl Rules {
    /// What the undelete may not use as it is.
    fn unusable(&self, world: &World) -> Set {
        match self.slip {
            Some(Slip::UsesDead) => world.condemned() - world.dead,
            Some(Slip::UsesCandidates) => world.dead,
            _ => world.condemned(),
        }
    }

    fn undelete(&self, world: &World, out: &mut Vec<Step>) {
        let mut push = |did, to, at, next| out.push(Step { did, to, next: World { at, ..next } });
        match world.at {
            At::Begin => {
                let next = World { condemned: self.unusable(world), ..*world };
                push("c0 reads gc/", next.condemned, At::Read, next);
            }
            At::Read if !world.finals.has(OLD) => push("finds no snapshot", Set::EMPTY, At::Gone, *world),
            At::Read if self.slip == Some(Slip::Inherits) => {
                push("c1 inherits all", Set::EMPTY, At::Announce, *world);
            }
            At::Read => push("c1 reads the old snapshot", CHUNKS, At::Find, *world),
            At::Find => self.find(world, At::Announce, &mut push),
            At::Announce => {
                let next = World { pending: self.slip != Some(Slip::NoPending), ..*world };
                push("c3 announces the new snapshot", world.deps, At::LookAgain, next);
            }
            At::LookAgain => {
                let condemned = self.unusable(world);
                let (none, slip) = (Set::EMPTY, self.slip);
                let next = World { condemned: none, ..*world };
                if slip == Some(Slip::NoLookAgain) || !world.deps.meets(condemned) {
                    return push("c4 finds nothing condemned", condemned, At::Commit, next);
                }
                let deps = world.deps - condemned;
                self.find(&World { condemned, deps, ..*world }, At::LookAgain, &mut push);
            }
            At::Commit => {
                let mut next = *world;
                let sid = if self.slip == Some(Slip::OldName) { OLD } else { NEW };
                next.finals.insert(sid);
                push("c5 commits", Set::one(sid), At::Restored, next);
            }
            At::Restored | At::Gone => {}
        }
    }

    /// One chunk after the other: a location that may be used, or a copy out of any pack that is
    /// still there.
    fn find(&self, world: &World, then: At, push: &mut dyn FnMut(&'static str, Set, At, World)) {
        let missing = world.missing(world.deps);
        let Some(chunk) = missing.iter().next() else {
            return push("c2 has all chunks", world.deps, then, World { condemned: Set::EMPTY, ..*world });
        };
        let usable = world.holding(chunk, world.packs - world.condemned);
        let mut next = *world;
        for pack in usable.iter() {
            next.deps = world.deps | Set::one(pack);
            push("c2 finds a location", Set::one(pack), At::Find, next);
        }
        if !usable.is_empty() || world.pack_count >= PACKS {
            return;
        }
        if world.holding(chunk, world.packs).is_empty() {
            return push("finds that a chunk is gone", Set::one(chunk), At::Gone, *world);
        }
        let copy = world.pack_count;
        next.pack_count += 1;
        next.packs.insert(copy);
        if chunk == 1 {
            next.holds_1.insert(copy);
        }
        next.deps = world.deps | Set::one(copy);
        next.copied = true;
        push("copies a chunk", Set::one(chunk), At::Find, next);
    }

    /// Any prune: p1 to p4 at once, p5, p6, and deletions at any time.
    fn prune(&self, world: &World, out: &mut Vec<Step>) {
        let mut push = |did, to, next| out.push(Step { did, to, next });
        for pack in (world.dead & world.packs).iter() {
            let mut next = *world;
            next.packs.remove(pack);
            push("prune deletes a pack", Set::one(pack), next);
        }
        if world.finals.has(OLD) {
            let mut next = *world;
            next.finals.remove(OLD);
            push("prune deletes the old snapshot", Set::one(OLD), next);
        }
        let (committed, undead) = (world.finals.has(NEW), world.packs - world.dead);
        let new = committed || world.pending;
        if world.plans == world.sweeps && world.plans < self.generations {
            for kept in if new { world.kept(undead) } else { vec![Set::EMPTY] } {
                let candidates = undead - kept;
                let plans = world.plans + 1;
                push("prune plans", candidates, World { plans, candidates, seen: new, ..*world });
            }
        }
        if let Some(condemned) = world.marked {
            let (sweeps, dead) = (world.plans, world.dead | condemned);
            let next = World { sweeps, dead, candidates: Set::EMPTY, marked: None, ..*world };
            push("prune sweeps", dead, next);
        } else if world.plans > world.sweeps {
            let missing = world.missing(undead - world.candidates);
            let rescued = match new && !world.seen && !missing.is_empty() {
                true => world.kept(undead),
                false => vec![Set::EMPTY],
            };
            for rescued in rescued {
                let condemned = world.candidates - rescued;
                push("prune marks again", condemned, World { marked: Some(condemned), ..*world });
            }
        }
    }
}

impl Model for Rules {
    type State = World;
    type Action = Step;

    fn init_states(&self) -> Vec<World> {
        let packs = Set(0b11);
        let (holds_1, finals, dead) = (Set::one(1), Set::one(OLD), Set::one(0));
        vec![World { packs, pack_count: 2, holds_1, finals, dead, ..World::default() }]
    }

    fn actions(&self, world: &World, out: &mut Vec<Step>) {
        self.undelete(world, out);
        self.prune(world, out);
    }

    fn next_state(&self, _: &World, step: Step) -> Option<World> {
        Some(step.next)
    }

    fn properties(&self) -> Vec<Property<Rules>> {
        vec![
            Property::always("the new snapshot is whole", |_, world: &World| {
                !world.finals.has(NEW) || world.missing(world.packs - world.dead).is_empty()
            }),
            Property::always("what is reported as restored stays", |_, world: &World| {
                world.at != At::Restored || world.finals.has(NEW)
            }),
            Property::sometimes("restored after the old one is gone", |_, world: &World| {
                world.at == At::Restored && !world.finals.has(OLD) && !world.packs.has(0) && world.copied
            }),
            Property::sometimes("too late", |_, world: &World| world.at == At::Gone),
        ]
    }
}

const RULES: Rules = Rules { generations: 2, slip: None };

#[test]
fn what_comes_back_stays() {
    exhaust("undelete apart", RULES);
}

#[test]
fn every_slip_loses_something() {
    let slips = [
        Slip::UsesDead,
        Slip::UsesCandidates,
        Slip::Inherits,
        Slip::OldName,
        Slip::NoPending,
        Slip::NoLookAgain,
    ];
    for slip in slips {
        counterexample(&format!("undelete apart, {slip:?}"), Rules { slip: Some(slip), ..RULES });
    }
}

#[test]
#[ignore = "large: make model"]
fn large() {
    exhaust("undelete apart, 4 generations", Rules { generations: 4, ..RULES });
}
