//! Publishing index runs: of a session, after a merge, a repack, a repair.

use super::PackInfo;
use crate::backup::packer::{Batch, PackSealer, Packer};
use crate::error::Named;
use crate::{Error, Repository, Result};
use repo_format::compress::Compressor;
use repo_format::index::{PackRow, PlainIndexRecord, RunBuilder};
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
        let key =
            SessionKey::structure(&repo_id, limits::EPOCH, repository.structure_key(), KeyId(env.random()?));
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
        let sealed = self
            .pack_sealer
            .exec
            .cpu(move || writer.seal(builder.into_records(built).named("new index run")?));
        let mut packer = sealed.await??;
        let pack = packer.close().ok_or_else(|| Error::internal("an index run without entries"))?;
        let pack_id = self.pack_sealer.env.pack_id()?;
        let name = ObjectName::Run { seq, pack: pack_id };
        self.pack_sealer.clone().store_as(pack, pack_id, name).await?;
        Ok(name)
    }

    fn seal(&self, records: impl Iterator<Item = PlainIndexRecord>) -> Result<Packer> {
        let (mut batch, mut compressor) = (Batch::default(), Compressor::new());
        let (key, keys) = (self.key.record_key(), vec![self.key.row().clone()]);
        let mut packer = Packer::new(PackClass::Index, limits::RUN_LEN_MAX, keys, Some(key.clone()));
        let mut records = records.peekable();
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

#[cfg(test)]
mod tests {
    use super::super::load::RunFile;
    use super::super::open::OpenRun;
    use super::*;
    use crate::check::{CheckOptions, check};
    use crate::init::{InitOptions, init};
    use crate::store::MemoryDriver;
    use crate::{Credential, Env, Exec};
    use repo_format::config::Chunking;
    use repo_format::kdf::Secret;
    use repo_format::record::RecordType;
    use repo_format::{Id, PackId};

    fn block_on<T>(work: impl Future<Output = T>) -> T {
        tokio::runtime::Builder::new_current_thread().enable_time().build().unwrap().block_on(work)
    }

    /// The records of a run of one pack with records of these ids.
    fn records(ids: impl Iterator<Item = u8>) -> Vec<PlainIndexRecord> {
        let mut builder = RunBuilder::new();
        let (class, sid) = (PackClass::Data, SnapshotId([1; 16]));
        let row = PackRow { pack_id: PackId([2; 16]), size: 1000, trailer_len: 500, class, sid };
        let pack = builder.add_pack(row).unwrap();
        ids.for_each(|n| builder.add_entry(&Id([n; 32]), pack, 50).unwrap());
        builder.encode(0).unwrap()
    }

    #[test]
    fn a_filter_that_misses_an_id_is_found() {
        let (env, exec, key) = (Env::system(), Exec::inline(), Credential::KeyFile(Secret::new([7; 32])));
        let store = MemoryDriver::new(env.clock.clone());
        let options =
            InitOptions { credential: Some(key.clone()), label: String::new(), chunking: Chunking::blocks() };
        block_on(init(Arc::new(store.clone()), &exec, &env, options)).unwrap();
        let repository = block_on(Repository::open(Arc::new(store), &exec, &env, &key)).unwrap();
        let writer = RunWriter::new(&repository, SnapshotId([1; 16])).unwrap();
        // first and last id are the same, so that all else adds up
        let (right, other) = (records(0..200), records((0..200).filter(|n| *n != 77)));
        let is_filter = |record: &PlainIndexRecord| record.record_type == RecordType::Filter;
        let mut wrong = right.clone();
        for record in wrong.iter_mut().filter(|record| is_filter(record)) {
            record.content = other.iter().find(|record| is_filter(record)).unwrap().content.clone();
        }
        let mut none = right.clone();
        none.retain(|record| !is_filter(record));
        for (n, (records, is_right)) in [(right, true), (none, true), (wrong, false)].into_iter().enumerate()
        {
            let pack_id = PackId([n as u8; 16]);
            let name = ObjectName::Run { seq: n as u64, pack: pack_id };
            let pack = writer.seal(records.into_iter()).unwrap().close().unwrap();
            let stored = block_on(writer.pack_sealer.clone().store_as(pack, pack_id, name)).unwrap();
            let object = block_on(repository.store().get(&name)).unwrap().unwrap();
            let file = RunFile { seq: n as u64, pack_id, len: stored.len };
            let checked = OpenRun::open(&repository, &file, &object).unwrap().unwrap().check();
            assert_eq!(checked.is_ok(), is_right, "{n}: {checked:?}");
            let report = block_on(check(&repository, CheckOptions::default(), &Arc::default())).unwrap();
            let found = report.errors.iter().any(|error| error.object == name.to_string());
            assert_eq!(found, !is_right, "{:?}", report.errors);
        }
    }
}
