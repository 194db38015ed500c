//! The small records: what someone wishes, owns or has found.

use crate::cbor::{Map, Value};
use crate::{Error, ProcessId, Result, SnapshotId, limits};

macro_rules! sid_record {
    ($(#[$doc:meta])* $name:ident, $what:literal) => {
        $(#[$doc])*
        #[derive(Debug, Clone, Copy, PartialEq, Eq)]
        pub struct $name {
            /// The snapshot, equal to the one of the object's name.
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

/// Which process may prune a store without put-if-absent; the highest n counts.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Owner {
    /// The process.
    pub proc: ProcessId,
    /// Host or pod, for people; at most [`limits::NAME_LEN_MAX`] bytes.
    pub label: String,
    /// Unix milliseconds by the writer's clock; for people.
    pub created_ms: u64,
}

impl Owner {
    /// The signed payload.
    pub fn encode(&self) -> Result<Vec<u8>> {
        check_name(&self.label)?;
        let mut map = Map::new();
        map.set("proc", self.proc.as_bytes()).set("label", self.label.as_str());
        map.set("created", self.created_ms);
        Ok(Value::Map(map).encode())
    }

    /// Reads a payload whose signature was checked.
    pub fn parse(bytes: &[u8]) -> Result<Self> {
        let mut map = Value::parse(bytes)?.into_map("gc owner")?;
        let owner = Owner {
            proc: ProcessId(map.array("proc")?),
            label: map.text("label")?,
            created_ms: map.uint("created")?,
        };
        check_name(&owner.label)?;
        Ok(owner)
    }
}

/// What a volume has lost.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct LostVolume {
    /// Name of the volume in its snapshot.
    pub name: String,
    /// Offset and length in bytes; rising, apart, none empty.
    pub ranges: Vec<(u64, u64)>,
}

/// What of a snapshot is lost, so that nobody restores zeros without knowing.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Damage {
    /// The snapshot, equal to the one of the object's name.
    pub sid: SnapshotId,
    /// Unix milliseconds by the writer's clock; for people.
    pub created_ms: u64,
    /// Volumes with lost ranges, names rising.
    pub volumes: Vec<LostVolume>,
    /// Paths of lost manifests, as in the catalogue, rising.
    pub manifests: Vec<String>,
}

impl Damage {
    /// The signed payload.
    pub fn encode(&self) -> Result<Vec<u8>> {
        self.check()?;
        let volume = |lost: &LostVolume| {
            let range = |(offset, len): &(u64, u64)| Value::Array(vec![(*offset).into(), (*len).into()]);
            let mut map = Map::new();
            map.set("name", lost.name.as_str());
            map.set("ranges", lost.ranges.iter().map(range).collect::<Vec<_>>());
            Value::Map(map)
        };
        let mut map = Map::new();
        map.set("sid", self.sid.as_bytes()).set("created", self.created_ms);
        map.set("volumes", self.volumes.iter().map(volume).collect::<Vec<_>>());
        map.set("manifests", self.manifests.iter().map(|path| path.as_str().into()).collect::<Vec<Value>>());
        Ok(Value::Map(map).encode())
    }

    /// Reads a payload whose signature was checked.
    pub fn parse(bytes: &[u8]) -> Result<Self> {
        let mut map = Value::parse(bytes)?.into_map("damage mark")?;
        let volumes = map.list("volumes")?.into_iter().map(parse_volume).collect::<Result<_>>()?;
        let manifests = map.list("manifests")?.into_iter().map(|path| path.into_text("manifest"));
        let damage = Damage {
            sid: SnapshotId(map.array("sid")?),
            created_ms: map.uint("created")?,
            volumes,
            manifests: manifests.collect::<Result<_>>()?,
        };
        damage.check()?;
        Ok(damage)
    }

    fn check(&self) -> Result<()> {
        let count = self.volumes.iter().fold(0u64, |sum, lost| sum.saturating_add(lost.ranges.len() as u64));
        Error::check_limit("lost ranges", count, limits::DAMAGE_RANGE_COUNT_MAX)?;
        self.volumes.iter().try_for_each(|lost| check_name(&lost.name).and(check_ranges(&lost.ranges)))?;
        self.manifests.iter().try_for_each(|path| check_name(path))?;
        let volumes_rise = self.volumes.windows(2).all(|pair| matches!(pair, [a, b] if a.name < b.name));
        let manifests_rise = self.manifests.windows(2).all(|pair| matches!(pair, [a, b] if a < b));
        if volumes_rise && manifests_rise {
            Ok(())
        } else {
            Err(Error::Rule { what: "damage mark", rule: "names do not rise" })
        }
    }
}

fn check_name(name: &str) -> Result<()> {
    Error::check_limit("name", name.len() as u64, limits::NAME_LEN_MAX)
}

fn check_ranges(ranges: &[(u64, u64)]) -> Result<()> {
    let mut end = None;
    for (offset, len) in ranges {
        let next = offset.checked_add(*len).filter(|_| *len > 0 && end.is_none_or(|end| end < *offset));
        end = Some(next.ok_or(Error::Rule { what: "lost ranges", rule: "empty, touching or not rising" })?);
    }
    Ok(())
}

fn parse_volume(value: Value) -> Result<LostVolume> {
    let mut map = value.into_map("lost volume")?;
    let name = map.text("name")?;
    let ranges =
        map.list("ranges")?.into_iter().map(|range| match range.into_list("lost range")?.as_slice() {
            [Value::Uint(offset), Value::Uint(len)] => Ok((*offset, *len)),
            _ => Err(Error::Rule { what: "lost range", rule: "is not an offset and a length" }),
        });
    Ok(LostVolume { name, ranges: ranges.collect::<Result<_>>()? })
}
