//! One backup session: what is claimed, open, on its way and acknowledged.

use super::adopt;
use super::claims::Claims;
use super::level::Level;
use super::packer::{OpenPack, PackSealer, Packer, StoredPack};
use super::parent::Parents;
use super::request::{BackupReport, BackupRequest};
use super::sealer::{Sealed, Sealer};
use super::volume::UNIT_LEN;
use crate::env::Mutant;
use crate::error::Named;
use crate::gc::{self, GcView};
use crate::index::{self, Known, PackInfo, RunWriter};
use crate::progress::Progress;
use crate::{Exec, Repository, Result};
use futures::future::{BoxFuture, try_join};
use futures::stream::{FuturesUnordered, StreamExt};
use repo_format::index::{PackRow, RunBuilder};
use repo_format::limits;
use repo_format::map::EncodedPage;
use repo_format::pack::PackClass;
use repo_format::{PackId, SnapshotId};
use std::collections::HashSet;
use std::sync::Arc;
use std::time::Duration;

/// Runs are flushed after this many packs...
const RUN_PACKS: usize = 32;
/// ...or this many records, which are held until then...
const RUN_RECORDS: usize = 1 << 17;
/// ...or this much time: what a crash can make the next session upload again.
const RUN_TIME: Duration = Duration::from_secs(60);

/// Pages that are looked up together, at most, and about their bytes.
const PAGES_AT_ONCE: usize = 64;
const PAGES_LEN: usize = 1 << 20;

/// Packs where memory has no room for four of the usual length.
const SHORTER_PACK_LEN: u64 = limits::DATA_PACK_TARGET_LEN / 4 * 3;

/// What is left to the index, ids and pages.
const OTHER_MEMORY_LEN: u64 = 40 << 20;

/// How much a session holds at once, from the memory it may use.
#[derive(Debug, Clone, Copy)]
pub(super) struct Limits {
    /// Target length of data packs.
    pub(super) pack_len: u64,
    /// Finished packs on their way to the store.
    pub(super) uploads: usize,
    memory_len: u64,
    width: usize,
}

impl Limits {
    fn new(exec: &Exec) -> Self {
        let memory_len = exec.memory_len().max(64 << 20);
        let limits = |pack_len, uploads| Limits { pack_len, uploads, memory_len, width: exec.width() };
        if exec.is_inline() {
            return limits(64 << 10, 3);
        }
        // a third one fills the line while the answers to the others are on their way
        let three = [limits::DATA_PACK_TARGET_LEN, SHORTER_PACK_LEN].map(|pack_len| limits(pack_len, 3));
        let roomy = three.into_iter().find(|limits| limits.units(UNIT_LEN) > 2 * limits.width);
        roomy.unwrap_or_else(|| match memory_len >> 20 {
            160.. => limits(limits::DATA_PACK_TARGET_LEN, 2),
            112.. => limits(16 << 20, 2),
            _ => limits(8 << 20, 2),
        })
    }

    /// Units of `unit_len` plain bytes that may be read or sealed at once: each takes its plain
    /// bytes and up to as much again sealed.
    pub(super) fn units(&self, unit_len: u64) -> usize {
        let packs = self.pack_len * (self.uploads as u64 + 1);
        let left = self.memory_len.saturating_sub(packs + OTHER_MEMORY_LEN);
        let fit = usize::try_from(left / (2 * unit_len.max(1))).unwrap_or(usize::MAX);
        fit.clamp(1, 2 * self.width + 1)
    }
}

/// The running session.
pub(super) struct Session {
    pub(super) repository: Repository,
    pub(super) sid: SnapshotId,
    pub(super) gc: GcView,
    pub(super) sealer: Arc<Sealer>,
    pub(super) limits: Limits,
    pub(super) progress: Arc<Progress>,
    pub(super) report: BackupReport,
    pack_sealer: PackSealer,
    data: Packer,
    map: Packer,
    /// Pages that are to be looked up together.
    pages: Vec<EncodedPage>,
    uploads: FuturesUnordered<BoxFuture<'static, Result<StoredPack>>>,
    /// Acknowledged, in no run yet.
    unlisted: Vec<StoredPack>,
    last_run: Duration,
    /// When the last pack was handed to the store.
    last_upload: Duration,
    next_seq: u64,
    /// Packs that this session wrote, all acknowledged.
    written: HashSet<PackId>,
    /// Those and the packs of the tries before this one: what a next try may adopt.
    pub(super) own: Vec<PackInfo>,
    pub(super) dry_run: bool,
    /// Snapshots whose pages may be inherited.
    pub(super) parents: Vec<SnapshotId>,
    /// After mending: exactly the packs of the index that the snapshot needs.
    mended: Option<HashSet<PackId>>,
}

