//! Where the cuts go: pure functions from bytes to chunk boundaries and ids.
//!
//! No I/O, no clock, no randomness: the same keys and bytes give the same cuts and ids on every machine, for
//! ever. The golden lists in `tests/golden` are that promise; a change to one is a change of the format.
//!
//! # Ids
//! A chunk is seen as blocks of 4096 bytes, the last of which may be shorter. `h_i` is the BLAKE3 hash of
//! block i keyed with `K_block`, and the id is the BLAKE3 hash of `h_0 ‖ h_1 ‖ ... ‖ len`, keyed with
//! `K_chunk`, where `len` is the chunk's length in bytes as a little-endian u32. One hash of each block thus
//! decides the cut, the id, and later which blocks of a chunk changed.
//!
//! # Volumes: [`blocks`]
//! Cuts lie on the block grid, holes are found and not stored, and chunking starts anew at each segment, so
//! that segments can be cut in any order, on any number of threads, and again after a change.
//!
//! # Streams: [`stream`]
//! FastCDC 2020 with a keyed gear table, for input that has no grid and no size known in advance.

pub mod blocks;
mod hash;
pub mod stream;
mod wide;

pub use hash::{BlockKeys, chunk_id};

/// Bytes of a block, the unit of a volume's grid and of the first level of the hash.
pub const BLOCK_LEN: usize = 4096;
