//! Stores without put-if-absent: one pruner, plans under the names of processes, no tombstones.

use crate::crash::{crash_everywhere, is_sound, request};
use bytes::Bytes;
use futures::StreamExt;
use futures::future::BoxFuture;
use futures::stream::{BoxStream, empty};
use repo_format::config::{Chunking, StoreMode};
use repo_format::layout::ObjectName;
use repo_format::{ProcessId, SnapshotId};
use repository::backup::backup;
use repository::forget::forget;
use repository::progress::Progress;
use repository::prune::{MaxUnused, PruneOptions, PruneReport, prune};
use repository::store::fault::{Fault, FaultDriver, Verb};
use repository::store::{Driver, DriverError, MemoryDriver, ObjectMeta, PutPayload};
use repository::{ErrorKind, Result, pending};
use std::ops::Range;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;
use tests::engine::{Bench, run, volume};

pub(crate) fn options(window: u64) -> PruneOptions {
    PruneOptions {
        undelete_window: Duration::from_secs(window),
        max_unused: MaxUnused::Percent(0.0),
        ..PruneOptions::default()
    }
}

pub(crate) fn prune_on(bench: &Bench, driver: Arc<dyn Driver>, options: PruneOptions) -> Result<PruneReport> {
    let repository = bench.open_on(driver, &bench.owner)?;
    run(prune(&repository, options, &Arc::new(Progress::default())))
}

pub(crate) fn pruned(bench: &Bench, options: PruneOptions) -> Result<PruneReport> {
    prune_on(bench, Arc::new(bench.store.clone()), options)
}

/// The processes that an error asks to take over.
pub(crate) fn named_dead(error: &repository::Error) -> Vec<ProcessId> {
    let text = error.to_string();
    assert!(error.kind() == ErrorKind::Conflict && text.contains("dead for 15 minutes"), "{text}");
    let words = text.split("--take-over ").skip(1);
    words.map(|rest| ProcessId::parse(rest.get(..32).unwrap()).unwrap()).collect()
}

/// A prune that does what its error says, if it has to. Says whether it had to.
pub(crate) fn prune_taking_over(bench: &Bench, window: u64) -> (PruneReport, bool) {
    match pruned(bench, options(window)) {
        Ok(report) => (report, false),
        Err(error) => {
            let take_over = named_dead(&error);
            (pruned(bench, PruneOptions { take_over, ..options(window) }).unwrap(), true)
        }
    }
}

pub(crate) fn names(bench: &Bench, prefix: &str, end: &str) -> Vec<String> {
    let names = bench.store.names().into_iter();
    names.filter(|name| name.starts_with(prefix) && name.ends_with(end)).collect()
}

/// Three snapshots that share nothing.
fn three(seed: u64) -> (Bench, Vec<Vec<u8>>, Vec<SnapshotId>) {
    let bench = Bench::one(seed);
    let data: Vec<Vec<u8>> = (0..3).map(|n| tests::data::bytes(seed + n, 150_000)).collect();
    let sids = data.iter().map(|data| bench.backup(request(data)).unwrap().snapshot_id.unwrap()).collect();
    (bench, data, sids)
}

/// A prune that ends right after it has put a record with this end, after `sid` was forgotten.
fn dies_after(bench: &Bench, sid: SnapshotId, end: &'static str) {
    run(forget(&bench.open(), &[sid], false)).unwrap();
    prune_on(bench, bench.dead_after_put(end), options(3600)).unwrap_err();
}

fn dies_after_its_plan(bench: &Bench, sid: SnapshotId) {
    dies_after(bench, sid, ".plan");
    assert_eq!(names(bench, "gc/", ".sweep").len(), 0);
}

/// The only plan there is.
fn plan_of(bench: &Bench) -> (String, Bytes) {
    let name = names(bench, "gc/", ".plan").remove(0);
    let bytes = bench.store.bytes(&name).unwrap();
    (name, bytes)
}

