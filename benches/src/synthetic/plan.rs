//! What is to be made: volumes, and which chunks lie in which pack.

use anyhow::{Result, ensure};
use repo_format::limits::{BLOCK_LEN, DATA_PACK_TARGET_LEN, RECORD_OVERHEAD_LEN, RECORD_PLAIN_LEN_MAX};
use repo_format::pack::PackLen;
use repo_format::record::KeyRow;
use repo_format::snapshot::Chunker;
use std::ops::Range;

/// What lies next to what.
#[derive(Debug, Clone, Copy, PartialEq, Eq, clap::ValueEnum)]
pub enum Layout {
    /// Each snapshot's session wrote packs of its own: whole packs die with it.
    Clustered,
    /// Chunks that die are spread evenly over all packs.
    Scattered,
}

/// What to make.
#[derive(Debug, Clone, Copy)]
pub struct Spec {
    /// Chunks, 1 to 2^28.
    pub chunks: u64,
    /// Plain bytes of each: 1 to 4 MiB. Multiples of 4096 from 8192 on make volumes, others streams.
    pub chunk_len: u32,
    /// Snapshots, the forgotten ones included.
    pub snapshots: u64,
    /// How many of them are to be forgotten; at least one is not.
    pub forgotten: u64,
    /// Share of the chunks that only those need, in percent.
    pub dead_percent: u64,
    /// What lies next to what.
    pub layout: Layout,
    /// Packs that an index run names at most, as sessions leave them; 0: as many as fit, as merging leaves them.
    pub packs_per_run: usize,
    /// Write the forget markers, too.
    pub marked: bool,
    /// Decides all bytes, keys included.
    pub seed: u64,
}

/// A pack that is to be made of the chunks at these places of the order.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Job {
    /// Places, not numbers: see [`Spec::chunk_at`].
    pub places: Range<u64>,
    /// The volume whose session writes it.
    pub volume: usize,
}

impl Spec {
    /// Refuses what cannot be.
    pub fn check(&self) -> Result<()> {
        ensure!((1..=1 << 28).contains(&self.chunks), "1 to 2^28 chunks expected");
        ensure!((1..=RECORD_PLAIN_LEN_MAX).contains(&self.chunk_len), "chunks of 1 byte to 4 MiB expected");
        ensure!(self.forgotten < self.snapshots, "at least one snapshot must be kept");
        ensure!(self.dead_percent < 100, "some chunks must be kept");
        ensure!(
            self.dead_percent == 0 || self.forgotten > 0,
            "chunks die with a snapshot that is forgotten: none is"
        );
        Ok(())
    }

    /// How the volumes are cut.
    pub fn chunker(&self) -> Chunker {
        let blocks = self.chunk_len / BLOCK_LEN;
        if self.chunk_len.is_multiple_of(BLOCK_LEN) && blocks >= 2 {
            Chunker::Blocks { min: blocks, avg: blocks, max: blocks }
        } else {
            Chunker::FastCdc
        }
    }

    fn dead(&self) -> u64 {
        self.chunks * self.dead_percent / 100
    }

    /// The chunk numbers of each volume: those of the kept snapshots, then those of the forgotten ones, if they have
    /// chunks of their own.
    pub fn volumes(&self) -> Vec<Range<u64>> {
        let (kept, dead) = (self.chunks - self.dead(), self.dead());
        let mut volumes = split(0..kept, self.snapshots - self.forgotten);
        if dead > 0 {
            volumes.extend(split(kept..self.chunks, self.forgotten));
        }
        volumes
    }

    /// The volume of snapshot `n`; the forgotten ones come first.
    pub fn volume_of_snapshot(&self, n: u64) -> usize {
        let kept = self.snapshots - self.forgotten;
        let volume = match n.checked_sub(self.forgotten) {
            Some(n) => n,
            None if self.dead() > 0 => kept + n,
            // it has what a kept one has
            None => n % kept,
        };
        usize::try_from(volume).unwrap_or(usize::MAX)
    }

    /// The number of the chunk at a place of the order in which packs hold them.
    pub fn chunk_at(&self, place: u64) -> u64 {
        let (chunks, dead) = (u128::from(self.chunks), u128::from(self.dead()));
        if self.layout == Layout::Clustered || dead == 0 {
            return place;
        }
        // dead ones lie at the places where this quotient rises
        let before = |place: u64| (u128::from(place) * dead / chunks) as u64;
        let (dead_before, dead_until) = (before(place), before(place + 1));
        if dead_until > dead_before { self.chunks - self.dead() + dead_before } else { place - dead_before }
    }

    /// The packs of content, in order.
    pub fn jobs(&self, key: &KeyRow) -> Vec<Job> {
        let most = self.records_per_pack(key);
        let pieces = match self.layout {
            Layout::Clustered => self.volumes(),
            Layout::Scattered => split(0..self.chunks, 1),
        };
        let pieces = pieces.into_iter().enumerate();
        pieces
            .flat_map(|(volume, piece)| {
                let starts = (piece.start..piece.end).step_by(usize::try_from(most).unwrap_or(1));
                starts.map(move |start| Job { places: start..piece.end.min(start + most), volume })
            })
            .collect()
    }

    fn records_per_pack(&self, key: &KeyRow) -> u64 {
        let mut len = PackLen::new();
        len.add_key(key);
        let clen = self.chunk_len + RECORD_OVERHEAD_LEN;
        while len.fits(clen, None, DATA_PACK_TARGET_LEN) {
            len.add_record(clen);
        }
        len.row_count()
    }
}

/// Cuts a range into parts of about the same length; parts may be empty.
fn split(range: Range<u64>, parts: u64) -> Vec<Range<u64>> {
    let len = u128::from(range.end - range.start);
    let edge = |n: u64| range.start + (len * u128::from(n) / u128::from(parts)) as u64;
    (0..parts).map(|n| edge(n)..edge(n + 1)).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_chunk_has_one_place() {
        for (chunks, dead_percent) in [(1, 0), (10, 20), (101, 33), (1000, 99), (7, 1)] {
            for layout in [Layout::Clustered, Layout::Scattered] {
                let spec = Spec {
                    chunks,
                    chunk_len: 100,
                    snapshots: 5,
                    forgotten: 2,
                    dead_percent,
                    layout,
                    packs_per_run: 0,
                    marked: false,
                    seed: 0,
                };
                let mut numbers: Vec<u64> = (0..chunks).map(|place| spec.chunk_at(place)).collect();
                numbers.sort_unstable();
                assert!(numbers.into_iter().eq(0..chunks), "{spec:?}");
                let volumes = spec.volumes();
                assert!(volumes.iter().cloned().flatten().eq(0..chunks));
                assert!((0..5).all(|n| spec.volume_of_snapshot(n) < volumes.len()));
            }
        }
    }

    #[test]
    fn scattered_chunks_are_spread() {
        let spec = Spec {
            chunks: 1000,
            chunk_len: 1,
            snapshots: 2,
            forgotten: 1,
            dead_percent: 20,
            layout: Layout::Scattered,
            packs_per_run: 0,
            marked: false,
            seed: 0,
        };
        for start in (0..1000).step_by(50) {
            let dead = (start..start + 50).filter(|place| spec.chunk_at(*place) >= 800).count();
            assert_eq!(dead, 10);
        }
    }
}
