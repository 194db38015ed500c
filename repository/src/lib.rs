//! The engine: a repository on an object store.
//!
//! Backup, restore and check over the bytes of `repo-format` and the cuts of `chunker`. The engine
//! is asynchronous where it waits for the store, computes on rayon where it computes, and can run
//! inline on one thread ([`Exec::inline`]) for tests that count and fail every store call.

pub mod env;
pub mod error;
pub mod exec;
pub mod store;

pub use env::Env;
pub use error::{Error, ErrorKind, Result};
pub use exec::{CancelHandle, Exec};
pub use store::Store;
