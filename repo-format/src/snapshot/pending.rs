//! What a session puts before it commits, so that a prune running meanwhile spares its packs.

use crate::cbor::{Map, Value};
use crate::{Error, Result, SnapshotId, limits};

/// The announcement of a snapshot; the commit puts exactly these snapshot bytes.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Pending {
    /// The whole sealed object that will be `snapshots/<sid>`, opened under that name.
    pub snapshot: Vec<u8>,
    /// The parent whose pages may be inherited.
    pub parent: Option<SnapshotId>,
    /// Sweeps that the session had read when it began.
    pub g0: u64,
}

impl Pending {
    /// The body of the sealed object.
    pub fn encode(&self) -> Result<Vec<u8>> {
        check_len(&self.snapshot)?;
        let mut map = Map::new();
        map.set("snapshot", self.snapshot.as_slice());
        map.set_opt("parent", self.parent.as_ref().map(|sid| &sid.0));
        map.set("g0", self.g0);
        Ok(Value::Map(map).encode())
    }

    /// Reads the body; unknown fields are left to newer readers.
    pub fn parse(bytes: &[u8]) -> Result<Self> {
        Error::check_limit("pending", bytes.len() as u64, limits::BODY_LEN_MAX)?;
        let mut map = Value::parse(bytes)?.into_map("pending")?;
        let snapshot = map.bytes("snapshot")?;
        check_len(&snapshot)?;
        let parent = map.opt("parent", Value::into_byte_array)?.map(SnapshotId);
        Ok(Pending { snapshot, parent, g0: map.uint("g0")? })
    }
}

fn check_len(snapshot: &[u8]) -> Result<()> {
    Error::check_limit("snapshot within pending", snapshot.len() as u64, limits::OBJECT_LEN_MAX)
}
