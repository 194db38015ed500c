//! Repacking: needed records move as sealed bytes, with the rows of their keys. Nothing is decrypted.

use super::confirm::{Confirmed, Leaving, is_gone};
use crate::backup::packer::{OpenPack, StoredPack};
use crate::error::Named;
use crate::index::{PackInfo, RunWriter, pack_row};
use crate::progress::Progress;
use crate::{Error, ErrorKind, Repository, Result};
use bytes::Bytes;
use futures::future::BoxFuture;
use futures::stream::{FuturesUnordered, StreamExt};
use repo_format::index::RunBuilder;
use repo_format::layout::ObjectName;
use repo_format::pack::{OpenTrailer, PackClass, PackContext, PackLen, Row, Trailer, open_trailer, scrub};
use repo_format::record::KeyRow;
use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

/// Packs on their way to the store.
const UPLOADS: usize = 1;
/// Bytes of records that are put together.
const PART_LEN: usize = 1 << 20;
/// Runs are published after this many packs: what a crash can make the next prune copy again...
const RUN_PACKS: usize = 16;
/// ...or records: what is held in memory until then, some 50 bytes for each.
const RUN_ENTRIES: usize = 1 << 18;

/// Copies records of packs that are to go into packs that prune writes.
pub(super) struct Copier<'a> {
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
    pub(super) copied_len: u64,
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

/// What a copy came to.
#[derive(Default)]
pub(super) struct CopyOutcome {
    /// By place: every record to copy is in a pack that a run names.
    pub(super) done: Vec<bool>,
    pub(super) copied_len: u64,
    /// Packs that stay because they are damaged.
    pub(super) damaged: Vec<String>,
}

/// Copies out of all of `leaving` that are to be copied, until `deadline` on the monotonic clock.
pub(super) async fn copy(
    repository: &Repository,
    leaving: &[Leaving],
    confirmed: &Confirmed,
    (target_len, built, seq): ([u64; 2], u64, u64),
    deadline: Option<Duration>,
    progress: &Arc<Progress>,
) -> Result<CopyOutcome> {
    let mut outcome = CopyOutcome { done: vec![false; leaving.len()], ..CopyOutcome::default() };
    let mut copier = Copier {
        repository,
        writer: RunWriter::new(repository, super::inventory::PRUNE_SID)?,
        target_len,
        built,
        seq,
        open: [Open::default(), Open::default()],
        uploads: FuturesUnordered::new(),
        unlisted: RunBuilder::new(),
        unlisted_packs: 0,
        copied_len: 0,
    };
    let clock = repository.env().clock.clone();
    let mut stopped = Ok(());
    for (place, one) in leaving.iter().enumerate() {
        if !one.is_copied || confirmed.staying.contains_key(&place) {
            continue;
        }
        stopped = repository.exec().check_cancelled();
        if stopped.is_err() || deadline.is_some_and(|end| clock.monotonic() >= end) {
            break;
        }
        let rows = confirmed.rows.get(place).map(Vec::as_slice).unwrap_or_default();
        match copier.take(&one.pack, rows).await {
            Ok(()) => outcome.done.iter_mut().skip(place).take(1).for_each(|done| *done = true),
            // by another prune, which needs no word about it
            Err(error) if error.kind() == ErrorKind::Damage && is_gone(repository, &one.pack).await? => {}
            Err(error) if error.kind() == ErrorKind::Damage => outcome.damaged.push(error.to_string()),
            Err(error) => return Err(error),
        }
        progress.add_done(one.pack.len);
    }
    // also after a cancel: what was copied is found by the next prune
    copier.finish().await?;
    stopped?;
    outcome.copied_len = copier.copied_len;
    Ok(outcome)
}

impl Copier<'_> {
    /// Copies the rows of one pack. The whole pack is read and compared with its hash: a new pack
    /// must not hide what has happened to the old one.
    async fn take(&mut self, pack: &PackInfo, rows: &[u64]) -> Result<()> {
        let name = ObjectName::pack(pack.class, pack.pack_id);
        let object = self.repository.store().get(&name).await?;
        let object = object.ok_or_else(|| Error::damage(name, "object is missing"))?;
        let (repository, info, bytes) = (self.repository.clone(), pack.clone(), object.clone());
        let opened = self.repository.exec().cpu(move || open_whole(&repository, &info, &bytes));
        let trailer = opened.await??;
        for (n, row) in trailer.rows().iter().enumerate().filter(|(n, _)| Confirmed::is_set(rows, *n)) {
            let range = trailer
                .range(n)
                .and_then(|range| Some(usize::try_from(range.start).ok()?..usize::try_from(range.end).ok()?));
            let sealed = range.and_then(|range| object.get(range));
            let key = trailer.key_of(row);
            let (Some(sealed), Some(key)) = (sealed, key) else {
                return Err(Error::damage(name, "a record lies outside the object"));
            };
            self.push(pack.class, key, row, sealed).await?;
        }
        Ok(())
    }

    async fn push(&mut self, class: PackClass, key: &KeyRow, row: &Row, sealed: &[u8]) -> Result<()> {
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
        if !self.unlisted.fits(pack.rows.len()) {
            self.list().await?;
        }
        let info = PackInfo {
            pack_id: pack.pack_id,
            class: pack.class,
            len: pack.len,
            trailer_len: pack.trailer_len,
            sid: super::inventory::PRUNE_SID,
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
        }
        Ok(())
    }

    async fn finish(&mut self) -> Result<()> {
        self.close(PackClass::Data).await?;
        self.close(PackClass::Map).await?;
        while !self.uploads.is_empty() {
            self.acknowledge().await?;
        }
        self.list().await
    }
}

/// The trailer of a pack whose every byte is as it was written.
fn open_whole(repository: &Repository, pack: &PackInfo, object: &Bytes) -> Result<Trailer> {
    let name = ObjectName::pack(pack.class, pack.pack_id);
    scrub(object, pack.pack_id).named(name)?;
    let repo_id = repository.repo_id();
    let context = PackContext {
        s_d: repository.structure_key(),
        epoch: 0,
        repo_id: &repo_id,
        class: pack.class,
        pack_id: &pack.pack_id,
    };
    match open_trailer(&context, object, object.len() as u64).named(name)? {
        OpenTrailer::Done(trailer, _) => Ok(trailer),
        OpenTrailer::NeedTail(_) => Err(Error::damage(name, "ends before its trailer")),
    }
}
