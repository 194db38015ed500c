//! Seals what was cut again, and hands it to the packs of the repair.

use super::foreign::Foreign;
use super::recut::{Piece, Read, Recut, groups, holder, read_good, span};
use crate::backup::{CompressionLevel, session_keys};
use crate::copier::Copier;
use crate::error::Named;
use crate::{Repository, Result};
use repo_format::Id;
use repo_format::compress::Compressor;
use repo_format::pack::{PackClass, Row};
use repo_format::record::{PlainRecord, RecordType, SessionKey};
use std::sync::Arc;

/// Pages sealed in one go.
const PAGES_COUNT: usize = 64;

/// Keys of one repair.
pub(super) struct Reseal<'a> {
    repository: &'a Repository,
    foreign: &'a Foreign,
    data: Arc<SessionKey>,
    structure: Arc<SessionKey>,
}

/// Sealed records, one after the other.
type Batch = Vec<(Row, Vec<u8>)>;

impl<'a> Reseal<'a> {
    pub(super) fn new(repository: &'a Repository, foreign: &'a Foreign) -> Result<Self> {
        let (data, structure) = session_keys(repository, "repair from a repository with other keys")?;
        Ok(Reseal { repository, foreign, data: Arc::new(data), structure: Arc::new(structure) })
    }

    /// Reads the chunks once more. False if one of them is no longer there.
    pub(super) async fn write(&self, copier: &mut Copier<'_>, recut: &Recut) -> Result<bool> {
        let holder = holder(self.foreign, recut)?;
        for group in groups(&recut.chunks) {
            let Some(extents) = self.foreign.extents(holder, &span(group)).await? else { return Ok(false) };
            let reads = read_good(self.repository, self.foreign, &extents, group).await?;
            if reads.iter().map(|read| read.good.len()).sum::<usize>() != group.len() {
                return Ok(false);
            }
            for read in reads {
                let key = self.data.clone();
                let work = self.with_tools(move |env, tools| {
                    let plain = |piece: &Piece| (piece.id, content(&read, piece));
                    seal(env, tools, &key, RecordType::Data, read.good.iter().map(plain))
                });
                self.push(copier, PackClass::Data, work.await?).await?;
            }
        }
        for pages in recut.pages.chunks(PAGES_COUNT) {
            let (key, pages) = (self.structure.clone(), pages.to_vec());
            let work = self.with_tools(move |env, tools| {
                let plain = pages.iter().map(|(id, bytes)| (*id, bytes.as_ref()));
                seal(env, tools, &key, RecordType::Page, plain)
            });
            self.push(copier, PackClass::Map, work.await?).await?;
        }
        Ok(true)
    }

    async fn with_tools(
        &self,
        work: impl FnOnce(&crate::Env, &mut Compressor) -> Result<Batch> + Send + 'static,
    ) -> Result<Batch> {
        let env = self.repository.env().clone();
        self.repository.exec().cpu(move || work(&env, &mut Compressor::new())).await?
    }

    async fn push(&self, copier: &mut Copier<'_>, class: PackClass, batch: Batch) -> Result<()> {
        let key = if class == PackClass::Data { &self.data } else { &self.structure };
        for (row, sealed) in batch {
            copier.push(class, key.row(), &row, &sealed).await?;
        }
        Ok(())
    }
}

fn content<'a>(read: &'a Read, piece: &Piece) -> &'a [u8] {
    read.content(piece).unwrap_or_default()
}

fn seal<'a>(
    env: &crate::Env,
    tools: &mut Compressor,
    key: &SessionKey,
    record_type: RecordType,
    plains: impl Iterator<Item = (Id, &'a [u8])>,
) -> Result<Batch> {
    let level = CompressionLevel::default().zstd();
    let mut batch = Batch::new();
    for (id, content) in plains {
        let (plain, mut bytes) = (PlainRecord { record_type, id, content }, Vec::new());
        let sealed = key.record_key().seal(tools, &plain, level, env.random()?, &mut bytes);
        batch.push((sealed.named("sealing a record")?.row(record_type, 0, id), bytes));
    }
    Ok(batch)
}
