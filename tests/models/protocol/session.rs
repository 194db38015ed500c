//! A backup session, or an undelete: steps c0 to c6.

use super::{Named, Objects, Rules, Slip, Steps, Store};
use crate::set::Set;
use repository::env::Mutant;

#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Default)]
enum At {
    #[default]
    Done,
    /// c0
    Begin,
    /// c1
    Load,
    /// c2
    Find,
    Flush,
    /// c3
    Announce,
    /// c4
    LookAgain,
    FlushMended,
    /// c5
    Commit,
    /// c5, after an answer was lost
    Verify,
    /// c6
    Clean,
}

/// What a session remembers.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Default)]
pub(crate) struct Session {
    at: At,
    sid: u8,
    /// Sweeps that it read at c0.
    g0: u8,
    floor: u8,
    condemned: Set,
    forgotten: Set,
    /// The lowest `built` among the runs that it took locations from.
    lowest_built: u8,
    /// Packs of its index.
    known: Set,
    /// Packs that it wrote.
    own: Set,
    /// It inherits pages of snapshot 0.
    has_parent: bool,
    /// Chunks of its snapshot, and those of them that it never looked at: they are the parent's.
    chunks: Set,
    inherited: Set,
    /// Packs that it depends on.
    deps: Set,
    wait: Objects,
    anew: bool,
}

impl Session {
    pub(crate) fn new(sid: u8) -> Session {
        Session { at: At::Begin, sid, ..Session::default() }
    }

    pub(super) fn is_anew(&self) -> bool {
        self.anew
    }

    /// A process that is done remembers nothing.
    fn at(self, at: At) -> Session {
        if at == At::Done { Session::default() } else { Session { at, ..self } }
    }

    /// The next sid for the same session; nothing once the world is out of sids.
    fn next_sid(&mut self, rules: &Rules) -> bool {
        self.sid += rules.sessions;
        self.sid < rules.sids
    }
}

/// A successor: what was done, to what, and the store and session after it.
struct Out<'a, 'b> {
    steps: &'a mut Steps<'b>,
    i: usize,
}

impl Out<'_, '_> {
    fn to(&mut self, did: &'static str, what: Set, store: Store, session: Session) {
        let i = self.i;
        self.steps.push(did, what, |next| {
            next.store = store;
            next.sessions[i] = session;
        });
    }
}

/// What session `i` may do next.
pub(crate) fn steps(rules: &Rules, i: u8, steps: &mut Steps<'_>) {
    let i = usize::from(i);
    let (store, session) = (steps.world.store, steps.world.sessions[i]);
    let out = &mut Out { steps, i };
    match session.at {
        At::Done => {}
        At::Begin => begin(store, session, out),
        At::Load => load(rules, store, session, out),
        At::Find => find_all(rules, store, session, out),
        At::Flush | At::FlushMended => flush(rules, store, session, out),
        At::Announce => announce(rules, store, session, out),
        At::LookAgain => look_again(rules, store, session, out),
        At::Commit => commit(rules, store, session, out),
        At::Verify => verify(rules, store, session, out),
        At::Clean => {
            let mut store = store;
            store.pending.remove(session.sid);
            store.unseen.pending.remove(session.sid);
            out.to("c6 removes its pending record", Set::EMPTY, store, session.at(At::Done));
        }
    }
}

fn begin(store: Store, session: Session, out: &mut Out<'_, '_>) {
    for view in store.views() {
        let session = Session {
            g0: view.sweeps,
            floor: view.floor,
            condemned: view.condemned,
            forgotten: view.forgotten,
            own: session.own - view.condemned,
            ..session
        };
        out.to("c0 reads gc/", view.condemned, store, session.at(At::Load));
    }
}

