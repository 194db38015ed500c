//! Benchmarks: what the machine can do, and how near the engine comes.
//!
//! - `make-image` builds a file system image of real files to measure on.
//! - `limits` runs the [`fused`] loop, a backup without a store, and compares it with its [`kernels`].
//! - `pipeline` runs the engine and the fused loop in turns; [`unpack`] is the loop of a restore.
//! - `macro-bench` runs whole programs side by side: orlop, restic, rustic, kopia, borg.
//! - `latency` runs backup and restore over a [`line`] with latency and bandwidth, before a real S3 server ([`s3`]).
//! - `synthetic` makes a repository of any size, which `prune` is measured on.
//!
//! All of them want a quiet machine and say what load they saw.

pub mod cpu;
pub mod engine;
pub mod fused;
pub mod image;
pub mod kernels;
pub mod line;
pub mod macrobench;
pub mod make;
pub mod packs;
pub mod process;
pub mod prune;
pub mod report;
pub mod s3;
pub mod synthetic;
pub mod unpack;

use chunker::BlockKeys;
use chunker::blocks::{BlockParams, Cut};
use repo_format::kdf::Secret;
use repo_format::map::{LeafEntry, PageKey};
use repo_format::record::SessionKey;
use repo_format::{Id, KeyId, RepoId, SnapshotId};

/// What the loops are keyed with. The keys are constants: nothing sealed with them is kept.
pub struct Keys {
    /// Cuts and ids of chunks.
    pub block: BlockKeys,
    /// Ids of pages.
    pub page: PageKey,
    /// Seals records.
    pub session: SessionKey,
    /// Seals trailers.
    pub structure: Secret,
    /// What records and trailers are bound to.
    pub repo_id: RepoId,
    /// What trailers say.
    pub sid: SnapshotId,
}

impl Keys {
    /// The same at each run, so that cuts are the same too.
    pub fn new() -> anyhow::Result<Self> {
        let structure = Secret::new([3; 32]);
        let repo_id = RepoId([4; 16]);
        // the base point of Curve25519: a public key as good as any
        let mut public = [0; 32];
        public[0] = 9;
        let (k, ikm) = (Secret::new([5; 32]), Secret::new([6; 32]));
        Ok(Keys {
            block: BlockKeys::new(&[1; 32], &[2; 32]),
            page: PageKey::new(&structure),
            session: SessionKey::data(&repo_id, 0, &public, KeyId([7; 16]), &k, &ikm)?,
            structure,
            repo_id,
            sid: SnapshotId([8; 16]),
        })
    }
}

/// How the engine cuts a volume of this size class unless told otherwise: 8/32/128 KiB, segments of 4 MiB.
pub fn params() -> anyhow::Result<BlockParams> {
    Ok(BlockParams::new(2, 8, 32)?)
}

/// Cuts as a map has them.
pub fn entries(cuts: &[Cut], out: &mut Vec<LeafEntry>) {
    out.clear();
    out.extend(cuts.iter().map(|cut| LeafEntry { len: cut.len, id: cut.id.map(Id) }));
}
