//! What the CPU threads do: cut, hash, claim, compress, encrypt. No waiting, no I/O.

use super::claims::{Answers, Claim, Claims};
use super::level::Level;
use super::packer::Batch;
use crate::error::Named;
use crate::{Env, Error, Exec, Repository, Result};
use chunker::blocks::{BlockParams, Cut, Recut, RecutEntry, Scratch, cut_segment};
use chunker::{BlockKeys, chunk_id};
use repo_format::compress::Compressor;
use repo_format::kdf::Secret;
use repo_format::limits::{EPOCH, SESSION_RECORD_COUNT_MAX};
use repo_format::map::{EncodedPage, LeafEntry, PageKey};
use repo_format::record::{PlainRecord, RecordKey, RecordType, SessionKey};
use repo_format::{Id, KeyId};
use std::ops::Range;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};

/// Seals the records of one session. Shared by all CPU threads.
pub(super) struct Sealer {
    pub(super) claims: Claims,
    /// Content records: opened only by who holds the content secret.
    pub(super) data_key: SessionKey,
    /// Structure records: maps and index runs.
    pub(super) structure_key: Arc<SessionKey>,
    block_keys: BlockKeys,
    page_key: PageKey,
    pub(super) level: Level,
    env: Env,
    /// Count and claim, but seal nothing.
    dry_run: bool,
    tools: Mutex<Vec<Tools>>,
    sealed: SealedCount,
}

/// Records sealed under the keys of this session.
#[derive(Default)]
struct SealedCount(AtomicU64);

impl SealedCount {
    /// Refuses one more than random nonces allow; what was stored so far is found again by the next session.
    fn one_more(&self) -> Result<()> {
        if self.0.fetch_add(1, Ordering::Relaxed) < SESSION_RECORD_COUNT_MAX {
            return Ok(());
        }
        let what = format!(
            "{SESSION_RECORD_COUNT_MAX} records stored, as many as one session may; run the backup again"
        );
        Err(Error::Usage { what })
    }
}

/// Contexts and buffers of one thread at work, used again and again.
struct Tools {
    compressor: Compressor,
    scratch: Scratch,
    cuts: Vec<Cut>,
    /// Where records are sealed.
    sealed: Vec<u8>,
}

/// Sealed records are copied out when there is so much of them: where they are sealed stays in the processor's cache,
/// and what the packs hold is as long as it needs to be (ADR 30).
const SEALED_LEN: usize = 256 << 10;

/// What was found in a range of chunks.
#[derive(Default)]
pub(super) struct Sealed {
    /// Chunks and holes in order.
    pub(super) entries: Vec<LeafEntry>,
    /// The records that are new, in order.
    pub(super) batches: Vec<Batch>,
    pub(super) bytes_new: u64,
    pub(super) chunks_new: u64,
    pub(super) chunks_reused: u64,
}

/// Fresh keys of a session, of content and of structure.
pub(crate) fn session_keys(
    repository: &Repository,
    action: &'static str,
) -> Result<(SessionKey, SessionKey)> {
    let (env, repo_id) = (repository.env(), repository.repo_id());
    let content_public = repository.bundle().content_public();
    let content_public =
        content_public.ok_or_else(|| repository.role_error(action, "backup, read or owner"))?;
    let (k, ikm) = (Secret::new(env.random()?), Secret::new(env.random()?));
    let data = SessionKey::data(&repo_id, EPOCH, &content_public, KeyId(env.random()?), &k, &ikm);
    let structure = SessionKey::structure(&repo_id, EPOCH, repository.structure_key(), KeyId(env.random()?));
    Ok((data.named("session key")?, structure.named("session key")?))
}

/// What is in a batch, in memory of its own; the batch is empty afterwards.
fn copied_out(batch: &mut Batch) -> Batch {
    let copy = Batch { bytes: batch.bytes.as_slice().into(), rows: std::mem::take(&mut batch.rows) };
    batch.bytes.clear();
    copy
}

impl Sealer {
    pub(super) fn new(repository: &Repository, claims: Claims, level: Level, dry_run: bool) -> Result<Self> {
        let (data_key, structure_key) = session_keys(repository, "backup")?;
        Ok(Sealer {
            claims,
            data_key,
            structure_key: Arc::new(structure_key),
            block_keys: repository.identity("backup")?.block_keys.clone(),
            page_key: repository.page_key().clone(),
            level,
            env: repository.env().clone(),
            dry_run,
            tools: Mutex::default(),
            sealed: SealedCount::default(),
        })
    }

