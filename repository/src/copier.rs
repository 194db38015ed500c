//! Sealed records move to packs of their own, with the rows of their keys. Nothing is decrypted.
//!
//! Packs that are written here belong to no session: they say that sid 0 wrote them.

use crate::backup::packer::{OpenPack, StoredPack};
use crate::error::Named;
use crate::index::{PackInfo, RunWriter, pack_row};
use crate::{Error, Repository, Result};
use bytes::Bytes;
use futures::future::BoxFuture;
use futures::stream::{FuturesUnordered, StreamExt};
use repo_format::SnapshotId;
use repo_format::index::RunBuilder;
use repo_format::limits;
use repo_format::pack::{PackClass, PackLen, Row};
use repo_format::record::KeyRow;
use std::collections::BTreeMap;

/// The session of packs that no session wrote.
pub(crate) const NO_SESSION: SnapshotId = SnapshotId([0; 16]);

/// Packs on their way to the store.
const UPLOADS: usize = 1;
/// Bytes of records that are put together.
const PART_LEN: usize = 1 << 20;
/// Runs are published after this many packs: what a crash can make the next one copy again...
const RUN_PACKS: usize = 16;
/// ...or records: what is held in memory until then, some 50 bytes for each.
const RUN_ENTRIES: usize = 1 << 18;
/// Target of packs in the inline mode: small, so that tests have many.
const INLINE_PACK_LEN: u64 = 64 << 10;

/// Lengths at which packs of data and of map pages are full.
pub(crate) fn target_len(repository: &Repository) -> [u64; 2] {
    if repository.exec().is_inline() {
        [INLINE_PACK_LEN, INLINE_PACK_LEN]
    } else {
        [limits::DATA_PACK_TARGET_LEN, limits::MAP_PACK_TARGET_LEN]
    }
}

/// Fills packs with records of others, and publishes runs that name them.
pub(crate) struct Copier<'a> {
    repository: &'a Repository,
    writer: RunWriter,
    target_len: [u64; 2],
    built: u64,
    seq: u64,
    /// Data and map.
    open: [Open; 2],
    uploads: FuturesUnordered<BoxFuture<'static, Result<StoredPack>>>,
    /// What is stored and in no run yet, and of how many packs.
    unlisted: RunBuilder,
    unlisted_packs: usize,
    /// Sealed bytes copied.
    pub(crate) copied_len: u64,
    /// Packs written.
    pub(crate) packs: u64,
    /// Index runs written.
    pub(crate) runs: u64,
}

/// A pack that is being filled.
#[derive(Default)]
struct Open {
    len: PackLen,
    keys: Vec<KeyRow>,
    numbers: BTreeMap<[u8; 32], u8>,
    /// Full parts, and the one that is being filled: records may be tiny, and each part costs a write.
    parts: Vec<Bytes>,
    part: Vec<u8>,
    rows: Vec<Row>,
}

impl Open {
    /// Adds sealed bytes. They are copied: few records must not keep all of their old packs in memory.
    fn add(&mut self, sealed: &[u8]) {
        if self.part.len() + sealed.len() > PART_LEN {
            self.end_part();
        }
        if self.part.capacity() == 0 {
            self.part.reserve_exact(PART_LEN.max(sealed.len()));
        }
        self.part.extend_from_slice(sealed);
    }

    fn end_part(&mut self) {
        if !self.part.is_empty() {
            self.parts.push(std::mem::take(&mut self.part).into());
        }
    }
}

impl<'a> Copier<'a> {
    /// Its runs say `built` and `seq`.
    pub(crate) fn new(repository: &'a Repository, built: u64, seq: u64) -> Result<Self> {
        Ok(Copier {
            repository,
            writer: RunWriter::new(repository, NO_SESSION)?,
            target_len: target_len(repository),
            built,
            seq,
            open: [Open::default(), Open::default()],
            uploads: FuturesUnordered::new(),
            unlisted: RunBuilder::new(),
            unlisted_packs: 0,
            copied_len: 0,
            packs: 0,
            runs: 0,
        })
    }

    /// Takes one record: its sealed bytes, its row, and the key that the row names.
    pub(crate) async fn push(
        &mut self,
        class: PackClass,
        key: &KeyRow,
        row: &Row,
        sealed: &[u8],
    ) -> Result<()> {
        let at = usize::from(class != PackClass::Data);
        let [data, map] = self.target_len;
        let target_len = if at == 0 { data } else { map };
        let Some(open) = self.open.get_mut(at) else { return Ok(()) };
        let is_new = !open.numbers.contains_key(&key.commit);
        if !open.len.fits(row.clen, is_new.then_some(key), target_len) {
            self.close(class).await?;
        }
        let Some(open) = self.open.get_mut(at) else { return Ok(()) };
        let number = match open.numbers.get(&key.commit) {
            Some(number) => *number,
            None => {
                let number = u8::try_from(open.keys.len())
                    .map_err(|_| Error::internal("more keys in a pack than fit"))?;
                open.keys.push(key.clone());
                open.len.add_key(key);
                open.numbers.insert(key.commit, number);
                number
            }
        };
        open.len.add_record(row.clen);
        open.rows.push(Row { key: number, ..*row });
        self.copied_len += sealed.len() as u64;
        open.add(sealed);
        Ok(())
    }

    async fn close(&mut self, class: PackClass) -> Result<()> {
        let at = usize::from(class != PackClass::Data);
        let Some(mut open) = self.open.get_mut(at).map(std::mem::take).filter(|open| !open.rows.is_empty())
        else {
            return Ok(());
        };
        while self.uploads.len() >= UPLOADS {
            self.acknowledge().await?;
        }
        open.end_part();
        let pack = OpenPack::of_copies(class, open.keys, open.parts, open.rows);
        let work = self.writer.pack_sealer.clone().store(pack);
        self.uploads.push(self.repository.exec().spawn(work));
        Ok(())
    }

    async fn acknowledge(&mut self) -> Result<()> {
        let Some(stored) = self.uploads.next().await else { return Ok(()) };
        let pack = stored?;
        self.packs += 1;
        if !self.unlisted.fits(pack.rows.len()) {
            self.list().await?;
        }
        let info = PackInfo {
            pack_id: pack.pack_id,
            class: pack.class,
            len: pack.len,
            trailer_len: pack.trailer_len,
            sid: NO_SESSION,
        };
        let number = self.unlisted.add_pack(pack_row(&info)).named("new index run")?;
        for row in &pack.rows {
            self.unlisted.add_entry(&row.id, number, row.clen).named("new index run")?;
        }
        self.unlisted_packs += 1;
        let is_full = self.unlisted_packs >= RUN_PACKS || self.unlisted.entry_count() >= RUN_ENTRIES;
        if is_full { self.list().await } else { Ok(()) }
    }

    /// Publishes what is stored. Its order: packs first, then the run that names them.
    async fn list(&mut self) -> Result<()> {
        if self.unlisted_packs > 0 {
            self.unlisted_packs = 0;
            self.writer.put(std::mem::take(&mut self.unlisted), self.built, self.seq).await?;
            self.runs += 1;
        }
        Ok(())
    }

    /// Ends all packs, and names them in runs.
    pub(crate) async fn finish(&mut self) -> Result<()> {
        self.close(PackClass::Data).await?;
        self.close(PackClass::Map).await?;
        while !self.uploads.is_empty() {
            self.acknowledge().await?;
        }
        self.list().await
    }
}
