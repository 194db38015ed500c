//! The config: a signed chain of documents, the highest valid one of which counts.

use crate::cbor::{Map, Value};
use crate::keys::check_domain;
use crate::{Error, RepoId, Result, limits, sealed};

const WHAT: &str = "config";
/// Longest delay after which a write is still taken to be invisible: one day.
const DELTA_MS_MAX: u64 = 86_400_000;

/// Parameters of the block chunker up to a volume size; lengths in blocks of 4096 bytes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct ChunkingRow {
    /// Largest volume, in bytes, that this row is for.
    pub up_to: u64,
    /// Shortest chunk that a cut ends.
    pub min: u32,
    /// Average.
    pub avg: u32,
    /// Longest chunk.
    pub max: u32,
}

impl ChunkingRow {
    fn check(&self) -> Result<()> {
        let ordered = 1 <= self.min && self.min <= self.avg && self.avg <= self.max;
        let bounded = self.max <= limits::CHUNK_BLOCK_COUNT_MAX && self.avg >= 2;
        if ordered && bounded && self.avg <= limits::CHUNK_AVG_PER_MIN_MAX * self.min {
            return Ok(());
        }
        Err(Error::Unexpected {
            what: "chunking",
            found: format!("min {} avg {} max {}", self.min, self.avg, self.max),
            expected: "1 <= min <= avg <= max <= 1024, 2 <= avg <= 16 min".into(),
        })
    }
}

/// How volumes are cut, by size; fixed for a repository's life, so that chunks are found again.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Chunking(Vec<ChunkingRow>);

impl Chunking {
    /// Content-defined cuts: 32 KiB on average up to 1 TiB, 128 KiB up to 16 TiB, 512 KiB above.
    pub fn blocks() -> Self {
        Chunking(vec![
            ChunkingRow { up_to: 1 << 40, min: 2, avg: 8, max: 32 },
            ChunkingRow { up_to: 16 << 40, min: 8, avg: 32, max: 128 },
            ChunkingRow { up_to: u64::MAX, min: 32, avg: 128, max: 512 },
        ])
    }

    /// Cuts at multiples of `blocks` blocks, 2 to 1024.
    pub fn fixed(blocks: u32) -> Result<Self> {
        Self::new(vec![ChunkingRow { up_to: u64::MAX, min: blocks, avg: blocks, max: blocks }])
    }

    /// A table: rows rise, the last one is for every size.
    pub fn new(rows: Vec<ChunkingRow>) -> Result<Self> {
        Error::check_limit("chunking rows", rows.len() as u64, limits::CHUNKING_ROW_COUNT_MAX)?;
        rows.iter().try_for_each(ChunkingRow::check)?;
        let rising = rows.windows(2).all(|pair| matches!(pair, [a, b] if a.up_to < b.up_to));
        if !rising || rows.last().is_none_or(|row| row.up_to != u64::MAX) {
            return Err(Error::Rule { what: "chunking", rule: "rows do not rise to 2^64 - 1" });
        }
        Ok(Chunking(rows))
    }

    /// The rows.
    pub fn rows(&self) -> &[ChunkingRow] {
        &self.0
    }

    /// The row for a volume of `volume_len` bytes.
    pub fn params_for(&self, volume_len: u64) -> Option<&ChunkingRow> {
        self.0.iter().find(|row| volume_len <= row.up_to)
    }

    fn encode(&self) -> Value {
        let row = |row: &ChunkingRow| {
            let numbers = [row.up_to, row.min.into(), row.avg.into(), row.max.into()];
            Value::Array(numbers.into_iter().map(Value::Uint).collect())
        };
        Value::Array(self.0.iter().map(row).collect())
    }

    fn parse(list: Vec<Value>) -> Result<Self> {
        Error::check_limit("chunking rows", list.len() as u64, limits::CHUNKING_ROW_COUNT_MAX)?;
        let mut rows = Vec::new();
        for row in list {
            let numbers: Result<Vec<u64>> =
                row.into_list("chunking row")?.into_iter().map(|n| n.into_uint("chunking row")).collect();
            let [up_to, min, avg, max] = numbers?[..] else {
                return Err(Error::Rule { what: "chunking row", rule: "does not have four numbers" });
            };
            let small = |n: u64| u32::try_from(n).unwrap_or(u32::MAX);
            rows.push(ChunkingRow { up_to, min: small(min), avg: small(avg), max: small(max) });
        }
        Self::new(rows)
    }
}

/// How prune is kept from racing itself.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum StoreMode {
    /// Any number of pruners: the store has put-if-absent.
    Many,
    /// One pruner by agreement: the store has not.
    One,
}

/// What is known of the store.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct StoreSettings {
    /// How many may prune.
    pub mode: StoreMode,
    /// Milliseconds until a write is seen by every reader.
    pub delta_ms: u64,
}

/// Feature bits, used as ext4 does.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Features {
    /// Unknown bits are harmless.
    pub compat: u64,
    /// Unknown bits forbid writing.
    pub ro_compat: u64,
    /// Unknown bits forbid deletion: prune, repair, and the end of sessions.
    pub gc_compat: u64,
    /// Unknown bits forbid reading.
    pub incompat: u64,
}

impl Features {
    /// Refuses what this version may not even read.
    fn check_readable(&self) -> Result<()> {
        match self.incompat & !KNOWN.incompat {
            0 => Ok(()),
            found => Err(Error::Unsupported { what: "feature bits", found }),
        }
    }