    fn with_tools<T>(&self, work: impl FnOnce(&mut Tools) -> T) -> T {
        let pooled = self.tools.lock().unwrap_or_else(PoisonError::into_inner).pop();
        let mut tools = pooled.unwrap_or_else(|| Tools {
            compressor: Compressor::new(),
            scratch: Scratch::default(),
            cuts: Vec::new(),
            sealed: Vec::new(),
        });
        let result = work(&mut tools);
        tools.cuts.clear();
        self.tools.lock().unwrap_or_else(PoisonError::into_inner).push(tools);
        result
    }

    /// Cuts one segment, or a part of it that begins at a cut, and names its chunks.
    pub(super) fn cut(&self, params: BlockParams, data: &[u8]) -> Vec<LeafEntry> {
        self.with_tools(|tools| {
            cut_segment(params, &self.block_keys, data, &mut tools.scratch, &mut tools.cuts);
            tools.cuts.iter().map(|cut| LeafEntry { len: cut.len, id: cut.id.map(Id) }).collect()
        })
    }

    /// Seals what is new of a segment that was cut. If its page is `parent`'s page, and the index has all that the page
    /// names, nothing is claimed. What the index has lost is stored anew.
    pub(super) fn seal_segment(
        &self,
        entries: Vec<LeafEntry>,
        data: &[u8],
        parent: Option<&Id>,
        answers: &Answers,
    ) -> Result<Sealed> {
        if let Some(parent) = parent
            && self.page_key.leaf_id(&entries).is_ok_and(|id| id == *parent)
            && entries.iter().filter_map(|entry| entry.id).all(|id| self.claims.knows(&id, answers))
        {
            let chunks_reused = entries.iter().filter(|entry| entry.id.is_some()).count() as u64;
            return Ok(Sealed { entries, chunks_reused, ..Sealed::default() });
        }
        self.with_tools(|tools| self.seal_chunks(tools, entries, &[], data, answers))
    }

    /// A segment, or a part of one, of which `dirty` may have changed since its base had `base`. What the index has
    /// lost counts as changed: it is stored anew. Nothing if `base` is no list of a segment.
    pub(super) fn recut(
        &self,
        params: BlockParams,
        base: &[LeafEntry],
        dirty: &[Range<usize>],
        answers: &Answers,
    ) -> Option<Recut> {
        let (mut all, mut at) = (dirty.to_vec(), 0_usize);
        for entry in base {
            let end = at.checked_add(entry.len as usize)?;
            if entry.id.is_some_and(|id| !self.claims.knows(&id, answers)) {
                all.push(at..end);
            }
            at = end;
        }
        all.sort_unstable_by_key(|range| range.start);
        let cuts: Vec<Cut> =
            base.iter().map(|entry| Cut { len: entry.len, id: entry.id.map(|id| id.0) }).collect();
        Recut::new(params, &self.block_keys, &cuts, &all)
    }

    /// Gives what was read to a segment that is cut anew.
    pub(super) fn supply(&self, recut: &mut Recut, segment: &[u8]) {
        recut.supply(&self.block_keys, segment);
    }

    /// Seals what is new of a segment that was cut anew. What was kept of its base is neither looked at nor claimed.
    pub(super) fn seal_recut(
        &self,
        entries: Vec<RecutEntry>,
        data: &[u8],
        answers: &Answers,
    ) -> Result<Sealed> {
        let kept: Vec<bool> = entries.iter().map(|entry| entry.is_kept).collect();
        let entries =
            entries.iter().map(|entry| LeafEntry { len: entry.cut.len, id: entry.cut.id.map(Id) }).collect();
        self.with_tools(|tools| self.seal_chunks(tools, entries, &kept, data, answers))
    }

    /// Whether `data` is the chunk `id`.
    pub(super) fn is_chunk(&self, id: &Id, data: &[u8]) -> bool {
        chunk_id(&self.block_keys, data) == id.0
    }

