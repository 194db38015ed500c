//! Listings in pages while objects are replaced: a merged run takes the place of its inputs, a
//! newer plan or sweep that of an older one. Names are never reused.
//!
//! A page shows one object and whatever comes next in the order of the store, so an object that
//! exists throughout is always shown, and one that comes or goes meanwhile may not be.

use crate::check::{counterexample, exhaust};
use crate::set::Set;
use stateright::{Model, Property};

/// Places in the order of the store.
const PLACES: u8 = 6;
/// Objects at first.
const OBJECTS: u8 = 3;

#[derive(Clone, Copy, Debug)]
struct Rules {
    /// A replacement comes after what it replaces, as in stores that list by name.
    by_name: bool,
    /// Two listings have to agree.
    twice: bool,
    /// Nothing that was replaced is removed.
    kept: bool,
    replacements: u8,
    /// A replacement may stand for several objects, as a merged run does.
    merges: bool,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Default)]
struct World {
    /// What stands at which place, and the contents that each stands for.
    there: Set,
    used: Set,
    covers: [Set; PLACES as usize],
    replaced: u8,
    /// Inputs that are to be deleted, their replacement being there.
    doomed: Set,
    /// Where the lister is, what this listing and the one before showed.
    cursor: u8,
    shown: Set,
    before: Option<Set>,
    done: bool,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Step {
    Replace { inputs: Set, place: u8 },
    Delete { inputs: Set },
    Page,
    Finish,
}

impl Model for Rules {
    type State = World;
    type Action = Step;

    /// Objects at any places.
    fn init_states(&self) -> Vec<World> {
        let places = Set::ALL.subsets().filter(|places| places.iter().all(|place| place < PLACES));
        places
            .filter(|places| places.iter().count() == usize::from(OBJECTS))
            .map(|there| {
                let mut world = World { there, used: there, ..World::default() };
                for (content, place) in (0..).zip(there.iter()) {
                    world.covers[usize::from(place)] = Set::one(content);
                }
                world
            })
            .collect()
    }

    fn actions(&self, world: &World, steps: &mut Vec<Step>) {
        if world.done {
            return;
        }
        steps.push(if world.cursor < PLACES { Step::Page } else { Step::Finish });
        let inputs = world.there - world.doomed;
        if world.replaced < self.replacements {
            for inputs in inputs.subsets().filter(|inputs| !inputs.is_empty()) {
                if !self.merges && inputs.iter().count() > 1 {
                    continue;
                }
                let last = inputs.iter().max().unwrap_or(0);
                let free = (Set::ALL - world.used).iter().filter(|&place| place < PLACES);
                let free = free.filter(|&place| !self.by_name || place > last);
                steps.extend(free.map(|place| Step::Replace { inputs, place }));
            }
        }
        if !self.kept {
            steps.extend(world.doomed.iter().map(|place| Step::Delete { inputs: Set::one(place) }));
        }
    }

    fn next_state(&self, world: &World, step: Step) -> Option<World> {
        let mut next = *world;
        match step {
            Step::Replace { inputs, place } => {
                next.used.insert(place);
                next.there.insert(place);
                let covers = inputs.iter().map(|input| world.covers[usize::from(input)]);
                next.covers[usize::from(place)] = covers.fold(Set::EMPTY, |all, more| all | more);
                next.doomed |= inputs;
                next.replaced += 1;
            }
            Step::Delete { inputs } => {
                next.there -= inputs;
                next.doomed -= inputs;
            }
            Step::Page => {
                // up to the next object that is there now
                next.cursor = (world.cursor..PLACES).find(|&p| world.there.has(p)).unwrap_or(PLACES);
                if next.cursor < PLACES {
                    next.shown.insert(next.cursor);
                    next.cursor += 1;
                }
            }
            Step::Finish => {
                let gone = !(world.shown - world.there).is_empty();
                if gone || self.twice && world.before != Some(world.shown) {
                    // a listed object that is gone, or two listings that differ: list again
                    next.before = (!gone).then_some(world.shown);
                    (next.cursor, next.shown) = (0, Set::EMPTY);
                } else {
                    next.done = true;
                }
            }
        }
        (next != *world).then_some(next)
    }

    fn properties(&self) -> Vec<Property<Rules>> {
        vec![
            Property::always("a listing shows all contents", |_, world: &World| {
                let shown = world.shown.iter().map(|place| world.covers[usize::from(place)]);
                !world.done || shown.fold(Set::EMPTY, |all, more| all | more) == (0..OBJECTS).collect()
            }),
            Property::sometimes("a listing ends after replacements", |rules: &Rules, world: &World| {
                world.done && world.replaced == rules.replacements
            }),
        ]
    }
}

const BY_NAME: Rules = Rules { by_name: true, twice: false, kept: false, replacements: 3, merges: true };

#[test]
fn by_name_one_listing_is_enough() {
    exhaust("pages, by name", BY_NAME);
}

#[test]
fn without_order_two_listings_agree_against_one_replacement() {
    let unordered = Rules { by_name: false, replacements: 1, ..BY_NAME };
    counterexample("pages, no order, one listing", unordered);
    exhaust("pages, no order, two agree", Rules { twice: true, ..unordered });
}

/// What two listings that agree cannot do: both may be torn by replacements of one object.
#[test]
fn without_order_two_torn_listings_may_agree() {
    let twice = Rules { by_name: false, twice: true, replacements: 2, merges: false, ..BY_NAME };
    counterexample("pages, no order, two agree, two replacements", twice);
}

/// The rule that needs no agreement: nothing that was replaced goes.
#[test]
fn without_order_and_removal_one_listing_is_enough() {
    exhaust("pages, no order, kept", Rules { by_name: false, kept: true, ..BY_NAME });
}
