//! Every limit of the format, in one place. Lengths are bytes unless the name says otherwise.

/// A volume's grid, and the unit of its hashes.
pub const BLOCK_LEN: u32 = 4096;
/// Longest plain content of a record, and longest chunk.
pub const RECORD_PLAIN_LEN_MAX: u32 = 4 << 20;
/// Sealing adds a 12-byte nonce and a 16-byte tag.
pub const RECORD_OVERHEAD_LEN: u32 = 28;
/// Longest sealed object.
pub const OBJECT_LEN_MAX: u64 = 64 << 20;
/// Longest body inside a sealed object before compression.
pub const BODY_LEN_MAX: u64 = 256 << 20;
/// Longest pack.
pub const PACK_LEN_MAX: u64 = 64 << 20;
/// Target length of a data pack.
pub const DATA_PACK_TARGET_LEN: u64 = 32 << 20;
/// Target length of a map pack.
pub const MAP_PACK_TARGET_LEN: u64 = 8 << 20;
/// Records in one pack.
pub const PACK_ROW_COUNT_MAX: u32 = 65_536;
/// Session keys in one pack.
pub const PACK_KEY_COUNT_MAX: u32 = 255;
/// A trailer's length is kept in 24 bits.
pub const TRAILER_LEN_MAX: u32 = (1 << 24) - 1;
/// Records sealed under one session key: their nonces are random (NIST SP 800-38D, 8.3).
pub const SESSION_RECORD_COUNT_MAX: u64 = 1 << 32;
/// Entries of one index run.
pub const RUN_ENTRY_COUNT_MAX: u64 = 1 << 20;
/// Ids of one part of a run's filter.
pub const FILTER_PART_ID_COUNT_MAX: usize = 1 << 14;
/// Length of one index run.
pub const RUN_LEN_MAX: u64 = 60 << 20;
/// Longest map page.
pub const PAGE_LEN_MAX: u32 = 128 << 10;
/// Children of an inner page of a volume map.
pub const VOLUME_FANOUT: usize = 64;
/// Segments of one volume.
pub const SEGMENT_COUNT_MAX: u64 = 1 << 32;
/// Nesting of CBOR.
pub const CBOR_DEPTH_MAX: u32 = 16;
/// Items (of arrays and maps, keys included) in one CBOR document.
pub const CBOR_ITEM_COUNT_MAX: u64 = 1 << 22;
/// Names and labels.
pub const NAME_LEN_MAX: u64 = 1024;
/// A domain's label.
pub const DOMAIN_LEN_MAX: u64 = 64;
/// Domains of one repository.
pub const DOMAIN_COUNT_MAX: u64 = 1024;
/// Window of zstd frames, as log2.
pub const ZSTD_WINDOW_LOG_MAX: u32 = 23;
/// zstd output kept only if it saves at least this many percent of a record.
pub const COMPRESSION_SAVING_PERCENT_MIN: u32 = 3;
/// Password slots tried when a repository is opened.
pub const PASSWORD_SLOT_COUNT_MAX: usize = 8;
/// Longest key slot.
pub const SLOT_LEN_MAX: u64 = 16 << 10;
/// Memory of Argon2id, in KiB, that a slot may ask for.
pub const KDF_M_KIB_MAX: u32 = 1 << 20;
/// Passes of Argon2id that a slot may ask for.
pub const KDF_T_MAX: u32 = 16;
/// Lanes of Argon2id that a slot may ask for.
pub const KDF_P_MAX: u32 = 16;
/// Rows of the table of chunk sizes.
pub const CHUNKING_ROW_COUNT_MAX: u64 = 64;
/// Blocks of one chunk.
pub const CHUNK_BLOCK_COUNT_MAX: u32 = 1024;
/// The average chunk is at most this many times the shortest.
pub const CHUNK_AVG_PER_MIN_MAX: u32 = 16;
/// Packs that a plan may name.
pub const PLAN_PACK_COUNT_MAX: u64 = 1 << 20;
/// Packs that a sweep may name, old and new.
pub const DEAD_PACK_COUNT_MAX: u64 = 1 << 21;
/// Snapshots that a plan may name as forgotten, over all generations.
pub const FORGOTTEN_COUNT_MAX: u64 = 1 << 20;
/// Byte ranges that one damage mark may name.
pub const DAMAGE_RANGE_COUNT_MAX: u64 = 1 << 20;

/// Epoch of all secrets; a later version may have others.
pub const EPOCH: u16 = 0;

/// Version of the format. Its bytes are a promise (`tests/fixtures/v1`); others need another version.
pub const FMT: u16 = 1;
