//! Merging of index runs: step p9.

use super::{Objects, Rules, Slip, Steps, Store};
use crate::set::Set;
use repository::env::Mutant;

#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Default)]
enum At {
    #[default]
    Idle,
    Read,
    Publish,
    LookAgain,
}

/// What a merger remembers.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Default)]
pub(crate) struct Merger {
    at: At,
    /// Merges that it has begun.
    merges: u8,
    dead: Set,
    floor: u8,
    built: u8,
    inputs: Set,
    packs: Set,
    merged: u8,
    wait: Objects,
}

/// A `built` above every floor.
const HIGHEST: u8 = u8::MAX;

/// What merger `i` may do next.
pub(crate) fn steps(rules: &Rules, i: u8, steps: &mut Steps<'_>) {
    let i = usize::from(i);
    let (store, merger) = (steps.world.store, steps.world.mergers[i]);
    match merger.at {
        At::Idle if merger.merges < rules.merges => begin(rules, store, merger, i, steps),
        At::Idle => {}
        At::Read => read(store, merger, i, steps),
        At::Publish => publish(rules, store, merger, i, steps),
        At::LookAgain => look_again(rules, store, merger, i, steps),
    }
}

fn begin(rules: &Rules, store: Store, merger: Merger, i: usize, steps: &mut Steps<'_>) {
    for view in store.views() {
        let highest = rules.breaks(Mutant::MergeWithoutBuilt);
        let built = if highest { HIGHEST } else { view.sweeps };
        let (merges, floor) = (merger.merges + 1, rules.floor(view.floor));
        let merger = Merger { at: At::Read, merges, built, floor, dead: view.dead, ..merger };
        steps.push("p9 reads gc/", view.dead, |next| next.mergers[i] = merger);
    }
}

/// Reads any of the runs.
fn read(store: Store, merger: Merger, i: usize, steps: &mut Steps<'_>) {
    let counting = store.reaching(store.live_runs, merger.floor);
    for inputs in counting.subsets().filter(|inputs| !inputs.is_empty()) {
        let packs = store.indexed(inputs, 0) - merger.dead;
        let merger = Merger { at: At::Publish, inputs, packs, dead: Set::EMPTY, floor: 0, ..merger };
        steps.push("p9 reads runs", inputs, |next| next.mergers[i] = merger);
    }
}

fn publish(rules: &Rules, mut store: Store, mut merger: Merger, i: usize, steps: &mut Steps<'_>) {
    if rules.slips(Slip::MergeReadsFloorLate) {
        merger.built = store.truth().sweeps;
    }
    // an input that is gone: list again
    if !(merger.inputs - store.live_runs).is_empty() {
        let merges = merger.merges;
        steps.push("p9 misses an input", merger.inputs, |next| {
            next.mergers[i] = Merger { merges, ..Merger::default() };
        });
    }
    let Some(run) = store.put_run(rules, merger.packs, merger.built) else { return };
    merger.at = At::LookAgain;
    merger.merged = run;
    merger.packs = Set::EMPTY;
    if !rules.slips(Slip::MergeWithoutWait) {
        merger.wait = store.unseen;
    }
    steps.push("p9 publishes the merged run", merger.inputs, |next| {
        next.store = store;
        next.mergers[i] = merger;
    });
}

fn look_again(rules: &Rules, mut store: Store, mut merger: Merger, i: usize, steps: &mut Steps<'_>) {
    store.settle(&mut merger.wait);
    let idle = Merger { merges: merger.merges, ..Merger::default() };
    for view in store.views() {
        let overtaken = view.newest_floor > merger.built && !rules.breaks(Mutant::MergeWithoutFloorCheck);
        let (did, deleted) = match overtaken {
            true => ("p9 is below the floor: deletes the merged run", Set::one(merger.merged)),
            false => ("p9 deletes the inputs", merger.inputs),
        };
        let mut store = store;
        store.delete_runs(deleted);
        steps.push(did, deleted, |next| {
            next.store = store;
            next.mergers[i] = idle;
        });
    }
}