/// Puts what only `other` has into `bench`.
fn join(bench: &Bench, other: &Bench) {
    for name in other.store.names() {
        if bench.store.bytes(&name).is_none() {
            bench.store.tamper(&name, other.store.bytes(&name).unwrap());
        }
    }
}

#[test]
fn a_life() {
    let bench = Bench::bare_one(201);
    let made = bench.init_on(Arc::new(bench.store.clone()), Chunking::blocks()).unwrap();
    assert_eq!(made.mode, StoreMode::One);
    assert_eq!(bench.open().config().store.mode, StoreMode::One);
    assert_eq!(names(&bench, "probe/", ""), [""; 0], "the announcement goes");
    let again = bench.init_on(Arc::new(bench.store.clone()), Chunking::blocks()).err().unwrap();
    assert_eq!(again.kind(), ErrorKind::Conflict);
    let old = tests::data::bytes(1, 300_000);
    let mut new = tests::data::bytes(2, 300_000);
    new[..150_000].copy_from_slice(&old[..150_000]);
    let first = bench.backup(request(&old)).unwrap().snapshot_id.unwrap();
    bench.backup(request(&new)).unwrap();
    let owner = bench.open();
    assert_eq!(run(forget(&owner, &[first], false)).unwrap().forgotten, [first]);
    let marker = bench.store.bytes(&ObjectName::Forget { sid: first, last: false }.to_string()).unwrap();
    assert_eq!(run(forget(&owner, &[first], false)).unwrap().already, [first], "a marker is final");
    assert_eq!(bench.store.bytes(&ObjectName::Forget { sid: first, last: false }.to_string()), Some(marker));
    for n in 0..3 {
        let report = pruned(&bench, options(0)).unwrap();
        assert_eq!((report.packs_deleted > 0, report.lost.len()), (n == 0, 0), "{report:?}");
        is_sound(&bench, &[&old, &new], 1);
    }
    assert_eq!(names(&bench, "gc/owner", "").len(), 1, "lower owner records go");
    assert!(names(&bench, "gc/", ".plan").iter().all(|name| name.len() > 50), "records carry names");
}

#[test]
fn packs_are_not_read_back() {
    let bench = Bench::one(204);
    let owner = bench.open();
    let data = tests::data::bytes(3, 600_000);
    let before = owner.store().stats();
    run(backup(&owner, request(&data), &Arc::new(Progress::default()))).unwrap();
    let after = owner.store().stats();
    let (up, down) =
        (after.uploaded_bytes - before.uploaded_bytes, after.downloaded_bytes - before.downloaded_bytes);
    assert!(up > 600_000 && down < 60_000, "{up} bytes were uploaded, {down} downloaded");
}

#[test]
fn a_stale_session_holds_its_packs_until_it_is_dropped() {
    let bench = Bench::one(202);
    bench.backup(request(&[1; 50_000])).unwrap();
    let data = tests::data::bytes(3, 200_000);
    let plan = |_, verb, name: &str| {
        if verb == Verb::Put && name.starts_with("snapshots/") { Fault::CrashBefore } else { Fault::None }
    };
    let driver = Arc::new(FaultDriver::new(Arc::new(bench.store.clone()), plan));
    let repository = bench.open_on(driver, &bench.owner).unwrap();
    let progress = Arc::new(Progress::default());
    run(repository::backup::backup(&repository, request(&data), &progress)).unwrap_err();
    bench.clock.advance(Duration::from_secs(30 * 86_400));
    let report = pruned(&bench, options(0)).unwrap();
    assert_eq!((report.sessions_ended, report.packs_condemned), (0, 0), "not by age: {report:?}");
    let (entries, _) = run(pending::list(&bench.open())).unwrap();
    let [entry] = entries.as_slice() else { panic!("{entries:?}") };
    run(pending::drop_session(&bench.open(), entry.sid)).unwrap();
    assert_eq!(names(&bench, "pending/", ""), [""; 0]);
    assert_eq!(names(&bench, "snapshots/", "").len(), 1, "no tombstone");
    assert!(pruned(&bench, options(0)).unwrap().packs_deleted > 0);
    is_sound(&bench, &[&[1; 50_000], &data], 1);
}

