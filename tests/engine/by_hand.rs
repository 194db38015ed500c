//! A prune by hand: its records, signed as a prune would, without a prune.

use repo_format::gc_record::{Dead, Forgotten, Plan, Sweep};
use repo_format::layout::ObjectName;
use repo_format::sealed::{Class, object_hash};
use repo_format::{PackId, SnapshotId};
use repository::Repository;
use repository::backup::BackupRequest;
use repository::store::MemoryDriver;
use tests::engine::volume;

/// One volume, named and filled.
pub(crate) fn of(name: &str, data: &[u8]) -> BackupRequest {
    BackupRequest { volumes: vec![volume(name, data)], ..Default::default() }
}

/// Names of all packs, in order.
pub(crate) fn packs(store: &MemoryDriver) -> Vec<PackId> {
    packs_where(store, |name| matches!(name, ObjectName::DataPack(_) | ObjectName::MapPack(_)))
}

/// Names of all data packs, in order.
pub(crate) fn data_packs(store: &MemoryDriver) -> Vec<PackId> {
    packs_where(store, |name| matches!(name, ObjectName::DataPack(_)))
}

fn packs_where(store: &MemoryDriver, wanted: fn(&ObjectName) -> bool) -> Vec<PackId> {
    let names = store.names();
    let found = names.iter().filter_map(|name| ObjectName::parse(name).ok()).filter(wanted);
    let mut packs: Vec<PackId> = found
        .filter_map(|name| match name {
            ObjectName::DataPack(pack) | ObjectName::MapPack(pack) => Some(pack),
            _ => None,
        })
        .collect();
    packs.sort();
    packs
}

/// How many objects have a name that begins so.
pub(crate) fn count(store: &MemoryDriver, prefix: &str) -> usize {
    store.names().iter().filter(|name| name.starts_with(prefix)).count()
}

/// Loses packs, as a prune that deletes them.
pub(crate) fn lose(store: &MemoryDriver, packs: &[PackId]) {
    for pack in packs {
        store.lose(&ObjectName::DataPack(*pack).to_string());
        store.lose(&ObjectName::MapPack(*pack).to_string());
    }
}

/// Puts plan 0, as a prune would.
pub(crate) fn put_plan(
    owner: &Repository,
    store: &MemoryDriver,
    candidates: Vec<PackId>,
    forgotten: Vec<SnapshotId>,
    floor: u64,
) {
    put_plan_of(owner, store, 0, candidates, forgotten, floor);
}

/// Puts plan `g` after sweep `g - 1`.
pub(crate) fn put_plan_of(
    owner: &Repository,
    store: &MemoryDriver,
    g: u64,
    candidates: Vec<PackId>,
    forgotten: Vec<SnapshotId>,
    floor: u64,
) {
    let name = ObjectName::Plan(g);
    let forgotten = if forgotten.is_empty() { vec![] } else { vec![Forgotten { g, sids: forgotten }] };
    let sweep = g.checked_sub(1).map(|before| ObjectName::Sweep(before).to_string());
    let prev = sweep.map(|sweep| object_hash(&store.bytes(&sweep).unwrap()));
    let plan = Plan { candidates, forgotten, floor, prev }.encode().unwrap();
    store.tamper(&name.to_string(), owner.seal_signed(Class::Plan, &name, &plan).unwrap());
}

/// Puts sweep 0 for the plan that is there, and deletes what it condemns.
pub(crate) fn put_sweep(owner: &Repository, store: &MemoryDriver, condemned: Vec<PackId>, floor: u64) {
    let dead =
        if condemned.is_empty() { vec![] } else { vec![Dead { g: 0, at: 1, packs: condemned.clone() }] };
    lose(store, &condemned);
    put_sweep_of(owner, store, 0, condemned, dead, floor);
}

/// Puts sweep `g` for the plan that is there.
pub(crate) fn put_sweep_of(
    owner: &Repository,
    store: &MemoryDriver,
    g: u64,
    condemned: Vec<PackId>,
    dead: Vec<Dead>,
    floor: u64,
) {
    let name = ObjectName::Sweep(g);
    let prev = object_hash(&store.bytes(&ObjectName::Plan(g).to_string()).unwrap());
    let sweep = Sweep { condemned, dead, floor, prev }.encode().unwrap();
    store.tamper(&name.to_string(), owner.seal_signed(Class::Sweep, &name, &sweep).unwrap());
}