impl Session {
    /// Steps c0 and c1: the state of deletion first, then the index, and which parents there are.
    pub(super) async fn start(
        repository: &Repository,
        request: &BackupRequest,
        progress: &Arc<Progress>,
        own: Vec<PackInfo>,
    ) -> Result<(Self, Parents)> {
        progress.phase("reading the index");
        let trusted = adopt::trusted(repository, &own).await?;
        let gc = gc::view(repository).await?;
        if !own.is_empty() {
            adopt::adopt(repository, &gc, &own, trusted).await?;
        }
        let names: Vec<&str> = request.volumes.iter().map(|volume| volume.name.as_str()).collect();
        let parents = Parents::find(repository, &gc, request, &names);
        let ((index, next_seq), parents) = try_join(Self::load_index(repository, &gc), parents).await?;
        let sid = repository.env().snapshot_id()?;
        let claims = Claims::new(repository, index);
        let sealer =
            Arc::new(Sealer::new(repository, claims, Level::new(request.compression), request.dry_run)?);
        let exec = repository.exec();
        let limits = Limits::new(exec);
        let pack_sealer = PackSealer {
            store: repository.store().clone(),
            exec: exec.clone(),
            env: repository.env().clone(),
            repo_id: repository.repo_id(),
            structure: Arc::new(repository.structure_key().clone()),
            sid,
        };
        let packer = |class, len, key: &repo_format::record::SessionKey| {
            Packer::new(class, len, vec![key.row().clone()], Some(key.record_key().clone()))
        };
        let map_len = limits::MAP_PACK_TARGET_LEN.min(limits.pack_len);
        let session = Session {
            data: packer(PackClass::Data, limits.pack_len, &sealer.data_key),
            map: packer(PackClass::Map, map_len, &sealer.structure_key),
            pages: Vec::new(),
            repository: repository.clone(),
            sid,
            gc,
            sealer,
            limits,
            progress: progress.clone(),
            report: BackupReport::default(),
            pack_sealer,
            uploads: FuturesUnordered::new(),
            unlisted: Vec::new(),
            last_run: repository.env().clock.monotonic(),
            last_upload: Duration::ZERO,
            next_seq,
            written: HashSet::new(),
            own,
            dry_run: request.dry_run,
            parents: Vec::new(),
            mended: None,
        };
        Ok((session, parents))
    }

    async fn load_index(repository: &Repository, gc: &GcView) -> Result<(Known, u64)> {
        let listing = index::list_runs(repository).await?;
        let next_seq = next_seq(listing.highest_seq());
        let floor = if repository.env().breaks(Mutant::NoFloor) { 0 } else { gc.newest_floor };
        let (index, problems) = index::load(repository, &listing, floor, &gc.condemned, true).await?;
        match problems.into_iter().next() {
            // a chunk that a lost run knew would be stored again; damage must be seen, not papered over
            Some(problem) => Err(problem),
            None => Ok((index, next_seq)),
        }
    }

    /// Takes what a CPU thread has sealed, in the order of the source.
    pub(super) async fn take(&mut self, sealed: &mut Sealed) -> Result<()> {
        self.report.bytes_new += sealed.bytes_new;
        self.report.chunks_new += sealed.chunks_new;
        self.report.chunks_reused += sealed.chunks_reused;
        for batch in sealed.batches.drain(..) {
            // what the snapshot says of each volume; the report of the whole counts the uploads instead
            self.report.bytes_stored += batch.bytes.len() as u64;
            let full = self.data.push(batch);
            self.upload_all(full).await?;
        }
        self.sealer.claims.settle().await
    }

    /// Stores pages that are new. Where they have to be looked up first, a few are collected: each look-up may be a
    /// request.
    pub(super) async fn take_pages(&mut self, pages: Vec<EncodedPage>) -> Result<()> {
        self.pages.extend(pages);
        if self.pages.is_empty() {
            return Ok(());
        }
        let len: usize = self.pages.iter().map(|page| page.bytes.len()).sum();
        let may_wait = self.pages.len() < PAGES_AT_ONCE && len < PAGES_LEN && self.sealer.claims.must_ask();
        if may_wait { Ok(()) } else { self.store_pages().await }
    }

    async fn store_pages(&mut self) -> Result<()> {
        let pages = std::mem::take(&mut self.pages);
        let answers = self.sealer.claims.ask_in(pages.iter().map(|page| page.id), PackClass::Map).await?;
        for page in &pages {
            if let Some(batch) = self.sealer.page(page, &answers)? {
                let full = self.map.push(batch);
                self.upload_all(full).await?;
            }
        }
        Ok(())
    }

    pub(super) async fn upload_all(&mut self, packs: Vec<OpenPack>) -> Result<()> {
        for pack in packs {
            self.upload(pack).await?;
        }
        Ok(())
    }

    async fn upload(&mut self, pack: OpenPack) -> Result<()> {
        let full = self.now();
        while self.uploads.len() >= self.limits.uploads {
            self.acknowledge().await?;
        }
        let free = self.now();
        self.sealer.level.adapt(free.saturating_sub(full), free.saturating_sub(self.last_upload));
        self.last_upload = free;
        let work = self.pack_sealer.clone().store(pack);
        self.uploads.push(self.repository.exec().spawn(work));
        Ok(())
    }