/// Whichever of two plans is swept in the end, a session depends on nothing that either condemns.
#[test]
fn sessions_obey_every_unswept_plan() {
    let (bench, data, sids) = three(203);
    let other = bench.fork();
    dies_after_its_plan(&bench, sids[0]);
    dies_after_its_plan(&other, sids[1]);
    join(&bench, &other);
    assert_eq!(names(&bench, "gc/", ".plan").len(), 2);
    let of = |n: usize| volume(&format!("v/{n}"), &data[n]);
    for n in 0..2 {
        let volumes = vec![of(n)];
        let report = bench.fork().backup(repository::backup::BackupRequest { volumes, ..Default::default() });
        let report = report.unwrap();
        assert!(report.chunks_reused == 0 && report.chunks_new > 0, "of plan {n}: {report:?}");
    }
    let forgotten: Vec<bool> = bench.snapshots().iter().map(|entry| entry.forgotten).collect();
    assert_eq!(forgotten, [true, true, false]);
    let error = pruned(&bench, options(0)).unwrap_err();
    let dead = named_dead(&error);
    assert_eq!(dead.len(), 2, "{error}");
    for one in &dead {
        let take_over = vec![*one];
        let error = pruned(&bench, PruneOptions { take_over, ..options(0) }).unwrap_err();
        assert_eq!(named_dead(&error), dead, "the operator names all of them");
    }
    let report = pruned(&bench, PruneOptions { take_over: dead, ..options(0) }).unwrap();
    assert!(report.packs_deleted > 0 && report.snapshots_deleted == 2, "{report:?}");
    is_sound(&bench, &[&data[2]], 1);
}

/// What an init has announced counts for 15 minutes: it must have written its config by then.
#[test]
fn an_init_that_is_too_slow_makes_nothing() {
    for (seed, secs, is_made) in [(224, 599, true), (225, 601, false)] {
        let bench = Bench::bare_one(seed);
        let (store, clock) = (bench.store.clone(), bench.clock.clone());
        let slow = move |_, verb, name: &str| {
            if verb == Verb::Put
                && name.starts_with("keys/")
                && !store.names().iter().any(|n| n.starts_with("keys/"))
            {
                clock.advance(Duration::from_secs(secs));
            }
            Fault::None
        };
        let driver = Arc::new(FaultDriver::new(Arc::new(bench.store.clone()), slow));
        let made = bench.init_on(driver, Chunking::blocks());
        assert_eq!(made.is_ok(), is_made, "{secs} s");
        assert_eq!(names(&bench, "config", "").len(), usize::from(is_made), "{secs} s");
        if let Err(error) = made {
            assert!(
                error.kind() == ErrorKind::Conflict && error.to_string().contains("run it again"),
                "{error}"
            );
        }
        assert_eq!(names(&bench, "probe/", ""), [""; 0], "the announcement goes");
    }
}

/// A prune that an error stops takes its plan back, and nobody has to name it; not once its sweep may land.
#[test]
fn a_plan_is_taken_back_unless_its_sweep_was_sent() {
    for (seed, failing, end, stays) in [(220, Verb::List, "packs/", false), (221, Verb::Put, ".sweep", true)]
    {
        let (bench, data, sids) = three(seed);
        run(forget(&bench.open(), &[sids[0]], false)).unwrap();
        let store = bench.store.clone();
        let plan = move |_, verb, name: &str| {
            let is_planned = store.names().iter().any(|name| name.ends_with(".plan"));
            if is_planned && verb == failing && name.ends_with(end) { Fault::Refuse } else { Fault::None }
        };
        let driver = Arc::new(FaultDriver::new(Arc::new(bench.store.clone()), plan));
        prune_on(&bench, driver, options(0)).unwrap_err();
        assert_eq!(names(&bench, "gc/", ".plan").len(), usize::from(stays), "{end}");
        let (report, had_to_take_over) = prune_taking_over(&bench, 0);
        assert_eq!((had_to_take_over, report.snapshots_deleted), (stays, 1), "{end}: {report:?}");
        is_sound(&bench, &[&data[1], &data[2]], 2);
    }
}

