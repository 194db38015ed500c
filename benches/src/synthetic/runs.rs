//! Index runs.

use super::folder::{Folder, LEVEL};
use super::packs::{StoredPack, nonce, put_pack};
use anyhow::Result;
use repo_format::compress::Compressor;
use repo_format::index::RunBuilder;
use repo_format::layout::ObjectName;
use repo_format::pack::PackClass;
use repo_format::record::PlainRecord;

/// The open run.
pub(super) struct Runs<'a> {
    folder: &'a Folder,
    compressor: Compressor,
    packs_max: usize,
    open: RunBuilder,
    open_packs: usize,
    last: Option<repo_format::SnapshotId>,
    written: u64,
    records: u64,
}

impl<'a> Runs<'a> {
    /// Runs of at most `packs_max` packs, 0 for as many as fit.
    pub(super) fn new(folder: &'a Folder, packs_max: usize) -> Self {
        Runs {
            folder,
            compressor: Compressor::new(),
            packs_max: if packs_max == 0 { usize::MAX } else { packs_max },
            open: RunBuilder::new(),
            open_packs: 0,
            last: None,
            written: 0,
            records: 0,
        }
    }

    /// Runs so far.
    pub(super) fn run_count(&self) -> u64 {
        self.written
    }

    /// Names a pack, in the next run if the open one is full.
    pub(super) fn add(&mut self, pack: &StoredPack) -> Result<()> {
        if self.open_packs >= self.packs_max || !self.open.fits(pack.records.len()) {
            self.flush()?;
        }
        let number = self.open.add_pack(pack.row)?;
        for (id, clen) in &pack.records {
            self.open.add_entry(id, number, *clen)?;
        }
        self.open_packs += 1;
        self.last = Some(pack.row.sid);
        Ok(())
    }

    /// Writes the open run; nothing if it is empty.
    pub(super) fn flush(&mut self) -> Result<()> {
        let Some(sid) = self.last.take() else { return Ok(()) };
        let records = std::mem::take(&mut self.open).encode(0)?;
        self.open_packs = 0;
        let (mut body, mut rows) = (Vec::new(), Vec::new());
        for record in &records {
            let plain =
                PlainRecord { record_type: record.record_type, id: record.id, content: &record.content };
            let key = self.folder.structure_key.record_key();
            let nonce = nonce(3, self.records);
            self.records += 1;
            let sealed = key.seal(&mut self.compressor, &plain, Some(LEVEL), nonce, &mut body)?;
            rows.push(sealed.row(record.record_type, 0, record.id));
        }
        let pack_id = self.folder.pack_id(PackClass::Index, self.written);
        let name = ObjectName::Run { seq: self.written, pack: pack_id };
        put_pack(self.folder, &name, (PackClass::Index, pack_id), sid, &body, rows)?;
        self.written += 1;
        Ok(())
    }
}
