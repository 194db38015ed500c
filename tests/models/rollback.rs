//! A provider that rolls the store back: old plans and sweeps come back, deleted packs do not.
//!
//! A client can only compare with what it has seen itself. What it must never do is to take a pack
//! for a location that it has seen dead. One client is watched; others prune beside it.

use crate::check::{counterexample, exhaust};
use crate::set::Set;
use stateright::{Model, Property};

const GENERATIONS: u8 = 3;

/// What a client keeps between its runs.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Memory {
    Nothing,
    /// The highest g (gc.md, section 2).
    Generation,
    /// The highest g and the hash of its sweep, which each later record repeats in `prev`.
    Record,
}

#[derive(Clone, Copy, Debug)]
struct Rules {
    memory: Memory,
    /// There are pruners that remember nothing, such as new machines.
    newcomers: bool,
    /// Sweeps below the newest are removed.
    old_removed: bool,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Default)]
struct Sweep {
    /// Stands for its hash. Two sweeps of one generation differ.
    hash: u8,
    /// Generation n condemns pack n, or pack n + 4 where it takes the place of a lost one.
    dead: Set,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Default)]
struct World {
    sweeps: [Sweep; GENERATIONS as usize],
    /// The number of generations that the store shows.
    count: u8,
    /// Those before this one were removed.
    oldest: u8,
    hashes: u8,
    rollbacks: u8,
    /// The count and the newest hash that the watched client has seen, and all that was dead.
    seen: (u8, u8),
    seen_dead: Set,
    /// The count and hash that a pruner with a memory has seen.
    pruner_seen: (u8, u8),
    noticed: bool,
    fooled: bool,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Step {
    /// A pruner that remembers.
    Prune,
    /// One that does not.
    PruneAnew,
    RemoveOld,
    RollBack {
        to: u8,
    },
    Read,
}

impl World {
    fn newest(&self) -> Sweep {
        match self.count.checked_sub(1) {
            Some(newest) => self.sweeps[usize::from(newest)],
            None => Sweep::default(),
        }
    }
}

impl Rules {
    /// Whether a client that remembers `seen` trusts the store.
    fn trusts(&self, world: &World, (count, hash): (u8, u8)) -> bool {
        match self.memory {
            Memory::Nothing => true,
            Memory::Generation => world.count >= count,
            // the record itself, or, once that is removed, nothing to compare with
            Memory::Record if world.count >= count => match count.checked_sub(1) {
                Some(g) if g >= world.oldest => world.sweeps[usize::from(g)].hash == hash,
                _ => true,
            },
            Memory::Record => false,
        }
    }

    fn prune(&self, world: &World) -> Option<World> {
        if world.count >= GENERATIONS {
            return None;
        }
        let mut next = *world;
        next.hashes += 1;
        let pack = if world.rollbacks == 0 { world.count } else { world.count + 4 };
        let dead = world.newest().dead | Set::one(pack);
        next.sweeps[usize::from(world.count)] = Sweep { hash: next.hashes, dead };
        next.count += 1;
        Some(next)
    }
}

impl Model for Rules {
    type State = World;
    type Action = Step;

    fn init_states(&self) -> Vec<World> {
        vec![World::default()]
    }

    fn actions(&self, world: &World, steps: &mut Vec<Step>) {
        steps.extend([Step::Prune, Step::Read]);
        if self.newcomers {
            steps.push(Step::PruneAnew);
        }
        if self.old_removed {
            steps.push(Step::RemoveOld);
        }
        if world.rollbacks < 2 {
            steps.extend((world.oldest..world.count).map(|to| Step::RollBack { to }));
        }
    }

    fn next_state(&self, world: &World, step: Step) -> Option<World> {
        let mut next = *world;
        match step {
            Step::Prune if !self.trusts(world, world.pruner_seen) => return None,
            Step::Prune => {
                next = self.prune(world)?;
                next.pruner_seen = (next.count, next.newest().hash);
            }
            Step::PruneAnew => next = self.prune(world)?,
            Step::RemoveOld => {
                next.oldest = world.count.checked_sub(1)?;
                next.sweeps[..usize::from(next.oldest)].fill(Sweep::default());
            }
            Step::RollBack { to } => {
                next.sweeps[usize::from(to)..].fill(Sweep::default());
                next.count = to;
                next.rollbacks += 1;
            }
            Step::Read if !self.trusts(world, world.seen) => next.noticed = true,
            Step::Read => {
                next.fooled |= !(world.seen_dead - world.newest().dead).is_empty();
                next.seen = (world.count, world.newest().hash);
                next.seen_dead |= world.newest().dead;
            }
        }
        (next != *world).then_some(next)
    }

    fn properties(&self) -> Vec<Property<Rules>> {
        vec![
            Property::always("what was seen dead stays dead", |_, world: &World| !world.fooled),
            Property::sometimes(
                "a rollback is noticed, or nothing is remembered",
                |rules: &Rules, world: &World| world.noticed || rules.memory == Memory::Nothing,
            ),
        ]
    }
}

const KEPT: Rules = Rules { memory: Memory::Record, newcomers: true, old_removed: false };

#[test]
fn the_highest_generation_is_enough_if_everyone_remembers_it() {
    exhaust("rollback, g", Rules { memory: Memory::Generation, newcomers: false, ..KEPT });
    exhaust("rollback, g and hash, records kept", KEPT);
}

#[test]
fn without_memory_a_rollback_fools() {
    let nothing = Rules { memory: Memory::Nothing, newcomers: false, ..KEPT };
    counterexample("rollback, nothing remembered", nothing);
}

/// Limits of the rule: the generation is reached again by somebody who remembers nothing.
#[test]
fn a_generation_that_is_reached_again_fools() {
    counterexample("rollback, g, newcomers", Rules { memory: Memory::Generation, ..KEPT });
    counterexample("rollback, g and hash, newcomers, records removed", Rules { old_removed: true, ..KEPT });
}
