//! What worlds must reach.

use super::{Goal, Rules, Store, World};
use crate::set::Set;
use stateright::Property;

impl Goal {
    pub(super) fn property(self) -> Property<Rules> {
        match self {
            Goal::Condemned => Property::sometimes("a pack is condemned", |_, world: &World| {
                finished(&world.store).any(|g| !world.store.generation(g).condemned.is_empty())
            }),
            Goal::CommitAfterSweep => Property::sometimes("a commit after a sweep", |_, world: &World| {
                let later = Set::ALL - Set::one(0);
                finished(&world.store).next().is_some() && world.store.finals(later).next().is_some()
            }),
            Goal::Deleted => Property::sometimes("a pack and snapshot 0 are deleted", |_, world: &World| {
                let store = &world.store;
                (0..store.pack_count).any(|pack| !store.packs.has(pack))
                    && store.finals(Set::one(0)).next().is_none()
            }),
            Goal::FloorRises => Property::sometimes("the floor rises", |_, world: &World| {
                finished(&world.store).any(|g| world.store.generation(g).sweep_floor > 0)
            }),
            Goal::DeadShrinks => Property::sometimes("a pack leaves dead", |_, world: &World| {
                let store = &world.store;
                finished(store)
                    .skip(1)
                    .any(|g| !(store.generation(g - 1).dead - store.generation(g).dead).is_empty())
            }),
            Goal::ForgottenShrinks => Property::sometimes("a sid leaves F", |_, world: &World| {
                let store = &world.store;
                (1..store.plans)
                    .any(|g| !(store.generation(g - 1).forgotten - store.generation(g).forgotten).is_empty())
            }),
            Goal::Anew => Property::sometimes("a session starts anew", |_, world: &World| {
                world.sessions.iter().any(|session| session.is_anew())
            }),
        }
    }
}

/// Generations that have a sweep.
fn finished(store: &Store) -> impl Iterator<Item = u8> + '_ {
    (0..store.plans).filter(|&g| store.generation(g).swept)
}
