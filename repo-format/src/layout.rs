//! Names of objects: the only place where one is spelt.
//!
//! A name is the full path below the repository's root. It is bound into the object's key, so it
//! is always taken from the path that was asked for, never from the bytes. No name is used twice.

use crate::pack::PackClass;
use crate::{Error, PackId, ProcessId, Result, SlotId, SnapshotId};
use std::fmt;

/// Folder of the config chain.
pub const CONFIG_PREFIX: &str = "config/";
/// Folder of the key slots.
pub const SLOT_PREFIX: &str = "keys/";
/// Folder of all packs of content and of map pages.
pub const PACK_PREFIX: &str = "packs/";
/// Folder of the packs of content records.
pub const DATA_PACK_PREFIX: &str = "packs/data/";
/// Folder of the packs of map pages.
pub const MAP_PACK_PREFIX: &str = "packs/map/";
/// Folder of the index runs.
pub const INDEX_PREFIX: &str = "index/";
/// Folder of the pending snapshots.
pub const PENDING_PREFIX: &str = "pending/";
/// Folder of the snapshots and tombstones.
pub const SNAPSHOT_PREFIX: &str = "snapshots/";
/// Folder of the forget markers.
pub const FORGET_PREFIX: &str = "forget/";
/// Folder of plans, sweeps and owners.
pub const GC_PREFIX: &str = "gc/";
/// Folder of the damage marks.
pub const DAMAGE_PREFIX: &str = "damage/";
/// Folder of what the store probe writes and deletes at once.
pub const PROBE_PREFIX: &str = "probe/";

const OWNER_PREFIX: &str = "gc/owner.";

/// The name of any object that a repository may hold.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum ObjectName {
    /// Config record n of the chain.
    Config(u64),
    /// A key slot.
    Slot(SlotId),
    /// A pack of content records.
    DataPack(PackId),
    /// A pack of map pages.
    MapPack(PackId),
    /// An index run.
    Run {
        /// Order of publication: 1 + the highest of the inputs, or of the runs listed.
        seq: u64,
        /// The run is a pack of class 3.
        pack: PackId,
    },
    /// What a session is about to commit.
    Pending(SnapshotId),
    /// A snapshot or its tombstone.
    Snapshot(SnapshotId),
    /// A signed wish to drop a snapshot.
    Forget {
        /// The snapshot.
        sid: SnapshotId,
        /// True: even if it is the last one of its group.
        last: bool,
    },
    /// Plan of generation g.
    Plan(u64),
    /// Sweep of generation g.
    Sweep(u64),
    /// Record n that names the one pruner, on stores without put-if-absent.
    Owner(u64),
    /// Plan of one process, on stores without put-if-absent.
    ProcPlan {
        /// The generation.
        g: u64,
        /// The process that wrote it.
        proc: ProcessId,
    },
    /// Sweep of one process, on stores without put-if-absent.
    ProcSweep {
        /// The generation.
        g: u64,
        /// The process that wrote it.
        proc: ProcessId,
    },
    /// Mark n of what a snapshot has lost.
    Damage {
        /// The snapshot.
        sid: SnapshotId,
        /// Number of the mark, from 0.
        n: u64,
    },
    /// An object of the store probe.
    Probe([u8; 16]),
}

impl fmt::Display for ObjectName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Config(n) => write!(f, "{CONFIG_PREFIX}{n:016x}"),
            Self::Slot(id) => write!(f, "{SLOT_PREFIX}{id}"),
            Self::DataPack(id) => write!(f, "{DATA_PACK_PREFIX}{:02x}/{id}", id.0[0]),
            Self::MapPack(id) => write!(f, "{MAP_PACK_PREFIX}{:02x}/{id}", id.0[0]),
            Self::Run { seq, pack } => write!(f, "{INDEX_PREFIX}{seq:016x}-{pack}"),
            Self::Pending(sid) => write!(f, "{PENDING_PREFIX}{sid}"),
            Self::Snapshot(sid) => write!(f, "{SNAPSHOT_PREFIX}{sid}"),
            Self::Forget { sid, last } => {
                write!(f, "{FORGET_PREFIX}{sid}{}", if *last { ".last" } else { "" })
            }
            Self::Plan(g) => write!(f, "{GC_PREFIX}{g:016x}.plan"),
            Self::Sweep(g) => write!(f, "{GC_PREFIX}{g:016x}.sweep"),
            Self::Owner(n) => write!(f, "{OWNER_PREFIX}{n:016x}"),
            Self::ProcPlan { g, proc } => write!(f, "{GC_PREFIX}{g:016x}.{proc}.plan"),
            Self::ProcSweep { g, proc } => write!(f, "{GC_PREFIX}{g:016x}.{proc}.sweep"),
            Self::Damage { sid, n } => write!(f, "{DAMAGE_PREFIX}{sid}.{n:016x}"),
            Self::Probe(id) => write!(f, "{PROBE_PREFIX}{}", SlotId(*id)),
        }
    }
}

