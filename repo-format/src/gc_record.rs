//! Deletion records: plan, sweep, owner, forget marker, tombstone, damage mark. All are signed payloads.
//!
//! Lists of packs and snapshots are one byte string each: 16 bytes an item, strictly rising. Fields
//! that are not known are passed over: what a reader must know is said by a feature bit of config.

mod mark;

pub use mark::{Damage, ForgetMarker, LostVolume, Owner, Tombstone};

use crate::cbor::{Map, Value};
use crate::{Error, PackId, Result, SnapshotId, limits};

/// Snapshots that one generation forgot.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Forgotten {
    /// The generation.
    pub g: u64,
    /// The snapshots, rising.
    pub sids: Vec<SnapshotId>,
}

/// Packs that one generation condemned.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Dead {
    /// The generation.
    pub g: u64,
    /// The store's time of its plan, Unix milliseconds: the undelete window counts from here.
    pub at: u64,
    /// The packs, rising.
    pub packs: Vec<PackId>,
}

/// What a generation means to condemn, written before it looks again.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Plan {
    /// Packs that nothing new may depend on.
    pub candidates: Vec<PackId>,
    /// Every snapshot forgotten so far, by generation, rising.
    pub forgotten: Vec<Forgotten>,
    /// Index runs with a lower `built` are to be ignored once this generation has its sweep.
    pub floor: u64,
    /// BLAKE3 of the sweep before; none for generation 0.
    pub prev: Option<[u8; 32]>,
}

/// What a generation condemned, and all that is condemned by now.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Sweep {
    /// Packs that this generation condemned; if any, the last of `dead` names the same.
    pub condemned: Vec<PackId>,
    /// Every pack that is no location any more, by generation, rising; this generation's included.
    pub dead: Vec<Dead>,
    /// Index runs with a lower `built` are ignored.
    pub floor: u64,
    /// BLAKE3 of this generation's plan.
    pub prev: [u8; 32],
}

fn rising_bytes<const N: usize>(what: &'static str, ids: impl Iterator<Item = [u8; N]>) -> Result<Value> {
    let mut out = Vec::new();
    let mut last = None;
    for id in ids {
        if last.is_some_and(|last| last >= id) {
            return Err(Error::Rule { what, rule: "items do not rise" });
        }
        out.extend_from_slice(&id);
        last = Some(id);
    }
    Ok(Value::Bytes(out))
}

fn parse_rising<const N: usize>(what: &'static str, bytes: &[u8], limit: u64) -> Result<Vec<[u8; N]>> {
    let (items, rest) = bytes.as_chunks::<N>();
    if !rest.is_empty() {
        return Err(Error::Rule { what, rule: "not a whole number of items" });
    }
    Error::check_limit(what, items.len() as u64, limit)?;
    if items.windows(2).any(|pair| matches!(pair, [a, b] if a >= b)) {
        return Err(Error::Rule { what, rule: "items do not rise" });
    }
    Ok(items.to_vec())
}

fn encode_packs(what: &'static str, packs: &[PackId], limit: u64) -> Result<Value> {
    Error::check_limit(what, packs.len() as u64, limit)?;
    rising_bytes(what, packs.iter().map(|pack| pack.0))
}

fn parse_packs(what: &'static str, map: &mut Map, limit: u64) -> Result<Vec<PackId>> {
    Ok(parse_rising(what, &map.bytes(what)?, limit)?.into_iter().map(PackId).collect())
}

fn check_generations(what: &'static str, generations: impl Iterator<Item = u64>) -> Result<()> {
    let mut last = None;
    for g in generations {
        if last.is_some_and(|last| last >= g) {
            return Err(Error::Rule { what, rule: "generations do not rise" });
        }
        last = Some(g);
    }
    Ok(())
}

/// What one generation took, no other one takes: the cumulative lists are disjoint.
fn check_disjoint<T: Ord>(what: &'static str, limit: u64, lists: &[&[T]]) -> Result<()> {
    let total = lists.iter().fold(0u64, |sum, list| sum.saturating_add(list.len() as u64));
    Error::check_limit(what, total, limit)?;
    if lists.len() < 2 {
        return Ok(());
    }
    let mut all: Vec<&T> = lists.iter().copied().flatten().collect();
    all.sort_unstable();
    if all.windows(2).any(|pair| matches!(pair, [a, b] if a == b)) {
        return Err(Error::Rule { what, rule: "an item is in two generations" });
    }
    Ok(())
}

