//! What the repository holds and what it takes.

use crate::{Repository, Result, snapshots, vfs};
use repo_format::layout::{
    CONFIG_PREFIX, DAMAGE_PREFIX, DATA_PACK_PREFIX, FORGET_PREFIX, GC_PREFIX, INDEX_PREFIX, MAP_PACK_PREFIX,
    PENDING_PREFIX, SLOT_PREFIX, SNAPSHOT_PREFIX,
};

/// Objects of one kind.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Stored {
    /// How many.
    pub objects: u64,
    /// Their bytes in the store.
    pub bytes: u64,
}

/// What the repository holds and what it takes.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct StatsReport {
    /// Snapshots of the domain, forgotten ones included.
    pub snapshots: u64,
    /// Of those, the forgotten ones.
    pub snapshots_forgotten: u64,
    /// Objects among the snapshots, and runs, that could not be read.
    pub unreadable: u64,
    /// Bytes of all volumes and manifests of all snapshots, each as often as it was backed up.
    pub bytes_logical: u64,
    /// Locations of records in the domain's index.
    pub index_entries: u64,
    /// Packs of content, of all domains.
    pub packs_data: Stored,
    /// Packs of map pages, of all domains.
    pub packs_map: Stored,
    /// Runs of the index, of all domains.
    pub runs: Stored,
    /// Snapshots and tombstones, of all domains.
    pub snapshot_objects: Stored,
    /// Everything else: config, key slots, pending snapshots, deletion records.
    pub other: Stored,
}

impl StatsReport {
    /// All that is stored.
    pub fn total(&self) -> Stored {
        let parts = [self.packs_data, self.packs_map, self.runs, self.snapshot_objects, self.other];
        parts.into_iter().fold(Stored::default(), add)
    }
}

fn add(a: Stored, b: Stored) -> Stored {
    Stored { objects: a.objects.saturating_add(b.objects), bytes: a.bytes.saturating_add(b.bytes) }
}

/// Lists the store and reads the snapshots and the index.
pub async fn stats(repository: &Repository) -> Result<StatsReport> {
    let (entries, unread) = snapshots::list(repository).await?;
    let (reader, lost) = vfs::reader(repository).await?;
    let sizes = entries.iter().flat_map(|entry| {
        let volumes = entry.snapshot.volumes.iter().map(|volume| volume.size);
        volumes.chain(entry.snapshot.catalogue.map(|catalogue| catalogue.size))
    });
    let mut report = StatsReport {
        snapshots: entries.len() as u64,
        snapshots_forgotten: entries.iter().filter(|entry| entry.forgotten).count() as u64,
        unreadable: (unread.len() + lost.len()) as u64,
        bytes_logical: sizes.fold(0, u64::saturating_add),
        index_entries: reader.index().entry_count(),
        packs_data: stored(repository, DATA_PACK_PREFIX).await?,
        packs_map: stored(repository, MAP_PACK_PREFIX).await?,
        runs: stored(repository, INDEX_PREFIX).await?,
        snapshot_objects: stored(repository, SNAPSHOT_PREFIX).await?,
        other: Stored::default(),
    };
    for prefix in [CONFIG_PREFIX, SLOT_PREFIX, PENDING_PREFIX, FORGET_PREFIX, GC_PREFIX, DAMAGE_PREFIX] {
        report.other = add(report.other, stored(repository, prefix).await?);
    }
    Ok(report)
}

async fn stored(repository: &Repository, prefix: &str) -> Result<Stored> {
    let listed = repository.store().list(prefix).await?;
    let lens = listed.iter().map(|(_, meta)| Stored { objects: 1, bytes: meta.len });
    Ok(lens.fold(Stored::default(), add))
}
