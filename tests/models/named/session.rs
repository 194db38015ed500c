//! A session that wants chunk 1. Its sid is 1; nobody puts tombstones.

use super::{Objects, PACKS, Rules, Slip, Step, Store, World, push};
use crate::set::Set;

#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
enum At {
    Begin,
    Find,
    Announce,
    LookAgain,
    Commit,
    Clean,
    Done,
    /// The operator knows that it is dead.
    Dead,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(super) struct Session {
    at: At,
    condemned: Set,
    /// The pack that it depends on.
    pack: u8,
    wait: Objects,
}

const NAME: u8 = 9;
const SID: u8 = 1;

impl Session {
    pub(super) fn new() -> Session {
        Session { at: At::Begin, condemned: Set::EMPTY, pack: 0, wait: Objects::default() }
    }
}

/// COND of all unswept plans; a slip believes one of them.
fn condemned(rules: &Rules, store: &Store) -> Vec<Set> {
    let mut all = Vec::new();
    for view in store.views() {
        if rules.slips(Slip::OnePlanCounts) && !view.plans.is_empty() {
            all.extend(view.plans.iter().map(|plan| store.condemned(&view, Set::one(plan))));
        } else {
            all.push(store.condemned(&view, view.plans));
        }
    }
    all.sort_unstable();
    all.dedup();
    all
}

/// Every location of chunk 1 that is not condemned, else a new pack.
fn find(rules: &Rules, world: &World, did: &'static str, at: At, steps: &mut Vec<Step>) {
    let store = &world.store;
    let known = store.holding(1, store.packs - world.session.condemned);
    for pack in known.iter() {
        let mut next = *world;
        next.session = Session { at, pack, condemned: Set::EMPTY, ..world.session };
        push(steps, NAME, did, Set::one(pack), next);
    }
    if known.is_empty() && store.pack_count < PACKS {
        let (mut next, pack) = (*world, store.pack_count);
        next.store.pack_count += 1;
        next.store.packs.insert(pack);
        next.store.holds_1.insert(pack);
        if rules.lag {
            next.store.unseen.packs.insert(pack);
        }
        next.session = Session { at, pack, condemned: Set::EMPTY, ..world.session };
        if at == At::LookAgain {
            next.session.wait = next.store.unseen;
        }
        push(steps, NAME, "uploads chunk 1", Set::one(pack), next);
    }
}

/// What the session may do next, and what the operator may do to it.
pub(super) fn steps(rules: &Rules, world: &World, steps: &mut Vec<Step>) {
    let (store, session) = (&world.store, world.session);
    let go = |at: At| World { session: Session { at, ..session }, ..*world };
    match session.at {
        At::Begin => {
            for condemned in condemned(rules, store) {
                let mut next = go(At::Find);
                next.session.condemned = condemned;
                push(steps, NAME, "c0 reads gc/", condemned, next);
            }
        }
        At::Find => find(rules, world, "c2 finds chunk 1", At::Announce, steps),
        At::Announce => {
            let mut next = go(At::LookAgain);
            next.store.pending.insert(SID);
            if rules.lag {
                next.store.unseen.pending.insert(SID);
            }
            next.session.wait = next.store.unseen;
            push(steps, NAME, "c3 announces itself", Set::one(session.pack), next);
        }
        At::LookAgain => {
            let mut settled = go(At::LookAgain);
            settled.store.settle(&mut settled.session.wait);
            for condemned in condemned(rules, &settled.store) {
                if condemned.has(session.pack) {
                    settled.session.condemned = condemned;
                    find(rules, &settled, "c4 mends", At::LookAgain, steps);
                } else {
                    let mut next = settled;
                    next.session.at = At::Commit;
                    push(steps, NAME, "c4 finds nothing condemned", condemned, next);
                }
            }
        }
        At::Commit => {
            let mut next = go(At::Clean);
            next.store.finals.insert(SID);
            if rules.lag {
                next.store.unseen.finals.insert(SID);
            }
            push(steps, NAME, "c5 puts FINAL", Set::one(session.pack), next);
        }
        At::Clean => {
            let mut next = go(At::Done);
            next.session = Session { at: At::Done, ..Session::new() };
            next.store.pending.remove(SID);
            next.store.unseen.pending.remove(SID);
            push(steps, NAME, "c6 removes its pending record", Set::EMPTY, next);
        }
        At::Done | At::Dead => {}
    }
    operate(rules, world, steps);
}

fn operate(rules: &Rules, world: &World, steps: &mut Vec<Step>) {
    let session = world.session;
    let pending = world.store.pending.has(SID);
    if rules.drop && !matches!(session.at, At::Done | At::Dead) {
        let mut next = *world;
        next.session = Session { at: At::Dead, ..Session::new() };
        push(steps, 8, "the session dies", Set::EMPTY, next);
    }
    let droppable = rules.drop && session.at == At::Dead
        || rules.slips(Slip::DropsTheLiving)
        || rules.slips(Slip::PrunerDropsSessions);
    if pending && droppable {
        let mut next = *world;
        next.store.pending.remove(SID);
        next.store.unseen.pending.remove(SID);
        push(steps, 8, "drops the session", Set::one(SID), next);
    }
}
