//! The repair of the index, and a session that wants chunk 1.

use super::{Rules, Slip, Step, Store, World};
use crate::set::Set;

/// `repair index`, step by step.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Default)]
pub(super) struct Repair {
    begun: u8,
    at: RepairAt,
    /// Sweeps and COND that it read first.
    built: u8,
    condemned: Set,
    dead: Set,
    /// Packs to name in its run, those of them that it relies on, and chunks to copy.
    adopted: Set,
    relied: Set,
    wanted: Set,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Default)]
enum RepairAt {
    #[default]
    Idle,
    List,
    Copy,
    Publish,
    LookAgain,
}

impl Repair {
    fn ended(self) -> Repair {
        Repair { begun: self.begun, ..Repair::default() }
    }
}

pub(super) fn repair(rules: &Rules, world: &World, steps: &mut Vec<Step>) {
    let (store, repair) = (&world.store, world.repair);
    let mut push = |did, to, world: World, repair: Repair| {
        let next = World { repair, ..world };
        steps.push(Step { who: "repair", did, to, next });
    };
    match repair.at {
        RepairAt::Idle if repair.begun < rules.repairs && world.damaged => {
            let (begun, at, built) = (repair.begun + 1, RepairAt::List, store.sweeps);
            let (mut condemned, mut dead) = (store.condemned(), store.dead);
            match rules.slip {
                Some(Slip::AdoptsDead) => (condemned, dead) = (condemned - dead, Set::EMPTY),
                Some(Slip::ReliesOnCandidates) => condemned = dead,
                Some(Slip::LeavesOutCandidates) => dead = condemned,
                _ => {}
            }
            let next = Repair { begun, at, built, condemned, dead, ..repair };
            push("reads gc/", condemned, *world, next);
        }
        RepairAt::Idle => {}
        RepairAt::List => {
            let (adopted, relied) = (store.packs - repair.dead, store.packs - repair.condemned);
            let missing = store.finals().filter(|chunk| store.holding(chunk, relied).is_empty());
            let next = Repair { at: RepairAt::Copy, adopted, relied, wanted: missing, ..repair };
            push("lists packs and reads trailers", adopted, *world, next);
        }
        RepairAt::Copy => match repair.wanted.iter().next() {
            None => push("has copied all", Set::EMPTY, *world, Repair { at: RepairAt::Publish, ..repair }),
            Some(chunk) if store.holding(chunk, store.packs).is_empty() => {
                push("reports a chunk as lost", Set::one(chunk), *world, repair.ended());
            }
            Some(chunk) => {
                let (mut next, mut copied) = (*world, repair);
                let Some(copy) = next.store.put_pack(chunk) else { return };
                copied.wanted.remove(chunk);
                copied.adopted.insert(copy);
                copied.relied.insert(copy);
                next.repaired_by_copy = true;
                push("copies a chunk", Set::one(chunk), next, copied);
            }
        },
        RepairAt::Publish => {
            let mut next = *world;
            let built = if rules.slips(Slip::BuiltReadLate) { store.sweeps } else { repair.built };
            if !next.store.put_run(repair.adopted, built) {
                return;
            }
            let repair = Repair { at: RepairAt::LookAgain, built, ..repair };
            push("publishes a run", repair.adopted, next, repair);
        }
        RepairAt::LookAgain => look_again(rules, world, &mut push),
    }
}

/// As a session at c4: below the floor, or with something condemned by now, it begins anew.
fn look_again(rules: &Rules, world: &World, push: &mut dyn FnMut(&'static str, Set, World, Repair)) {
    let (store, repair) = (&world.store, world.repair);
    let condemned = match rules.slip {
        Some(Slip::AdoptsDead | Slip::ReliesOnCandidates) => Set::EMPTY,
        _ => store.condemned() & repair.relied,
    };
    let overtaken = store.newest_floor() > repair.built || !condemned.is_empty();
    let mut next = *world;
    if overtaken && !rules.slips(Slip::NoLookAgain) {
        push("is overtaken: has to begin anew", condemned, next, repair.ended());
    } else {
        next.sound = true;
        push("says that all is well", repair.adopted, next, repair.ended());
    }
}

/// A session, step by step.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Default)]
pub(super) enum Session {
    #[default]
    Begin,
    /// With g0 and COND of c0.
    Load(u8, Set),
    /// With the pack that it depends on, and what the newest floor is compared with.
    Announce(u8, u8),
    LookAgain(u8, u8),
    Commit(u8),
    Done,
}

pub(super) fn session(world: &World, steps: &mut Vec<Step>) {
    let store = &world.store;
    let mut push = |did, to, store: Store, session: Session| {
        let next = World { session, store, ..*world };
        steps.push(Step { who: "session", did, to, next });
    };
    match world.session {
        Session::Begin => {
            let next = Session::Load(store.sweeps, store.condemned());
            push("c0 reads gc/", store.condemned(), *store, next);
        }
        Session::Load(g0, condemned) => {
            let known = store.holding(1, store.indexed() - condemned);
            let reached = store.lowest_built(g0).min(g0);
            for pack in known.iter() {
                push("c2 finds chunk 1", Set::one(pack), *store, Session::Announce(pack, reached));
            }
            let mut next = *store;
            if let (true, Some(pack)) = (known.is_empty(), next.put_pack(1))
                && next.put_run(Set::one(pack), g0)
            {
                push("c2 uploads chunk 1", Set::one(pack), next, Session::Announce(pack, g0));
            }
        }
        Session::Announce(pack, reached) => {
            let next = Store { pending: true, ..*store };
            push("c3 announces itself", Set::one(pack), next, Session::LookAgain(pack, reached));
        }
        Session::LookAgain(pack, reached) => {
            // mending is the other model's: this one ends
            let overtaken = store.newest_floor() > reached || store.condemned().has(pack);
            let (did, next) = match overtaken {
                true => ("c4 is overtaken: ends", Session::Done),
                false => ("c4 finds nothing condemned", Session::Commit(pack)),
            };
            push(did, Set::one(pack), *store, next);
        }
        Session::Commit(pack) => {
            let next = Store { committed: true, ..*store };
            push("c5 commits", Set::one(pack), next, Session::Done);
        }
        Session::Done => {}
    }
}