    /// What this version may do with a repository that it may read: others do not [parse](Config::parse).
    pub fn access(&self) -> Access {
        if self.ro_compat & !KNOWN.ro_compat != 0 {
            Access::ReadOnly
        } else if self.gc_compat & !KNOWN.gc_compat != 0 {
            Access::AddOnly
        } else {
            Access::ReadWrite
        }
    }
}

/// Bits of each set that this version knows.
const KNOWN: Features = Features { compat: 0, ro_compat: 0, gc_compat: 0, incompat: 0 };

/// What this version may do with a repository.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Access {
    /// Everything.
    ReadWrite,
    /// A feature that only who deletes must know is not known.
    AddOnly,
    /// A feature that only writers must know is not known.
    ReadOnly,
}

/// One document of the chain.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Config {
    /// The repository.
    pub repo_id: RepoId,
    /// Its place in the chain, from 0.
    pub n: u64,
    /// BLAKE3 of the object `config/(n - 1)`; none for the first.
    pub prev: Option<[u8; 32]>,
    /// C_pub: content keys are wrapped for it.
    pub content_public: [u8; 32],
    /// G_pub: verifies configs and deletion records.
    pub deletion_public: [u8; 32],
    /// Labels of the domains, sorted.
    pub domains: Vec<String>,
    /// How volumes are cut.
    pub chunking: Chunking,
    /// Unix milliseconds.
    pub created_ms: u64,
    /// What is known of the store.
    pub store: StoreSettings,
    /// Feature bits.
    pub features: Features,
}

impl Config {
    /// The signed payload.
    pub fn encode(&self) -> Result<Vec<u8>> {
        self.check()?;
        let mut store = Map::new();
        let mode = match self.store.mode {
            StoreMode::Many => "many",
            StoreMode::One => "one",
        };
        store.set("mode", mode).set("delta_ms", self.store.delta_ms);
        let mut features = Map::new();
        features.set("compat", self.features.compat);
        features.set("ro_compat", self.features.ro_compat).set("incompat", self.features.incompat);
        features.set_opt("gc_compat", Some(self.features.gc_compat).filter(|bits| *bits != 0));
        let domains: Vec<Value> = self.domains.iter().map(|domain| domain.as_str().into()).collect();
        let mut map = Map::new();
        map.set("repo_id", self.repo_id.as_bytes()).set("n", self.n).set_opt("prev", self.prev.as_ref());
        map.set("C_pub", &self.content_public).set("G_pub", &self.deletion_public).set("domains", domains);
        map.set("chunking", self.chunking.encode()).set("created", self.created_ms);
        map.set("store", store).set("features", features);
        Ok(Value::Map(map).encode())
    }

    /// Reads a payload whose signature was checked. Fields that are not known are passed over:
    /// what a reader must know is said by a feature bit, which is looked at before anything else is.
    ///
    /// # Errors
    /// Features that forbid reading, and a store mode that is not known, are of a newer version; all else is damage.
    pub fn parse(bytes: &[u8]) -> Result<Self> {
        let mut map = Value::parse(bytes)?.into_map(WHAT)?;
        let mut features = map.map("features")?;
        let features = Features {
            compat: features.uint("compat")?,
            ro_compat: features.uint("ro_compat")?,
            gc_compat: features.opt("gc_compat", Value::into_uint)?.unwrap_or(0),
            incompat: features.uint("incompat")?,
        };
        features.check_readable()?;
        let mut store = map.map("store")?;
        let mode = match store.text("mode")?.as_str() {
            "many" => StoreMode::Many,
            "one" => StoreMode::One,
            other => return Err(Error::unknown_name("store mode", other)),
        };
        let domains = map.list("domains")?.into_iter().map(|domain| domain.into_text("domain"));
        let config = Config {
            repo_id: RepoId(map.array("repo_id")?),
            n: map.uint("n")?,
            prev: map.opt("prev", Value::into_byte_array)?,
            content_public: map.array("C_pub")?,
            deletion_public: map.array("G_pub")?,
            domains: domains.collect::<Result<_>>()?,
            chunking: Chunking::parse(map.list("chunking")?)?,
            created_ms: map.uint("created")?,
            store: StoreSettings { mode, delta_ms: store.uint("delta_ms")? },
            features,
        };
        config.check()?;
        Ok(config)
    }

    fn check(&self) -> Result<()> {
        if (self.n == 0) != self.prev.is_none() {
            return Err(Error::Rule {
                what: WHAT,
                rule: "all but the first, and only they, name the one before",
            });
        }
        Error::check_limit("domains", self.domains.len() as u64, limits::DOMAIN_COUNT_MAX)?;
        self.domains.iter().try_for_each(|domain| check_domain(domain))?;
        let sorted = self.domains.windows(2).all(|pair| matches!(pair, [a, b] if a < b));
        if self.domains.is_empty() || !sorted {
            return Err(Error::Rule { what: "domains", rule: "none, or not sorted and unique" });
        }
        Error::check_limit("store delta_ms", self.store.delta_ms, DELTA_MS_MAX)
    }
}

impl Config {
    /// Whether this config comes right after `previous`, whose whole object is given.
    ///
    /// # Errors
    /// Another repository, another number than the next, or another object's hash.
    pub fn follows(&self, previous: &Config, previous_object: &[u8]) -> Result<()> {
        let next = previous.n.checked_add(1) == Some(self.n) && previous.repo_id == self.repo_id;
        if next && self.prev == Some(sealed::object_hash(previous_object)) {
            Ok(())
        } else {
            Err(Error::Mismatch { what: "config chain" })
        }
    }
}

/// Longest segment that any table can give: 128 x 1024 blocks.
pub const SEGMENT_LEN_MAX: u64 = 128 * 1024 * limits::BLOCK_LEN as u64;

#[cfg(test)]
mod tests;
