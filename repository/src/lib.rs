//! The engine: a repository on an object store.
