//! The bytes of an orlop repository: values to bytes and back, and nothing else.
//!
//! No file, clock, network or randomness is touched here: nonces, salts and times are
//! arguments, so that every encoding can be reproduced and every parser fuzzed. Each
//! `parse` takes hostile bytes, checks every length against [`limits`] before it computes
//! or allocates with it, and never panics. The rules are written in `docs/format.md`.

pub mod catalogue;
pub mod cbor;
mod cipher;
pub mod compress;
pub mod config;
pub mod error;
mod fields;
pub mod gc_record;
#[cfg(test)]
mod golden;
pub mod id;
pub mod index;
pub mod kdf;
pub mod keys;
pub mod layout;
pub mod limits;
pub mod map;
pub mod pack;
pub mod padme;
pub mod record;
pub mod sealed;
pub mod signed;
pub mod snapshot;

pub use error::{Error, ErrorKind, Result};
pub use id::{Id, KeyId, PackId, ProcessId, RepoId, SlotId, SnapshotId};
