//! The engine: a repository on an object store.
//!
//! Backup, restore and check over the bytes of `repo-format` and the cuts of `chunker`. The engine
//! is asynchronous where it waits for the store, computes on rayon where it computes, and can run
//! inline on one thread ([`Exec::inline`]) for tests that count and fail every store call.

pub mod backup;
mod cache;
pub mod check;
mod copier;
pub mod credential;
pub mod diff;
mod direct;
pub mod env;
pub mod error;
pub mod exec;
pub mod forget;
mod gc;
pub mod index;
pub mod init;
pub mod inspect;
pub mod key;
pub mod manifest_spool;
mod masked;
mod open;
pub mod pending;
pub mod progress;
pub mod prune;
mod rates;
pub mod reader;
pub mod repair;
mod repo;
pub mod restore;
pub mod snapshots;
pub mod source;
mod spill;
pub mod stats;
pub mod store;
pub mod undelete;
pub mod vfs;
mod walked;

pub use credential::Credential;
pub use env::Env;
pub use error::{Error, ErrorKind, Result};
pub use exec::{CancelHandle, Exec, MEMORY_LEN};
pub use rates::Rates;
pub use repo::{Identity, Repository};
/// The format, for those who name its types and may not depend on it themselves.
pub use repo_format;
pub use store::Store;
