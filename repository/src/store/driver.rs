//! The five verbs that orlop asks of a store, and nothing else.

use bytes::Bytes;
use futures::future::BoxFuture;
use futures::stream::BoxStream;
use object_store::PutPayload;
use std::ops::Range;

/// One object as a listing shows it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ObjectMeta {
    /// Path below the repository's root.
    pub name: String,
    /// Length in bytes.
    pub len: u64,
    /// The store's own time of writing, Unix milliseconds.
    pub modified_ms: u64,
}

/// Why a request failed, by what may be done about it.
#[derive(Debug, thiserror::Error)]
pub enum DriverError {
    /// No object of this name.
    #[error("object not found")]
    NotFound,
    /// An object of this name is there (put-if-absent).
    #[error("object exists already")]
    Exists,
    /// May go through when tried again; for a put the effect is unknown.
    #[error("{0}")]
    Transient(String),
    /// The medium does not give the object's bytes back.
    #[error("{0}")]
    Unreadable(String),
    /// Will not go through: credentials, permissions, a full or read-only disk, a bad address.
    #[error("{0}")]
    Permanent(String),
    /// The process is taken to be dead: the crash tests' end of a run.
    #[error("stopped by a fault")]
    Crashed,
}

/// A named-bytes store. No verb overwrites.
pub trait Driver: Send + Sync {
    /// Writes `name` if there is none, in one request that is not repeated.
    fn put_new<'a>(&'a self, name: &'a str, payload: PutPayload) -> BoxFuture<'a, Result<(), DriverError>>;

    /// Reads a whole object, or `range` of it (clipped to its end).
    fn get<'a>(
        &'a self,
        name: &'a str,
        range: Option<Range<u64>>,
    ) -> BoxFuture<'a, Result<Bytes, DriverError>>;

    /// Length and time of an object.
    fn head<'a>(&'a self, name: &'a str) -> BoxFuture<'a, Result<ObjectMeta, DriverError>>;

    /// How late a write of another client may be seen here, in milliseconds; 0 where never.
    fn lag_ms(&self) -> u64 {
        0
    }

    /// All objects whose name begins with `prefix` (which ends with `/`, or is empty), in any order.
    fn list<'a>(&'a self, prefix: &'a str) -> BoxStream<'a, Result<ObjectMeta, DriverError>>;

    /// Removes an object; none of this name is no error.
    fn delete<'a>(&'a self, name: &'a str) -> BoxFuture<'a, Result<(), DriverError>>;

    /// Where this is, for people: never with credentials.
    fn url(&self) -> &str;
}
