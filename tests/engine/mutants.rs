//! Each rule of the client's side is left out once, beside a prune by hand: with the rule the new
//! snapshot restores, without it something is lost.

use super::by_hand::{data_packs, lose, of, packs, put_plan, put_plan_of, put_sweep, put_sweep_of};
use futures::future::BoxFuture;
use repo_format::SnapshotId;
use repo_format::config::{Config, StoreSettings};
use repo_format::layout::ObjectName;
use repo_format::sealed::{Class, object_hash};
use repository::backup::{BackupReport, BackupRequest, backup};
use repository::env::Mutant;
use repository::exec::InlineTime;
use repository::progress::Progress;
use repository::store::MemoryDriver;
use repository::store::fault::{Fault, FaultDriver, Verb};
use repository::{Exec, Repository, Result, inspect};
use std::sync::{Arc, Mutex};
use std::time::Duration;
use tests::engine::{Bench, run};

/// Gives each call before it is made, and says what becomes of it.
type Meanwhile = Box<dyn Fn(Verb, &str) -> Fault + Send + Sync>;

/// A repository with one snapshot, the owner who prunes it by hand, and a client with its quirk.
struct Stage {
    bench: Bench,
    data: Vec<u8>,
    first: SnapshotId,
    mutant: Option<Mutant>,
}

impl Stage {
    fn new(seed: u64, len: usize, mutant: Option<Mutant>) -> Self {
        let bench = Bench::new(seed);
        let data = tests::data::bytes(seed, len);
        let first = bench.backup(of("v/one", &data)).unwrap().snapshot_id.unwrap();
        Stage { bench, data, first, mutant }
    }

    /// Who prunes, and on what.
    fn hands(&self) -> (Repository, MemoryDriver) {
        (self.bench.open(), self.bench.store.clone())
    }

    fn backup_on(&self, exec: &Exec, request: BackupRequest, meanwhile: Meanwhile) -> Result<BackupReport> {
        let mut env = self.bench.env.clone();
        env.mutant = self.mutant;
        let plan = move |_, verb, name: &str| meanwhile(verb, name);
        let driver = Arc::new(FaultDriver::new(Arc::new(self.bench.store.clone()), plan));
        let repository = run(Repository::open(driver, exec, &env, &self.bench.owner))?;
        run(backup(&repository, request, &Arc::new(Progress::default())))
    }

    fn backup(&self, request: BackupRequest, meanwhile: Meanwhile) -> Result<BackupReport> {
        self.backup_on(&Exec::inline(), request, meanwhile)
    }

    /// What was reported as a success restores, and the check is clean.
    fn is_sound(&self, report: BackupReport, name: &str, data: &[u8]) -> bool {
        let sid = report.snapshot_id.unwrap();
        let snapshots = self.bench.snapshots();
        let entry = snapshots.iter().find(|entry| entry.id == sid);
        entry.is_some_and(|entry| self.bench.restore(entry, name).is_ok_and(|found| found == data))
            && self.bench.check().unwrap().errors.is_empty()
    }
}

/// `work` once, before the pending record of the session is put.
fn before_c3(work: impl Fn() + Send + Sync + 'static) -> Meanwhile {
    once(Verb::Put, "pending/", work)
}

fn once(wanted: Verb, prefix: &'static str, work: impl Fn() + Send + Sync + 'static) -> Meanwhile {
    let done = Mutex::new(false);
    Box::new(move |verb, name| {
        let mut done = done.lock().unwrap();
        if verb == wanted && name.starts_with(prefix) && !*done {
            *done = true;
            work();
        }
        Fault::None
    })
}

/// Plan 0 condemns what is reused after the session's c0; the pruner has read pending before c3.
fn recheck(mutant: Option<Mutant>) -> bool {
    let stage = Stage::new(71, 300_000, mutant);
    let ((owner, store), first) = (stage.hands(), stage.first);
    let old = packs(&store);
    let plan = {
        let old = old.clone();
        before_c3(move || put_plan(&owner, &store, old.clone(), vec![first], 0))
    };
    let report = stage.backup(of("v/two", &stage.data), plan).unwrap();
    let (owner, store) = stage.hands();
    store.lose(&ObjectName::Snapshot(first).to_string());
    put_sweep(&owner, &store, old, 0);
    stage.is_sound(report, "v/two", &stage.data)
}