    /// For measuring. Inline nothing runs meanwhile, and the level stays as it is.
    fn now(&self) -> Duration {
        let is_inline = self.repository.exec().is_inline();
        if is_inline { Duration::ZERO } else { self.repository.env().clock.monotonic() }
    }

    /// Waits for one pack; only then its ids may become known.
    async fn acknowledge(&mut self) -> Result<()> {
        let Some(stored) = self.uploads.next().await else { return Ok(()) };
        let stored = stored?;
        self.progress.add_stored(stored.len);
        self.written.insert(stored.pack_id);
        let (pack_id, class, len, trailer_len) =
            (stored.pack_id, stored.class, stored.len, stored.trailer_len);
        self.own.push(PackInfo { pack_id, class, len, trailer_len, sid: self.sid });
        self.unlisted.push(stored);
        let now = self.repository.env().clock.monotonic();
        let records: usize = self.unlisted.iter().map(|pack| pack.rows.len()).sum();
        let is_full = self.unlisted.len() >= RUN_PACKS || records >= RUN_RECORDS;
        if is_full || now.saturating_sub(self.last_run) >= RUN_TIME {
            self.flush_run().await?;
        }
        Ok(())
    }

    /// Everything sealed so far is stored, and an index run says so.
    pub(super) async fn flush(&mut self) -> Result<()> {
        self.store_pages().await?;
        let open = [self.data.close(), self.map.close()];
        self.upload_all(open.into_iter().flatten().collect()).await?;
        while !self.uploads.is_empty() {
            self.acknowledge().await?;
        }
        self.flush_run().await
    }

    async fn flush_run(&mut self) -> Result<()> {
        self.last_run = self.repository.env().clock.monotonic();
        while !self.unlisted.is_empty() {
            let mut builder = RunBuilder::new();
            let mut count = 0;
            for pack in &self.unlisted {
                if count > 0 && !builder.fits(pack.rows.len()) {
                    break;
                }
                self.add_pack(&mut builder, pack).named("new index run")?;
                count += 1;
            }
            self.put_run(builder).await?;
            self.unlisted.drain(..count);
        }
        Ok(())
    }

    fn add_pack(&self, builder: &mut RunBuilder, pack: &StoredPack) -> repo_format::Result<()> {
        let size = u32::try_from(pack.len).unwrap_or(u32::MAX);
        let (pack_id, trailer_len, class) = (pack.pack_id, pack.trailer_len, pack.class);
        let number = builder.add_pack(PackRow { pack_id, size, trailer_len, class, sid: self.sid })?;
        pack.rows.iter().try_for_each(|row| builder.add_entry(&row.id, number, row.clen))
    }

    async fn put_run(&mut self, builder: RunBuilder) -> Result<()> {
        let writer = RunWriter::of(self.pack_sealer.clone(), self.sealer.structure_key.clone());
        writer.put(builder, self.gc.sweeps, self.next_seq).await.map(|_| ())
    }

    /// After an error or Ctrl-C: what was read is stored and listed, as far as that goes quickly.
    pub(super) async fn salvage(&mut self) {
        if self.dry_run {
            return;
        }
        let exec = self.repository.exec().clone();
        // nothing depends on it: an error here changes nothing about the one that is reported
        let _ = exec.timeout(Duration::from_millis(1200), self.flush()).await;
    }

    /// Packs that the snapshot needs, as far as it does not inherit them from a parent.
    pub(super) fn depends_on(&self) -> HashSet<PackId> {
        if let Some(mended) = &self.mended {
            return mended.clone();
        }
        let mut deps = self.written.clone();
        deps.extend(self.sealer.claims.reused_packs());
        deps
    }

    /// Packs that this session wrote and the store acknowledged.
    pub(super) fn written(&self) -> &HashSet<PackId> {
        &self.written
    }

    /// Lists the packs of copied records. From now on the snapshot needs those written since
    /// `before` and `kept`, and nothing by way of a parent.
    pub(super) async fn finish_mending(
        &mut self,
        kept: HashSet<PackId>,
        before: &HashSet<PackId>,
    ) -> Result<()> {
        self.flush().await?;
        let mut deps = kept;
        deps.extend(self.written.difference(before));
        self.mended = Some(deps);
        self.parents.clear();
        Ok(())
    }

    /// Pages of this snapshot may be inherited.
    pub(super) fn use_parent(&mut self, sid: SnapshotId) {
        if !self.parents.contains(&sid) {
            self.parents.push(sid);
        }
    }
}

/// After everything that is listed.
pub(super) fn next_seq(highest: Option<u64>) -> u64 {
    highest.map_or(0, |seq| seq.saturating_add(1))
}
