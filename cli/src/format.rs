//! The words of the format that the command line speaks, by way of the engine.

pub(crate) use repository::repo_format::config::{Chunking, ChunkingRow, Config, StoreMode};
pub(crate) use repository::repo_format::gc_record::LostVolume;
pub(crate) use repository::repo_format::kdf::Secret;
pub(crate) use repository::repo_format::keys::keyfile;
pub(crate) use repository::repo_format::keys::slot::SlotKind;
pub(crate) use repository::repo_format::limits::{FMT, NAME_LEN_MAX};
pub(crate) use repository::repo_format::pack::{PackClass, Row, Trailer};
pub(crate) use repository::repo_format::snapshot::{Chunker, Snapshot, SnapshotStatus, Volume, VolumeMode};
pub(crate) use repository::repo_format::{Id, PackId, ProcessId, SlotId, SnapshotId};