impl ObjectName {
    /// The name of a pack of data or map records; runs are named by [`ObjectName::Run`].
    pub fn pack(class: PackClass, pack_id: PackId) -> Self {
        match class {
            PackClass::Data | PackClass::Index => ObjectName::DataPack(pack_id),
            PackClass::Map => ObjectName::MapPack(pack_id),
        }
    }

    /// Class and id, if this is the name of a pack of data or map records.
    pub fn as_pack(&self) -> Option<(PackClass, PackId)> {
        match self {
            ObjectName::DataPack(pack_id) => Some((PackClass::Data, *pack_id)),
            ObjectName::MapPack(pack_id) => Some((PackClass::Map, *pack_id)),
            _ => None,
        }
    }

    /// The exact inverse of `Display`. What no version writes is an error, foreign files included.
    pub fn parse(name: &str) -> Result<Self> {
        let parsed = Self::candidate(name).ok_or_else(|| Error::Unexpected {
            what: "object name",
            found: format!("{:.120}", name.escape_default().to_string()),
            expected: "a name of this format".into(),
        })?;
        Ok(parsed)
    }

    fn candidate(name: &str) -> Option<Self> {
        if let Some(rest) = name.strip_prefix(CONFIG_PREFIX) {
            return parse_n16(rest).map(Self::Config);
        }
        if let Some(rest) = name.strip_prefix(SLOT_PREFIX) {
            return SlotId::parse(rest).ok().map(Self::Slot);
        }
        if let Some(rest) = name.strip_prefix(DATA_PACK_PREFIX) {
            return parse_pack(rest).map(Self::DataPack);
        }
        if let Some(rest) = name.strip_prefix(MAP_PACK_PREFIX) {
            return parse_pack(rest).map(Self::MapPack);
        }
        if let Some(rest) = name.strip_prefix(INDEX_PREFIX) {
            let (seq, pack) = rest.split_once('-')?;
            return Some(Self::Run { seq: parse_n16(seq)?, pack: PackId::parse(pack).ok()? });
        }
        if let Some(rest) = name.strip_prefix(PENDING_PREFIX) {
            return SnapshotId::parse(rest).ok().map(Self::Pending);
        }
        if let Some(rest) = name.strip_prefix(SNAPSHOT_PREFIX) {
            return SnapshotId::parse(rest).ok().map(Self::Snapshot);
        }
        if let Some(rest) = name.strip_prefix(FORGET_PREFIX) {
            let (sid, last) = rest.strip_suffix(".last").map_or((rest, false), |sid| (sid, true));
            return Some(Self::Forget { sid: SnapshotId::parse(sid).ok()?, last });
        }
        if let Some(rest) = name.strip_prefix(DAMAGE_PREFIX) {
            let (sid, n) = rest.split_once('.')?;
            return Some(Self::Damage { sid: SnapshotId::parse(sid).ok()?, n: parse_n16(n)? });
        }
        if let Some(rest) = name.strip_prefix(PROBE_PREFIX) {
            return SlotId::parse(rest).ok().map(|id| Self::Probe(id.0));
        }
        Self::gc_candidate(name)
    }

    fn gc_candidate(name: &str) -> Option<Self> {
        if let Some(rest) = name.strip_prefix(OWNER_PREFIX) {
            return parse_n16(rest).map(Self::Owner);
        }
        let (g, rest) = name.strip_prefix(GC_PREFIX)?.split_once('.')?;
        let g = parse_n16(g)?;
        match rest.split_once('.') {
            None if rest == "plan" => Some(Self::Plan(g)),
            None if rest == "sweep" => Some(Self::Sweep(g)),
            Some((proc, "plan")) => Some(Self::ProcPlan { g, proc: ProcessId::parse(proc).ok()? }),
            Some((proc, "sweep")) => Some(Self::ProcSweep { g, proc: ProcessId::parse(proc).ok()? }),
            _ => None,
        }
    }
}