/// Another prune wrote its plan at the same time: this one takes its own back and says so.
#[test]
fn a_plan_beside_anothers_is_taken_back() {
    let (bench, data, sids) = three(222);
    let other = bench.fork();
    dies_after_its_plan(&other, sids[1]);
    let (plan, bytes) = plan_of(&other);
    run(forget(&bench.open(), &[sids[0]], false)).unwrap();
    let (store, name) = (bench.store.clone(), plan.clone());
    let meanwhile = move |_, verb, _: &str| {
        // what is asked for first after the own plan was written
        if verb == Verb::List && store.names().iter().any(|name| name.ends_with(".plan")) {
            store.tamper(&name, bytes.clone());
        }
        Fault::None
    };
    let driver = Arc::new(FaultDriver::new(Arc::new(bench.store.clone()), meanwhile));
    let error = prune_on(&bench, driver, options(0)).unwrap_err();
    assert!(error.kind() == ErrorKind::Conflict && error.to_string().contains(&plan), "{error}");
    assert_eq!(names(&bench, "gc/", ".plan"), [plan]);
    assert!(prune_taking_over(&bench, 0).1);
    is_sound(&bench, &[&data[1], &data[2]], 2);
}

/// The plan of a process that was named as dead goes only while nothing else of its generation has come.
#[test]
fn a_dead_plan_stays_beside_what_came_meanwhile() {
    let (bench, _, sids) = three(223);
    let (dead, other) = (bench.fork(), bench.fork());
    dies_after(&dead, sids[0], ".sweep");
    dies_after_its_plan(&other, sids[1]);
    let (plan, bytes) = plan_of(&dead);
    bench.store.tamper(&plan, bytes);
    run(forget(&bench.open(), &[sids[0], sids[1]], false)).unwrap();
    let take_over = named_dead(&pruned(&bench, options(0)).unwrap_err());
    let sweep = names(&dead, "gc/", ".sweep").remove(0);
    let sweep = (sweep.clone(), dead.store.bytes(&sweep).unwrap());
    for (name, bytes) in [sweep, plan_of(&other)] {
        let mut refused = 0;
        // whenever it comes
        for listing in 0..8 {
            let fork = bench.fork();
            let (store, plan, name, bytes) = (fork.store.clone(), plan.clone(), name.clone(), bytes.clone());
            let listings = AtomicUsize::new(0);
            let meanwhile = move |_, verb, asked: &str| {
                let is_listing = verb == Verb::List && asked == "gc/";
                if is_listing
                    && listings.fetch_add(1, Ordering::SeqCst) == listing
                    && store.bytes(&plan).is_some()
                {
                    store.tamper(&name, bytes.clone());
                }
                let is_there = store.bytes(&name).is_some();
                assert!(!(verb == Verb::Delete && asked == plan && is_there), "{plan} goes beside {name}");
                Fault::None
            };
            let driver = Arc::new(FaultDriver::new(Arc::new(fork.store.clone()), meanwhile));
            let result =
                prune_on(&fork, driver, PruneOptions { take_over: take_over.clone(), ..options(3600) });
            refused += usize::from(result.is_err());
        }
        assert_eq!(refused > 0, name.ends_with(".plan"), "{name}: {refused}");
    }
}

