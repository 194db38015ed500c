//! Two at once on a store without put-if-absent: the second runs from beginning to end in the middle of
//! the first, at each of its store calls in turn.

use crate::crash::{is_sound, request};
use crate::one::{named_dead, names, options, prune_on, pruned};
use repo_format::config::Chunking;
use repository::forget::forget;
use repository::prune::PruneOptions;
use repository::store::MemoryDriver;
use repository::store::fault::{Fault, FaultDriver, Verb};
use repository::{ErrorKind, Result};
use std::sync::{Arc, Mutex};
use tests::engine::{Bench, run};

/// Runs `first` on forks of `base`, with `second` in the middle of call number n, for every n; `verify`
/// sees what both came to. Says how many calls there are.
fn at_every_call<A, B: Send + 'static>(
    base: &Bench,
    first: impl Fn(&Bench, Arc<FaultDriver>) -> Result<A>,
    second: impl Fn(&Bench) -> Result<B> + Copy + Send + Sync + 'static,
    verify: impl Fn(&Bench, Result<A>, Result<B>),
) -> u64 {
    let mut at = 0;
    loop {
        let bench = base.fork();
        let other = Mutex::new(Some(bench.over(bench.store.clone())));
        let came = Arc::new(Mutex::new(None));
        let result = came.clone();
        let plan = move |n: u64, _: Verb, _: &str| {
            if n == at
                && let Some(other) = other.lock().unwrap().take()
            {
                // an executor of its own
                let ran = std::thread::spawn(move || second(&other)).join().unwrap();
                *result.lock().unwrap() = Some(ran);
            }
            Fault::None
        };
        let driver = Arc::new(FaultDriver::new(Arc::new(bench.store.clone()), plan));
        let one = first(&bench, driver);
        let Some(two) = came.lock().unwrap().take() else { return at };
        verify(&bench, one, two);
        at += 1;
    }
}

fn conflict<T>(result: &Result<T>) -> bool {
    match result {
        Ok(_) => false,
        Err(error) => {
            assert_eq!(error.kind(), ErrorKind::Conflict, "{error}");
            true
        }
    }
}

fn base(seed: u64) -> (Bench, Vec<u8>, Vec<u8>) {
    let base = Bench::one(seed);
    let old = tests::data::bytes(seed, 300_000);
    let mut new = tests::data::bytes(seed + 1, 300_000);
    new[..150_000].copy_from_slice(&old[..150_000]);
    let first = base.backup(request(&old)).unwrap().snapshot_id.unwrap();
    base.backup(request(&new)).unwrap();
    run(forget(&base.open(), &[first], false)).unwrap();
    (base, old, new)
}

#[test]
fn prunes() {
    let (base, old, new) = base(231);
    let counts = std::cell::RefCell::new([0; 4]);
    let calls = at_every_call(
        &base,
        |bench, driver| prune_on(bench, driver, options(0)),
        |bench| pruned(bench, options(0)),
        |bench, one, two| {
            counts.borrow_mut()[usize::from(conflict(&one)) * 2 + usize::from(conflict(&two))] += 1;
            is_sound(bench, &[&old, &new], 1);
            // nobody died: nothing is to be taken over
            let after = pruned(bench, options(0)).unwrap();
            assert!(after.lost.is_empty(), "{after:?}");
            is_sound(bench, &[&old, &new], 1);
        },
    );
    let [both, second_back, first_back, none] = *counts.borrow();
    println!("{calls} calls: both {both}, second steps back {second_back}, first {first_back}, both {none}");
    assert!(calls >= 60 && second_back >= 10 && first_back >= 10 && none == 0, "{:?}", counts.borrow());
}

#[test]
fn take_overs() {
    let (base, old, new) = base(232);
    prune_on(&base, base.dead_after_put(".plan"), options(0)).unwrap_err();
    let dead = named_dead(&pruned(&base, options(0)).unwrap_err());
    let [dead] = dead.as_slice() else { panic!("{dead:?}") };
    let dead = *dead;
    let calls = at_every_call(
        &base,
        |bench, driver| prune_on(bench, driver, PruneOptions { take_over: vec![dead], ..options(0) }),
        move |bench| pruned(bench, PruneOptions { take_over: vec![dead], ..options(0) }),
        |bench, one, two| {
            let _ = (conflict(&one), conflict(&two));
            is_sound(bench, &[&old, &new], 1);
            let after = pruned(bench, options(0)).unwrap();
            assert!(after.lost.is_empty(), "{after:?}");
            is_sound(bench, &[&old, &new], 1);
        },
    );
    assert!(calls >= 60, "{calls} calls");
}

#[test]
fn a_backup_in_a_prune() {
    let (base, old, new) = base(233);
    let calls = at_every_call(
        &base,
        |bench, driver| prune_on(bench, driver, options(0)),
        |bench| bench.backup(request(&tests::data::bytes(233, 300_000))),
        |bench, one, two| {
            one.unwrap();
            two.unwrap();
            is_sound(bench, &[&old, &new], 2);
        },
    );
    assert!(calls >= 60, "{calls} calls");
}

/// At most one of two says that it has made a repository, and that is the one which is there.
#[test]
fn inits() {
    let base = Bench::bare_one(234);
    let made = std::cell::Cell::new(0);
    let init = |bench: &Bench, driver: Arc<dyn repository::store::Driver>| {
        bench.init_on(driver, Chunking::blocks()).map(|made| made.repo_id)
    };
    let calls = at_every_call(
        &base,
        |bench, driver| init(bench, driver),
        move |bench| init(bench, Arc::new(MemoryDriver::clone(&bench.store))),
        |bench, one, two| {
            assert!(conflict(&one) || conflict(&two), "two repositories");
            if let Some(repo_id) = one.ok().or(two.ok()) {
                assert_eq!(bench.open().repo_id(), repo_id);
                assert_eq!(
                    names(bench, "keys/", "").len(),
                    2,
                    "who steps back does so before it writes a key slot"
                );
                made.set(made.get() + 1);
            }
        },
    );
    println!("{calls} calls, {} repositories", made.get());
    assert!(calls >= 30 && made.get() + 4 >= calls, "{calls} calls, {} repositories", made.get());
}