/// As before, but the session depends on what is condemned only by way of its parent's pages.
fn parent(mutant: Option<Mutant>) -> bool {
    let stage = Stage::new(72, 9 << 20, mutant);
    let ((owner, store), first) = (stage.hands(), stage.first);
    let old = data_packs(&store);
    let plan = {
        let old = old.clone();
        before_c3(move || put_plan(&owner, &store, old.clone(), vec![first], 0))
    };
    let mut newer = stage.data.clone();
    newer[..8 << 20].copy_from_slice(&tests::data::bytes(1, 8 << 20));
    let report = stage.backup(of("v/one", &newer), plan).unwrap();
    assert!(report.chunks_reused > 0, "one segment is inherited");
    let (owner, store) = stage.hands();
    store.lose(&ObjectName::Snapshot(first).to_string());
    put_sweep(&owner, &store, old, 0);
    stage.is_sound(report, "v/one", &newer)
}

/// A whole prune between c4 and c5: it spares what pending records name.
fn announcement(mutant: Option<Mutant>) -> bool {
    let stage = Stage::new(73, 300_000, mutant);
    let ((owner, store), first) = (stage.hands(), stage.first);
    let old = packs(&store);
    let committing = Mutex::new(false);
    let prune = move |verb, name: &str| {
        let mut committing = committing.lock().unwrap();
        if verb == Verb::Put && name.starts_with("snapshots/") && !*committing {
            *committing = true;
            put_plan(&owner, &store, old.clone(), vec![first], 0);
            let Ok(ObjectName::Snapshot(sid)) = ObjectName::parse(name) else { panic!("{name}") };
            // on a thread of its own: this one is inside the backup
            let seen = std::thread::scope(|scope| scope.spawn(|| run(inspect::pending(&owner, sid))).join());
            let spared = seen
                .unwrap()
                .is_ok_and(|pending| pending.snapshot.volumes.iter().any(|volume| !volume.root.is_zero()));
            put_sweep(&owner, &store, if spared { vec![] } else { old.clone() }, 0);
        }
        Fault::None
    };
    let report = stage.backup(of("v/two", &stage.data), Box::new(prune)).unwrap();
    stage.bench.store.lose(&ObjectName::Snapshot(first).to_string());
    stage.is_sound(report, "v/two", &stage.data)
}

const DELTA: Duration = Duration::from_secs(60);

/// Time that passes only while somebody waits.
#[derive(Clone, Default)]
struct Waited(Arc<Mutex<Duration>>);

impl InlineTime for Waited {
    fn sleep(&self, time: Duration) -> BoxFuture<'static, ()> {
        let waited = self.0.clone();
        Box::pin(async move { *waited.lock().unwrap() += time })
    }
}

/// Config 1: another client's write is seen after [`DELTA`] only.
fn put_delta(owner: &Repository, store: &MemoryDriver) {
    let name = ObjectName::Config(1);
    let prev = Some(object_hash(&store.bytes(&ObjectName::Config(0).to_string()).unwrap()));
    let delta_ms = u64::try_from(DELTA.as_millis()).unwrap();
    let settings = StoreSettings { delta_ms, ..owner.config().store };
    let config = Config { n: 1, prev, store: settings, ..owner.config().clone() }.encode().unwrap();
    store.tamper(&name.to_string(), owner.seal_signed(Class::Config, &name, &config).unwrap());
}

/// Plan 0 is put at the moment of c3, and neither side sees the other's before [`DELTA`].
fn wait(mutant: Option<Mutant>) -> bool {
    let stage = Stage::new(74, 300_000, mutant);
    let ((owner, store), first) = (stage.hands(), stage.first);
    put_delta(&owner, &store);
    let old = packs(&store);
    let (waited, planned) = (Waited::default(), Arc::new(Mutex::new(false)));
    let plan = {
        let (old, waited, planned) = (old.clone(), waited.clone(), planned.clone());
        let announced = Mutex::new(false);
        move |verb, name: &str| {
            *announced.lock().unwrap() |= verb == Verb::Put && name.starts_with("pending/");
            let visible = *waited.0.lock().unwrap() >= DELTA && *announced.lock().unwrap();
            if visible && name == "gc/" && !std::mem::replace(&mut *planned.lock().unwrap(), true) {
                put_plan(&owner, &store, old.clone(), vec![first], 0);
            }
            Fault::None
        }
    };
    let exec = Exec::inline_with(Arc::new(waited));
    let report = stage.backup_on(&exec, of("v/two", &stage.data), Box::new(plan)).unwrap();
    let (owner, store) = stage.hands();
    if !*planned.lock().unwrap() {
        put_plan(&owner, &store, old.clone(), vec![first], 0);
    }
    store.lose(&ObjectName::Snapshot(first).to_string());
    put_sweep(&owner, &store, old, 0);
    stage.is_sound(report, "v/two", &stage.data)
}