/// A plan that was overtaken while it was written, and whose process died before it could take it back,
/// says nothing any more once there is a sweep.
#[test]
fn an_overtaken_plan_forgets_nothing() {
    let mut orders = [0; 2];
    for seed in 210..218 {
        let (bench, data, sids) = three(seed);
        let other = bench.fork();
        dies_after_its_plan(&other, sids[1]);
        run(forget(&bench.open(), &[sids[0]], false)).unwrap();
        assert!(pruned(&bench, options(3600)).unwrap().packs_condemned > 0);
        let plan = names(&other, "gc/", ".plan").remove(0);
        let own = names(&bench, "gc/", ".plan").remove(0);
        orders[usize::from(plan < own)] += 1;
        bench.store.tamper(&plan, other.store.bytes(&plan).unwrap());
        let forgotten: Vec<bool> = bench.snapshots().iter().map(|entry| entry.forgotten).collect();
        assert_eq!(forgotten, [true, false, false], "seed {seed}");
        assert_eq!(bench.check().unwrap().errors, vec![]);
        let report = pruned(&bench, options(0)).unwrap();
        assert!(report.lost.is_empty() && report.snapshots_deleted == 1, "{report:?}");
        is_sound(&bench, &[&data[1], &data[2]], 2);
    }
    assert!(orders.iter().all(|count| *count > 0), "{orders:?}");
}

/// The store of a repository of mode many has lost its promise: nothing is deleted and nothing replaced.
#[test]
fn a_store_that_stops_to_honour_conditions_is_not_pruned() {
    let bench = Bench::new(205);
    let data = tests::data::bytes(1, 100_000);
    let sid = bench.backup(request(&data)).unwrap().snapshot_id.unwrap();
    bench.backup(request(&[7; 50_000])).unwrap();
    run(forget(&bench.open(), &[sid], false)).unwrap();
    // as a backup leaves it whose key may not delete
    bench.store.tamper(&ObjectName::Pending(sid).to_string(), Bytes::from_static(b"x"));
    let before = bench.store.fork();
    let careless: Arc<dyn Driver> = Arc::new(bench.store.clone().ignoring_conditions());
    let error = prune_on(&bench, careless.clone(), options(0)).unwrap_err();
    assert!(error.to_string().contains("mode many") && error.kind() == ErrorKind::Failed, "{error}");
    let repository = bench.open_on(careless, &bench.owner).unwrap();
    let error = run(pending::drop_session(&repository, sid)).unwrap_err();
    assert!(error.to_string().contains("mode many"), "{error}");
    assert_eq!(bench.store.names(), before.names());
    assert!(before.names().iter().all(|name| bench.store.bytes(name) == before.bytes(name)));
}

/// Puts without effect on reads or listings.
struct Forgetful {
    inner: MemoryDriver,
    loses: Verb,
}

impl Driver for Forgetful {
    fn put_new<'a>(&'a self, name: &'a str, payload: PutPayload) -> BoxFuture<'a, Result<(), DriverError>> {
        self.inner.put_new(name, payload)
    }

    fn get<'a>(
        &'a self,
        name: &'a str,
        range: Option<Range<u64>>,
    ) -> BoxFuture<'a, Result<Bytes, DriverError>> {
        let lost = self.loses == Verb::Get;
        if lost { Box::pin(async { Err(DriverError::NotFound) }) } else { self.inner.get(name, range) }
    }

    fn head<'a>(&'a self, name: &'a str) -> BoxFuture<'a, Result<ObjectMeta, DriverError>> {
        self.inner.head(name)
    }

    fn list<'a>(&'a self, prefix: &'a str) -> BoxStream<'a, Result<ObjectMeta, DriverError>> {
        if self.loses == Verb::List { empty().boxed() } else { self.inner.list(prefix) }
    }

    fn delete<'a>(&'a self, name: &'a str) -> BoxFuture<'a, Result<(), DriverError>> {
        self.inner.delete(name)
    }

    fn url(&self) -> &str {
        "forgetful://"
    }
}

#[test]
fn stores_that_lose_what_was_written_are_refused() {
    for bench in [Bench::bare(206), Bench::bare_one(207)] {
        for loses in [Verb::Get, Verb::List] {
            let driver = Arc::new(Forgetful { inner: bench.store.clone(), loses });
            let error = bench.init_on(driver, Chunking::blocks()).err().unwrap();
            assert!(error.to_string().contains("probe read-after-write failed"), "{error}");
            assert_eq!(bench.store.names(), [""; 0]);
        }
    }
}

