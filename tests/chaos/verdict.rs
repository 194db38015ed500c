//! The verdict, while everything stands still.

use crate::ends::{Tally, Verb};
use crate::ledger::{name, volume};
use crate::world::World;
use serde_json::Value;
use std::collections::{BTreeMap, BTreeSet};
use std::sync::atomic::{AtomicUsize, Ordering};

/// How much sessions may upload again because of prune, in percent.
const AGAIN_MAX: f64 = 1.0;
const RESTORES_AT_ONCE: usize = 2;

/// Everything that was committed and not let go is listed and restores, and all content is sound.
pub(crate) fn give(world: &World) {
    let listed = world.run(Verb::Look, "--json snapshots");
    let listed: Value = serde_json::from_str(&listed.out).unwrap();
    let listed = listed.as_array().unwrap();
    let wanted: Vec<&Value> = listed.iter().filter(|one| one["forgotten"] == false).collect();
    let ids: BTreeSet<&str> = wanted.iter().map(|one| one["snapshot_id"].as_str().unwrap()).collect();
    let known = world.ledger.known();
    let missing: Vec<_> = known
        .committed
        .iter()
        .filter(|(sid, _)| !known.let_go.contains(*sid) && !ids.contains(sid.as_str()))
        .map(|(sid, key)| format!("{sid} ({})", name(*key)))
        .collect();
    assert!(missing.is_empty(), "committed, never let go, and not listed: {missing:?}");
    let content: BTreeMap<String, (usize, blake3::Hash)> =
        known.content.iter().map(|(key, hash)| (name(*key), (key.0, *hash))).collect();
    drop(known);
    restore_all(world, &wanted, &content);
    world.run(Verb::Look, "--json check --read-data");
    let unexpected = world.unexpected();
    assert!(unexpected.is_empty(), "{} unexpected ends:\n{}", unexpected.len(), unexpected.join("\n"));
}

fn restore_all(world: &World, wanted: &[&Value], content: &BTreeMap<String, (usize, blake3::Hash)>) {
    let next = AtomicUsize::new(0);
    let work = |place: usize| {
        while let Some(one) = wanted.get(next.fetch_add(1, Ordering::Relaxed)) {
            let (sid, named) = (one["snapshot_id"].as_str().unwrap(), one["name"].as_str().unwrap());
            let (writer, hash) = content.get(named).unwrap_or_else(|| panic!("nobody has backed up {one}"));
            let file = format!("restored-{place}");
            let _ = std::fs::remove_file(world.path(&file));
            let end =
                world.run(Verb::Look, &format!("--json restore {sid} --volume {}={file}", volume(*writer)));
            assert!(end.is_done(), "{sid} ({named}) does not restore: {end:?}");
            let restored = blake3::hash(&std::fs::read(world.path(&file)).unwrap());
            assert!(restored == *hash, "{sid} ({named}) is not what was backed up");
            world.count(|tally| tally.restores += 1);
        }
    };
    std::thread::scope(|scope| {
        let work = &work;
        for place in 0..RESTORES_AT_ONCE {
            scope.spawn(move || work(place));
        }
    });
}

/// A last prune that nobody disturbs deletes everything that is due.
pub(crate) fn prune(world: &World) {
    let line = "--json prune --undelete-window 0";
    let mut end = world.run(Verb::Prune, line);
    if let Some(options) = end.take_over().filter(|_| world.is_one) {
        // everything has stood still for a whole verdict
        end = world.run(Verb::Prune, &format!("{line}{options}"));
    }
    assert!(end.is_done(), "{end:?}");
    let summary = end.summary();
    assert_eq!(
        (&summary["lost"], &summary["bytes_waiting"]),
        (&serde_json::json!([]), &0.into()),
        "{summary}"
    );
}

/// What sessions uploaded again because of prune is at most one percent. A sample below `sample_len` bytes says
/// nothing of it, and so it is told.
pub(crate) fn little_again(tally: &Tally, sample_len: u64) {
    let share = tally.again_percent();
    if tally.bytes_stored < sample_len {
        println!("{} bytes are too few to judge the share of {share:.3} %", tally.bytes_stored);
    } else {
        assert!(share <= AGAIN_MAX, "{share:.2} % uploaded again because of prune");
    }
}