/// What the session's index knows was deleted so long ago that no sweep names it any more.
fn floor(mutant: Option<Mutant>) -> bool {
    let stage = Stage::new(75, 300_000, mutant);
    let ((owner, store), first) = (stage.hands(), stage.first);
    let prunes = before_c3(move || {
        lose(&store, &packs(&store));
        store.lose(&ObjectName::Snapshot(first).to_string());
        put_plan(&owner, &store, vec![], vec![first], 1);
        put_sweep(&owner, &store, vec![], 1);
    });
    let report = stage.backup(of("v/two", &stage.data), prunes).unwrap();
    stage.is_sound(report, "v/two", &stage.data)
}

/// The packs that an overtaken session wrote itself are deleted before it starts anew.
fn own_packs(mutant: Option<Mutant>) -> bool {
    let stage = Stage::new(76, 300_000, mutant);
    let ((owner, store), first) = (stage.hands(), stage.first);
    let seen = Mutex::new((false, 0));
    let prunes = move |verb, name: &str| {
        let (announced, looks) = &mut *seen.lock().unwrap();
        *announced |= verb == Verb::Put && name.starts_with("pending/");
        *looks += u32::from(*announced && verb == Verb::List && name == "gc/");
        match looks {
            // c4
            1 if store.bytes(&ObjectName::Plan(0).to_string()).is_none() => {
                put_plan(&owner, &store, vec![], vec![first], 1);
                put_sweep(&owner, &store, vec![], 1);
                store.lose(&ObjectName::Snapshot(first).to_string());
            }
            // the new c0
            2 => lose(&store, &packs(&store)),
            _ => {}
        }
        *looks += u32::from(*looks == 2);
        Fault::None
    };
    let data = tests::data::bytes(2, 300_000);
    let report = stage.backup(of("v/two", &data), Box::new(prunes)).unwrap();
    stage.is_sound(report, "v/two", &data)
}

/// The answer to c5 is lost; before anything else the snapshot is forgotten, deleted, and even
/// dropped from F.
fn commit_once(mutant: Option<Mutant>) -> bool {
    let stage = Stage::new(77, 300_000, mutant);
    let (owner, store) = stage.hands();
    let sent = Mutex::new(None);
    let prunes = move |verb, name: &str| {
        let mut sent = sent.lock().unwrap();
        match (ObjectName::parse(name), *sent) {
            (Ok(ObjectName::Snapshot(sid)), None) if verb == Verb::Put => {
                *sent = Some((sid, false));
                return Fault::FailAfter;
            }
            (_, Some((sid, false))) => {
                *sent = Some((sid, true));
                store.lose(&ObjectName::Snapshot(sid).to_string());
                let own = packs(&store);
                put_plan(&owner, &store, own.clone(), vec![sid], 0);
                put_sweep(&owner, &store, own, 0);
                put_plan_of(&owner, &store, 1, vec![], vec![], 1);
                put_sweep_of(&owner, &store, 1, vec![], vec![], 1);
            }
            _ => {}
        }
        Fault::None
    };
    stage.bench.store.lose(&ObjectName::Snapshot(stage.first).to_string());
    let data = tests::data::bytes(3, 300_000);
    let report = stage.backup(of("v/two", &data), Box::new(prunes)).unwrap();
    stage.is_sound(report, "v/two", &data)
}

#[test]
fn every_rule_of_a_session_is_needed() {
    type Scenario = fn(Option<Mutant>) -> bool;
    let scenarios: [(Mutant, Scenario); 8] = [
        (Mutant::NoRecheckAtC4, recheck),
        (Mutant::NoParentCheckAtC4, parent),
        (Mutant::NoPending, announcement),
        (Mutant::CommitOtherBytes, announcement),
        (Mutant::NoWaitAtC3, wait),
        (Mutant::NoFloor, floor),
        (Mutant::OwnPacksWithoutList, own_packs),
        (Mutant::CommitTwice, commit_once),
    ];
    for (mutant, scenario) in scenarios {
        assert!(scenario(None), "{mutant:?}: the rule does not help");
        assert!(!scenario(Some(mutant)), "{mutant:?} is not noticed");
    }
}