fn load(rules: &Rules, store: Store, session: Session, out: &mut Out<'_, '_>) {
    for runs in Store::listings(store.live_runs, store.unseen.runs) {
        let floor = rules.floor(session.floor);
        let mut session = session.at(At::Find);
        session.known = store.indexed(runs, floor) - session.condemned;
        session.lowest_built = store.lowest_built(runs, floor, session.g0);
        session.chunks = if rules.undelete { store.bodies[0] } else { Set::one(1) };
        // packs of an earlier try count only if a fresh LIST shows them
        for listed in store.pack_listings() {
            let mut session = session;
            if !rules.breaks(Mutant::OwnPacksWithoutList) {
                session.own = session.own & listed;
            }
            out.to("c1 reads the index", session.known, store, session);
            let parent = store.finals(Set::one(0) - session.forgotten).next();
            if let (Some((_, chunks)), true) = (parent, rules.parent) {
                session.has_parent = true;
                session.inherited = chunks;
                session.chunks |= chunks;
                out.to("c1 takes snapshot 0 as its parent", session.known, store, session);
            }
            if session.own.is_empty() || rules.breaks(Mutant::OwnPacksWithoutList) {
                break;
            }
        }
    }
}

fn find_all(rules: &Rules, store: Store, session: Session, out: &mut Out<'_, '_>) {
    let wanted = session.chunks - session.inherited;
    find(rules, store, session, wanted, session.condemned, &mut |store, session| {
        let at = match (session.own.is_empty(), rules.breaks(Mutant::NoPending)) {
            (false, _) => At::Flush,
            (true, false) => At::Announce,
            (true, true) => At::LookAgain,
        };
        out.to("c2 finds or uploads its chunks", session.deps, store, session.at(at));
    });
}

/// Every way to give each of `wanted` a location: one that is known, or a new pack.
fn find(
    rules: &Rules,
    store: Store,
    session: Session,
    wanted: Set,
    condemned: Set,
    then: &mut dyn FnMut(Store, Session),
) {
    let Some(chunk) = wanted.iter().next() else { return then(store, session) };
    let rest = wanted - Set::one(chunk);
    let found = store.copies(chunk, (session.known | session.own) - condemned);
    for pack in found.iter() {
        let deps = session.deps | Set::one(pack);
        find(rules, store, Session { deps, ..session }, rest, condemned, then);
    }
    // an undelete has no source to read: it copies out of a pack that still exists
    let readable = !rules.undelete || !store.copies(chunk, store.packs).is_empty();
    if (found.is_empty() || rules.cold) && readable {
        let mut store = store;
        if let Some(pack) = store.put_pack(rules, chunk) {
            let (own, deps) = (session.own | Set::one(pack), session.deps | Set::one(pack));
            find(rules, store, Session { own, deps, ..session }, rest, condemned, then);
        }
    }
}

fn flush(rules: &Rules, mut store: Store, session: Session, out: &mut Out<'_, '_>) {
    if store.put_run(rules, session.own, session.g0).is_none() {
        return;
    }
    let mut session = session;
    let at = if session.at == At::FlushMended {
        if !rules.slips(Slip::NoWaitAfterMending) {
            session.wait = store.unseen;
        }
        At::LookAgain
    } else if rules.breaks(Mutant::NoPending) {
        At::LookAgain
    } else {
        At::Announce
    };
    out.to("publishes a run of its packs", session.own, store, session.at(at));
}

fn announce(rules: &Rules, mut store: Store, mut session: Session, out: &mut Out<'_, '_>) {
    store.pending.insert(session.sid);
    store.bodies[usize::from(session.sid)] = session.chunks;
    if rules.lag {
        store.unseen.pending.insert(session.sid);
    }
    if !rules.breaks(Mutant::NoWaitAtC3) {
        session.wait = store.unseen;
    }
    out.to("c3 announces itself", session.chunks, store, session.at(At::LookAgain));
}

fn look_again(rules: &Rules, mut store: Store, mut session: Session, out: &mut Out<'_, '_>) {
    store.settle(&mut session.wait);
    if rules.breaks(Mutant::NoRecheckAtC4) {
        return out.to("c4 is left out", Set::EMPTY, store, session.at(At::Commit));
    }
    if rules.breaks(Mutant::CommitOtherBytes) && !session.chunks.has(0) {
        // the snapshot grows after it was announced
        find(rules, store, session, Set::one(0), session.condemned, &mut |store, mut grown| {
            grown.chunks.insert(0);
            if grown.own == session.own {
                out.to("c4 adds chunk 0 to its snapshot", grown.deps, store, grown);
            }
        });
    }
    for view in store.views() {
        let reached = match rules.slip {
            Some(Slip::FloorOfSessionOnly) => session.g0,
            _ => session.g0.min(session.lowest_built),
        };
        if view.newest_floor > reached && !rules.breaks(Mutant::NoFloor) {
            start_anew(rules, store, session, out);
            continue;
        }
        let lost_parent =
            session.has_parent && view.forgotten.has(0) && !rules.breaks(Mutant::NoParentCheckAtC4);
        if !lost_parent && !session.deps.meets(view.condemned) {
            out.to("c4 finds nothing condemned", view.condemned, store, session.at(At::Commit));
            continue;
        }
        mend(rules, store, session, &view, lost_parent, out);
    }
}

