//! Where the cuts go: pure functions from bytes to chunk boundaries and identities.