mod crashes {
    use super::*;

    fn base(seed: u64) -> (Bench, Vec<u8>, Vec<u8>, SnapshotId) {
        let base = Bench::one(seed);
        let old = tests::data::bytes(seed, 300_000);
        let mut new = tests::data::bytes(seed + 1, 300_000);
        new[..150_000].copy_from_slice(&old[..150_000]);
        let first = base.backup(request(&old)).unwrap().snapshot_id.unwrap();
        base.backup(request(&new)).unwrap();
        (base, old, new, first)
    }

    /// Sound, and the next prune needs nothing but the take-over that its error names.
    fn comes_down(bench: &Bench, versions: &[&[u8]]) -> bool {
        is_sound(bench, versions, 1);
        let (report, took_over) = prune_taking_over(bench, 0);
        assert!(report.lost.is_empty(), "{report:?}");
        is_sound(bench, versions, 1);
        let again = pruned(bench, options(0)).unwrap();
        assert_eq!((again.packs_condemned, again.bytes_waiting), (0, 0), "{again:?}");
        took_over
    }

    #[test]
    fn init() {
        let calls = crash_everywhere(
            &Bench::bare_one(221),
            |bench, driver| bench.init_on(driver, Chunking::blocks()).map(|_| ()),
            |bench| {
                let again = || bench.init_on(Arc::new(bench.store.clone()), Chunking::blocks());
                if let Err(error) = again() {
                    assert_eq!(error.kind(), ErrorKind::Conflict, "{error}");
                    // an announcement of the dead counts for 15 minutes
                    bench.clock.advance(Duration::from_secs(15 * 60 + 1));
                    let exists = again().err();
                    assert!(exists.is_none_or(|error| error.to_string().contains("exists already")));
                }
                is_sound(bench, &[&[7; 5000]], 0);
            },
        );
        assert!(calls >= 30, "{calls} calls");
    }

    #[test]
    fn backup_and_forget() {
        let (base, old, new, first) = base(222);
        let newest = tests::data::bytes(9, 200_000);
        let backups = crash_everywhere(
            &base,
            |bench, driver| crate::crash::backup_on(bench, driver, &newest),
            |bench| is_sound(bench, &[&old, &new, &newest], 2),
        );
        let forgets = crash_everywhere(
            &base,
            |bench, driver| {
                let repository = bench.open_on(driver, &bench.owner)?;
                run(forget(&repository, &[first], false)).map(|_| ())
            },
            |bench| is_sound(bench, &[&old, &new], 1),
        );
        assert!(backups >= 18 && forgets >= 5, "{backups} and {forgets} calls");
    }

    #[test]
    fn prune() {
        let (base, old, new, first) = base(223);
        run(forget(&base.open(), &[first], false)).unwrap();
        let taken_over = std::cell::Cell::new(0);
        let calls = crash_everywhere(
            &base,
            |bench, driver| prune_on(bench, driver, options(0)).map(|_| ()),
            |bench| taken_over.set(taken_over.get() + u32::from(comes_down(bench, &[&old, &new]))),
        );
        println!("{calls} store calls, each with a crash before and after; {} take-overs", taken_over.get());
        assert!(calls >= 60 && taken_over.get() >= 10, "{calls} calls, {} take-overs", taken_over.get());
    }

    #[test]
    fn take_over() {
        let (base, old, new, first) = base(224);
        dies_after_its_plan(&base, first);
        let dead = named_dead(&pruned(&base, options(0)).unwrap_err());
        let calls = crash_everywhere(
            &base,
            |bench, driver| {
                let options = PruneOptions { take_over: dead.clone(), ..options(0) };
                prune_on(bench, driver, options).map(|_| ())
            },
            |bench| {
                comes_down(bench, &[&old, &new]);
            },
        );
        assert!(calls >= 60, "{calls} calls");
    }
}
