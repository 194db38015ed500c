//! Makes the repository: packs on several threads, maps and index beside them.

use super::folder::Folder;
use super::maps::Maps;
use super::packs::{MapPacker, StoredPack, data_pack};
use super::plan::{Layout, Spec};
use super::runs::Runs;
use super::snapshots;
use anyhow::{Context, Result, anyhow};
use repo_format::SnapshotId;
use repo_format::pack::PackClass;
use std::path::Path;
use std::sync::mpsc::sync_channel;
use zeroize::Zeroizing;

/// A repository that was made.
pub struct Made {
    /// The text of the key that opens it.
    pub key: Zeroizing<String>,
    /// Snapshots that are forgotten, or are to be.
    pub forgotten: Vec<SnapshotId>,
    /// Packs of content.
    pub data_packs: u64,
    /// Packs of map pages.
    pub map_packs: u64,
    /// Map pages.
    pub pages: u64,
    /// Index runs.
    pub runs: u64,
    /// Bytes of all packs.
    pub packs_len: u64,
}

/// Makes the repository in `root`, where there must be none, on so many threads.
pub fn make(root: &Path, spec: &Spec, threads: usize) -> Result<Made> {
    spec.check()?;
    let folder = &Folder::init(root, spec.seed)?;
    let sids = snapshots::sids(spec, folder);
    // the session of a volume is that of the first snapshot that has it and is kept longest
    let sid_of = |volume: usize| {
        let mut newest_first = (0..spec.snapshots).rev();
        let n = newest_first.find(|n| spec.volume_of_snapshot(*n) == volume).unwrap_or(0);
        sids.get(usize::try_from(n).unwrap_or(usize::MAX)).copied().context("a volume of no snapshot")
    };
    let jobs = spec.jobs(folder.key_row(PackClass::Data));
    let threads = threads.clamp(1, 64);
    let mut writer = Writer::new(folder, spec);
    std::thread::scope(|scope| {
        // each thread makes every so manieth pack, and waits until the one before is taken
        let lanes: Vec<_> = (0..threads)
            .map(|lane| {
                let (done, packs) = sync_channel(1);
                let (jobs, sid_of) = (&jobs, &sid_of);
                scope.spawn(move || {
                    for (n, job) in (0u64..).zip(jobs).skip(lane).step_by(threads) {
                        let pack = sid_of(job.volume).and_then(|sid| data_pack(folder, spec, job, n, sid));
                        if done.send(pack).is_err() {
                            return;
                        }
                    }
                });
                packs
            })
            .collect();
        for (n, job) in jobs.iter().enumerate() {
            let lane = lanes.get(n % threads).context("a pack of no thread")?;
            let pack = lane.recv().map_err(|_| anyhow!("a thread ended early"))??;
            writer.add(&pack, job.places.clone(), &sid_of)?;
        }
        anyhow::Ok(())
    })?;
    writer.finish(&sids)
}

/// What comes after the packs of content.
struct Writer<'a> {
    folder: &'a Folder,
    spec: &'a Spec,
    maps: Maps,
    map_packer: MapPacker<'a>,
    runs: Runs<'a>,
    made: Made,
    last: Option<(usize, SnapshotId)>,
}

impl<'a> Writer<'a> {
    fn new(folder: &'a Folder, spec: &'a Spec) -> Self {
        Writer {
            folder,
            spec,
            maps: Maps::new(spec, &folder.page_key),
            map_packer: MapPacker::new(folder),
            runs: Runs::new(folder, spec.packs_per_run),
            made: Made {
                key: folder.key.clone(),
                forgotten: Vec::new(),
                data_packs: 0,
                map_packs: 0,
                pages: 0,
                runs: 0,
                packs_len: 0,
            },
            last: None,
        }
    }

    fn add(
        &mut self,
        pack: &StoredPack,
        places: std::ops::Range<u64>,
        sid_of: &dyn Fn(usize) -> Result<SnapshotId>,
    ) -> Result<()> {
        for (place, (id, _)) in places.zip(&pack.records) {
            let (volume, pages) = self.maps.push(self.spec.chunk_at(place), *id)?;
            for page in pages {
                self.page(&page, volume, sid_of)?;
            }
        }
        self.made.data_packs += 1;
        self.name(pack)
    }

    fn page(
        &mut self,
        page: &repo_format::map::EncodedPage,
        volume: usize,
        sid_of: &dyn Fn(usize) -> Result<SnapshotId>,
    ) -> Result<()> {
        let (before, sid) = match self.last {
            Some((last, sid)) if last == volume => (last, sid),
            Some((last, _)) => (last, sid_of(volume)?),
            None => (volume, sid_of(volume)?),
        };
        // sessions do not share packs
        if before != volume && self.spec.layout == Layout::Clustered {
            self.close_map()?;
        }
        self.last = Some((volume, sid));
        if let Some(full) = self.map_packer.push(page, sid)? {
            self.made.map_packs += 1;
            self.name(&full)?;
        }
        Ok(())
    }

    fn close_map(&mut self) -> Result<()> {
        let Some((_, sid)) = self.last else { return Ok(()) };
        if let Some(pack) = self.map_packer.close(sid)? {
            self.made.map_packs += 1;
            self.name(&pack)?;
        }
        Ok(())
    }

    fn name(&mut self, pack: &StoredPack) -> Result<()> {
        self.made.packs_len += u64::from(pack.row.size);
        self.runs.add(pack)
    }

    fn finish(mut self, sids: &[SnapshotId]) -> Result<Made> {
        self.close_map()?;
        self.runs.flush()?;
        let roots = self.maps.finish()?;
        self.made.forgotten = snapshots::put(self.spec, self.folder, sids, &roots)?;
        self.made.pages = self.map_packer.page_count();
        self.made.runs = self.runs.run_count();
        Ok(self.made)
    }
}