/// Everything anew from c0 under a new sid, with the packs that it has written. Once.
fn start_anew(rules: &Rules, store: Store, session: Session, out: &mut Out<'_, '_>) {
    let mut anew = Session { sid: session.sid, own: session.own, anew: true, ..Session::default() };
    if session.anew || !anew.next_sid(rules) {
        return out.to("c4 is below the floor: gives up", Set::EMPTY, store, session.at(At::Done));
    }
    out.to("c4 is below the floor: anew", anew.own, store, anew.at(At::Begin));
}

fn mend(
    rules: &Rules,
    store: Store,
    session: Session,
    view: &super::store::View,
    lost_parent: bool,
    out: &mut Out<'_, '_>,
) {
    let sound = session.deps - view.condemned;
    let mut wanted =
        (session.chunks - session.inherited).filter(|chunk| store.copies(chunk, sound).is_empty());
    let mut mended = Session { deps: sound, ..session };
    if lost_parent {
        wanted |= session.inherited;
        mended.inherited = Set::EMPTY;
        mended.has_parent = false;
    }
    let floor = rules.floor(view.floor);
    for runs in Store::listings(store.live_runs, store.unseen.runs) {
        let mut mended = mended;
        mended.known |= store.indexed(runs, floor);
        if !rules.slips(Slip::FloorWithoutMendingRuns) {
            mended.lowest_built = mended.lowest_built.min(store.lowest_built(runs, floor, mended.g0));
        }
        find(rules, store, mended, wanted, view.condemned, &mut |store, mended| {
            let at = if mended.own == session.own { At::LookAgain } else { At::FlushMended };
            out.to("c4 mends", mended.deps, store, mended.at(at));
        });
    }
}

fn commit(rules: &Rules, mut store: Store, mut session: Session, out: &mut Out<'_, '_>) {
    let before = store;
    if store.put_final(rules, session.sid, session.chunks) {
        let to = session.chunks;
        out.to("c5 puts FINAL", to, store, session.at(At::Clean));
        if rules.breaks(Mutant::CommitTwice) {
            out.to("c5 puts FINAL; the answer is lost, it is sent again", to, store, session);
        }
        if rules.ambiguous {
            out.to("c5 puts FINAL; the answer is lost", to, store, session.at(At::Verify));
            let mut late = before;
            late.late_finals.insert(session.sid);
            out.to("c5 puts FINAL; it is on its way", to, late, session.at(At::Verify));
        }
    } else if rules.breaks(Mutant::CommitTwice) && matches!(store.snapshot(session.sid), Named::Final(_)) {
        out.to("c5 finds its own bytes", Set::EMPTY, store, session.at(At::Clean));
    } else if session.next_sid(rules) {
        out.to("c5 finds a TOMBSTONE: a new sid", Set::EMPTY, store, session.at(At::Announce));
    }
}

fn verify(rules: &Rules, store: Store, session: Session, out: &mut Out<'_, '_>) {
    let there = matches!(store.snapshot(session.sid), Named::Final(_));
    if there {
        out.to("c5 finds its own bytes", Set::EMPTY, store, session.at(At::Clean));
    }
    if !there || store.unseen.snapshots.has(session.sid) {
        let (mut store, mut renamed) = (store, session);
        if rules.slips(Slip::PendingOfLatePutGoes) {
            store.pending.remove(session.sid);
            store.unseen.pending.remove(session.sid);
        }
        if renamed.next_sid(rules) {
            out.to("c5 finds nothing: a new sid", Set::EMPTY, store, renamed.at(At::Announce));
        }
    }
}