impl Plan {
    /// The signed payload.
    pub fn encode(&self) -> Result<Vec<u8>> {
        self.check()?;
        let mut forgotten = Vec::new();
        for one in &self.forgotten {
            let mut map = Map::new();
            map.set("g", one.g).set("sids", rising_bytes("sids", one.sids.iter().map(|sid| sid.0))?);
            forgotten.push(Value::Map(map));
        }
        let mut map = Map::new();
        map.set("cand", encode_packs("cand", &self.candidates, limits::PLAN_PACK_COUNT_MAX)?);
        map.set("F", forgotten).set("floor", self.floor).set_opt("prev", self.prev.as_ref());
        Ok(Value::Map(map).encode())
    }

    /// Reads a payload whose signature was checked.
    pub fn parse(bytes: &[u8]) -> Result<Self> {
        let mut map = Value::parse(bytes)?.into_map("plan")?;
        let mut forgotten = Vec::new();
        for one in map.list("F")? {
            let mut one = one.into_map("F")?;
            let sids = parse_rising("sids", &one.bytes("sids")?, limits::FORGOTTEN_COUNT_MAX)?;
            forgotten.push(Forgotten { g: one.uint("g")?, sids: sids.into_iter().map(SnapshotId).collect() });
        }
        let plan = Plan {
            candidates: parse_packs("cand", &mut map, limits::PLAN_PACK_COUNT_MAX)?,
            forgotten,
            floor: map.uint("floor")?,
            prev: map.opt("prev", Value::into_byte_array)?,
        };
        plan.check()?;
        Ok(plan)
    }

    fn check(&self) -> Result<()> {
        check_generations("F", self.forgotten.iter().map(|one| one.g))?;
        let lists: Vec<_> = self.forgotten.iter().map(|one| one.sids.as_slice()).collect();
        check_disjoint("forgotten snapshots", limits::FORGOTTEN_COUNT_MAX, &lists)
    }
}

impl Sweep {
    /// The signed payload.
    pub fn encode(&self) -> Result<Vec<u8>> {
        self.check()?;
        let mut dead = Vec::new();
        for one in &self.dead {
            let mut map = Map::new();
            map.set("g", one.g).set("at", one.at);
            map.set("packs", encode_packs("packs", &one.packs, limits::DEAD_PACK_COUNT_MAX)?);
            dead.push(Value::Map(map));
        }
        let mut map = Map::new();
        map.set("D", encode_packs("D", &self.condemned, limits::PLAN_PACK_COUNT_MAX)?);
        map.set("dead", dead).set("floor", self.floor).set("prev", &self.prev);
        Ok(Value::Map(map).encode())
    }

    /// Reads a payload whose signature was checked.
    pub fn parse(bytes: &[u8]) -> Result<Self> {
        let mut map = Value::parse(bytes)?.into_map("sweep")?;
        let mut dead = Vec::new();
        for one in map.list("dead")? {
            let mut one = one.into_map("dead")?;
            let packs = parse_packs("packs", &mut one, limits::DEAD_PACK_COUNT_MAX)?;
            dead.push(Dead { g: one.uint("g")?, at: one.uint("at")?, packs });
        }
        let sweep = Sweep {
            condemned: parse_packs("D", &mut map, limits::PLAN_PACK_COUNT_MAX)?,
            dead,
            floor: map.uint("floor")?,
            prev: map.array("prev")?,
        };
        sweep.check()?;
        Ok(sweep)
    }

    fn check(&self) -> Result<()> {
        check_generations("dead", self.dead.iter().map(|one| one.g))?;
        let lists: Vec<_> = self.dead.iter().map(|one| one.packs.as_slice()).collect();
        check_disjoint("dead packs", limits::DEAD_PACK_COUNT_MAX, &lists)?;
        if !self.condemned.is_empty() && lists.last() != Some(&self.condemned.as_slice()) {
            return Err(Error::Rule { what: "D", rule: "is not the newest of the dead" });
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests;