    /// Names and seals chunks of a stream, whose cuts are known: in one step where the index is in memory, else with a
    /// look-up in between.
    pub(super) async fn stream(
        self: Arc<Self>,
        exec: Exec,
        lens: Vec<usize>,
        data: Vec<u8>,
    ) -> Result<Sealed> {
        let (sealer, must_ask) = (self.clone(), self.claims.must_ask());
        let named = exec.cpu(move || {
            let entries = sealer.named(&lens, &data);
            if must_ask {
                Err((entries, data))
            } else {
                Ok(sealer.seal_stream(entries, &data, &Answers::default()))
            }
        });
        let (entries, data) = match named.await? {
            Ok(sealed) => return sealed,
            Err(named) => named,
        };
        let answers = self.claims.ask(entries.iter().filter_map(|entry| entry.id)).await?;
        exec.cpu(move || self.seal_stream(entries, &data, &answers)).await?
    }

    fn seal_stream(&self, entries: Vec<LeafEntry>, data: &[u8], answers: &Answers) -> Result<Sealed> {
        self.with_tools(|tools| self.seal_chunks(tools, entries, &[], data, answers))
    }

    fn named(&self, lens: &[usize], data: &[u8]) -> Vec<LeafEntry> {
        let mut rest = data;
        let mut entries = Vec::with_capacity(lens.len());
        for len in lens {
            let (chunk, after) = rest.split_at_checked(*len).unwrap_or((rest, &[]));
            rest = after;
            let len = u32::try_from(chunk.len()).unwrap_or(u32::MAX);
            entries.push(LeafEntry { len, id: Some(Id(chunk_id(&self.block_keys, chunk))) });
        }
        entries
    }

    /// `kept` marks entries that are left alone; it may be shorter than they are.
    fn seal_chunks(
        &self,
        tools: &mut Tools,
        entries: Vec<LeafEntry>,
        kept: &[bool],
        data: &[u8],
        answers: &Answers,
    ) -> Result<Sealed> {
        let mut sealed = Sealed::default();
        let mut batch = Batch { bytes: std::mem::take(&mut tools.sealed), rows: Vec::new() };
        let mut rest = data;
        for (n, entry) in entries.iter().enumerate() {
            let (chunk, after) = rest.split_at_checked(entry.len as usize).unwrap_or((rest, &[]));
            rest = after;
            let Some(id) = entry.id else { continue };
            if kept.get(n) == Some(&true) {
                sealed.chunks_reused += 1;
            } else if self.claims.reserve(&id, answers) == Claim::New {
                // cut by hashes of what was read piece by piece: nothing wrong may get a right name
                if !kept.is_empty() && !self.is_chunk(&id, chunk) {
                    return Err(Error::internal("a chunk that was cut anew is not what was read"));
                }
                sealed.chunks_new += 1;
                sealed.bytes_new += chunk.len() as u64;
                let plain = PlainRecord { record_type: RecordType::Data, id, content: chunk };
                self.seal(&mut tools.compressor, self.data_key.record_key(), &plain, &mut batch)?;
                if batch.bytes.len() >= SEALED_LEN {
                    sealed.batches.push(copied_out(&mut batch));
                }
            } else {
                sealed.chunks_reused += 1;
            }
        }
        if !batch.rows.is_empty() {
            sealed.batches.push(copied_out(&mut batch));
        }
        tools.sealed = batch.bytes;
        sealed.entries = entries;
        Ok(sealed)
    }

    /// Seals a page, unless the repository or this session has it.
    pub(super) fn page(&self, page: &EncodedPage, answers: &Answers) -> Result<Option<Batch>> {
        if self.claims.reserve(&page.id, answers) != Claim::New {
            return Ok(None);
        }
        let mut batch = Batch::default();
        let plain = PlainRecord { record_type: RecordType::Page, id: page.id, content: &page.bytes };
        self.with_tools(|tools| {
            self.seal(&mut tools.compressor, self.structure_key.record_key(), &plain, &mut batch)
        })?;
        Ok(Some(batch))
    }

    fn seal(
        &self,
        compressor: &mut Compressor,
        key: &RecordKey,
        plain: &PlainRecord<'_>,
        batch: &mut Batch,
    ) -> Result<()> {
        if self.dry_run {
            return Ok(());
        }
        self.sealed.one_more()?;
        let nonce = self.env.random()?;
        let sealed = key
            .seal(compressor, plain, self.level.zstd(), nonce, &mut batch.bytes)
            .named("sealing a record")?;
        batch.rows.push(sealed.row(plain.record_type, 0, plain.id));
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_session_key_seals_only_so_many_records() {
        let count = SealedCount(AtomicU64::new(SESSION_RECORD_COUNT_MAX - 1));
        assert!(count.one_more().is_ok());
        assert!(count.one_more().is_err());
    }
}