/// 16 lower-case hex digits.
fn parse_n16(text: &str) -> Option<u64> {
    let digits = text.bytes().all(|c| matches!(c, b'0'..=b'9' | b'a'..=b'f'));
    if digits && text.len() == 16 { u64::from_str_radix(text, 16).ok() } else { None }
}

/// `<p2>/<pack32>`, where p2 repeats the first two digits.
fn parse_pack(text: &str) -> Option<PackId> {
    let (head, id) = text.split_once('/')?;
    if head.len() == 2 && id.starts_with(head) { PackId::parse(id).ok() } else { None }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn any_name() -> impl Strategy<Value = ObjectName> {
        (0u8..15, any::<u64>(), any::<[u8; 16]>(), any::<bool>()).prop_map(|(kind, n, id, last)| match kind {
            0 => ObjectName::Config(n),
            1 => ObjectName::Slot(SlotId(id)),
            2 => ObjectName::DataPack(PackId(id)),
            3 => ObjectName::MapPack(PackId(id)),
            4 => ObjectName::Run { seq: n, pack: PackId(id) },
            5 => ObjectName::Pending(SnapshotId(id)),
            6 => ObjectName::Snapshot(SnapshotId(id)),
            7 => ObjectName::Forget { sid: SnapshotId(id), last },
            8 => ObjectName::Plan(n),
            9 => ObjectName::Sweep(n),
            10 => ObjectName::Owner(n),
            11 => ObjectName::ProcPlan { g: n, proc: ProcessId(id) },
            12 => ObjectName::ProcSweep { g: n, proc: ProcessId(id) },
            13 => ObjectName::Damage { sid: SnapshotId(id), n },
            _ => ObjectName::Probe(id),
        })
    }

    proptest! {
        #[test]
        fn parse_inverts_display(name in any_name()) {
            prop_assert_eq!(ObjectName::parse(&name.to_string()), Ok(name));
        }

        #[test]
        fn what_parses_is_spelt_exactly_so(name in any_name(), at in any::<prop::sample::Index>(), c in "[ -~]") {
            let mut text = name.to_string();
            let at = at.index(text.len());
            text.replace_range(at..=at, &c);
            if let Ok(parsed) = ObjectName::parse(&text) {
                prop_assert_eq!(parsed.to_string(), text);
            }
        }

        #[test]
        fn never_panics(name in "[ -~ä/.]{0,80}") {
            let _ = ObjectName::parse(&name);
        }
    }

    #[test]
    fn spells_names_as_documented() {
        let id = [0xab; 16];
        let hex = "ab".repeat(16);
        let cases = [
            (ObjectName::Config(0x1f), "config/000000000000001f".to_owned()),
            (ObjectName::DataPack(PackId(id)), format!("packs/data/ab/{hex}")),
            (ObjectName::Run { seq: 2, pack: PackId(id) }, format!("index/0000000000000002-{hex}")),
            (ObjectName::Forget { sid: SnapshotId(id), last: true }, format!("forget/{hex}.last")),
            (ObjectName::Sweep(3), "gc/0000000000000003.sweep".to_owned()),
            (ObjectName::ProcPlan { g: 3, proc: ProcessId(id) }, format!("gc/0000000000000003.{hex}.plan")),
            (ObjectName::Owner(1), "gc/owner.0000000000000001".to_owned()),
        ];
        for (name, text) in cases {
            assert_eq!(name.to_string(), text);
        }
    }

    #[test]
    fn refuses_near_misses() {
        let hex = "ab".repeat(16);
        let cases = [
            String::new(),
            "config/1".into(),
            "config/000000000000001F".into(),
            "config/+00000000000001f".into(),
            format!("packs/data/{hex}"),
            format!("packs/data/ac/{hex}"),
            format!("packs/data//{hex}"),
            format!("packs/index/ab/{hex}"),
            format!("snapshots/{hex}/"),
            format!("snapshots/{}", hex.to_uppercase()),
            format!("forget/{hex}.last.last"),
            "gc/0000000000000003".into(),
            "gc/0000000000000003.plan.tmp".into(),
            format!("damage/{hex}"),
        ];
        for case in cases {
            assert!(ObjectName::parse(&case).is_err(), "{case}");
        }
    }
}
