//! Publishing index runs: of a session, after a merge, a repack, a repair.

use super::PackInfo;
use crate::backup::packer::{Batch, PackSealer, Packer};
use crate::error::Named;
use crate::{Error, Repository, Result};
use repo_format::compress::Compressor;
use repo_format::index::{PackRow, RunBuilder};
use repo_format::layout::ObjectName;
use repo_format::pack::PackClass;
use repo_format::record::{PlainRecord, SessionKey};
use repo_format::{KeyId, SnapshotId, limits};
use std::sync::Arc;

/// Level of index records: ids do not compress, tables of packs do a little.
const LEVEL: Option<i32> = Some(1);

/// Bytes of a run that are sealed into one buffer.
const PART_LEN: usize = 1 << 20;

/// Writes runs and packs in the name of one session.
#[derive(Clone)]
pub(crate) struct RunWriter {
    pub(crate) pack_sealer: PackSealer,
    key: Arc<SessionKey>,
}

impl RunWriter {
    /// For packs that say they were written by `sid`.
    pub(crate) fn new(repository: &Repository, sid: SnapshotId) -> Result<Self> {
        let (repo_id, env) = (repository.repo_id(), repository.env());
        let key = SessionKey::structure(&repo_id, 0, repository.structure_key(), KeyId(env.random()?));
        let pack_sealer = PackSealer {
            store: repository.store().clone(),
            exec: repository.exec().clone(),
            env: env.clone(),
            repo_id,
            structure: Arc::new(repository.structure_key().clone()),
            sid,
        };
        Ok(RunWriter::of(pack_sealer, Arc::new(key.named("structure key")?)))
    }

    /// With the structure key of a session.
    pub(crate) fn of(pack_sealer: PackSealer, key: Arc<SessionKey>) -> Self {
        RunWriter { pack_sealer, key }
    }

    /// Publishes the entries of `builder` and gives the run's name.
    pub(crate) async fn put(&self, builder: RunBuilder, built: u64, seq: u64) -> Result<ObjectName> {
        let writer = self.clone();
        let sealed = self.pack_sealer.exec.cpu(move || writer.seal(builder, built));
        let mut packer = sealed.await??;
        let pack = packer.close().ok_or_else(|| Error::internal("an index run without entries"))?;
        let pack_id = self.pack_sealer.env.pack_id()?;
        let name = ObjectName::Run { seq, pack: pack_id };
        self.pack_sealer.clone().store_as(pack, pack_id, name).await?;
        Ok(name)
    }

    fn seal(&self, builder: RunBuilder, built: u64) -> Result<Packer> {
        let (mut batch, mut compressor) = (Batch::default(), Compressor::new());
        let (key, keys) = (self.key.record_key(), vec![self.key.row().clone()]);
        let mut packer = Packer::new(PackClass::Index, limits::RUN_LEN_MAX, keys, Some(key.clone()));
        let mut records = builder.into_records(built).named("new index run")?.peekable();
        while let Some(record) = records.next() {
            let plain =
                PlainRecord { record_type: record.record_type, id: record.id, content: &record.content };
            let nonce = self.pack_sealer.env.random()?;
            let sealed = key
                .seal(&mut compressor, &plain, LEVEL, nonce, &mut batch.bytes)
                .named("sealing an index record")?;
            batch.rows.push(sealed.row(plain.record_type, 0, plain.id));
            if (batch.bytes.len() >= PART_LEN || records.peek().is_none())
                && !packer.push(std::mem::take(&mut batch)).is_empty()
            {
                return Err(Error::internal("an index run beyond its limit"));
            }
        }
        Ok(packer)
    }
}

/// The row of a pack table.
pub(crate) fn pack_row(pack: &PackInfo) -> PackRow {
    PackRow {
        pack_id: pack.pack_id,
        size: u32::try_from(pack.len).unwrap_or(u32::MAX),
        trailer_len: pack.trailer_len,
        class: pack.class,
        sid: pack.sid,
    }
}
