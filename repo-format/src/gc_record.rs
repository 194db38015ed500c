//! Deletion records: plan, sweep, forget marker, tombstone, damage mark. All are signed payloads.
//!
//! Lists of packs and snapshots are one byte string each: 16 bytes an item, strictly rising.

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
    /// Packs that this generation condemned.
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
            let sids = parse_rising("sids", &one.bytes("sids")?, limits::CBOR_ITEM_COUNT_MAX)?;
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
        check_generations("F", self.forgotten.iter().map(|one| one.g))
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
        let total = self.dead.iter().fold(0u64, |sum, one| sum.saturating_add(one.packs.len() as u64));
        Error::check_limit("dead packs", total, limits::DEAD_PACK_COUNT_MAX)
    }
}

macro_rules! sid_record {
    ($(#[$doc:meta])* $name:ident, $what:literal) => {
        $(#[$doc])*
        #[derive(Debug, Clone, Copy, PartialEq, Eq)]
        pub struct $name {
            /// The snapshot.
            pub sid: SnapshotId,
            /// Unix milliseconds by the writer's clock; for people.
            pub created_ms: u64,
        }

        impl $name {
            /// The signed payload.
            pub fn encode(&self) -> Vec<u8> {
                let mut map = Map::new();
                map.set("sid", self.sid.as_bytes()).set("created", self.created_ms);
                Value::Map(map).encode()
            }

            /// Reads a payload whose signature was checked.
            pub fn parse(bytes: &[u8]) -> Result<Self> {
                let mut map = Value::parse(bytes)?.into_map($what)?;
                Ok($name { sid: SnapshotId(map.array("sid")?), created_ms: map.uint("created")? })
            }
        }
    };
}

sid_record!(
    /// The wish to drop a snapshot: `forget/<sid>`, or `.last` for even the last one of its group.
    ForgetMarker,
    "forget marker"
);
sid_record!(
    /// In the place of a snapshot that its session can no longer commit.
    Tombstone,
    "tombstone"
);

#[cfg(test)]
mod tests {
    use super::*;

    fn packs(range: std::ops::Range<u8>) -> Vec<PackId> {
        range.map(|n| PackId([n; 16])).collect()
    }

    #[test]
    fn round_trips() {
        let sids = vec![SnapshotId([1; 16]), SnapshotId([2; 16])];
        let plan = Plan {
            candidates: packs(0..9),
            forgotten: vec![Forgotten { g: 0, sids: sids.clone() }, Forgotten { g: 7, sids }],
            floor: 3,
            prev: Some([9; 32]),
        };
        assert_eq!(Plan::parse(&plan.encode().unwrap()), Ok(plan));
        let dead = vec![Dead { g: 1, at: 5, packs: packs(3..5) }, Dead { g: 2, at: 6, packs: packs(0..3) }];
        let sweep = Sweep { condemned: packs(0..3), dead, floor: 1, prev: [8; 32] };
        let bytes = sweep.encode().unwrap();
        assert_eq!(Sweep::parse(&bytes), Ok(sweep));
        for len in 0..bytes.len() {
            assert!(Sweep::parse(&bytes[..len]).is_err());
        }
        let tombstone = Tombstone { sid: SnapshotId([1; 16]), created_ms: 4 };
        assert_eq!(Tombstone::parse(&tombstone.encode()), Ok(tombstone));
    }

    #[test]
    fn lists_rise() {
        let mut candidates = packs(0..3);
        candidates.reverse();
        assert!(Plan { candidates, ..Plan::default() }.encode().is_err());
        let dead = vec![Dead { g: 2, at: 0, packs: vec![] }, Dead { g: 2, at: 0, packs: vec![] }];
        assert!(Sweep { dead, ..Sweep::default() }.encode().is_err());
        assert!(parse_rising::<16>("x", &[0; 17], 10).is_err());
        assert!(parse_rising::<16>("x", &[0; 32], 10).is_err());
        assert!(parse_rising::<1>("x", &[0, 1, 2], 2).is_err());
    }
}
