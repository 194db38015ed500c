//! Runs as they were read: checked and opened block by block, so that a run of a million entries costs the bytes of its
//! object and no more.

use super::RunFile;
use crate::error::Named;
use crate::{Error, Repository, Result};
use bytes::Bytes;
use repo_format::compress::Decompressor;
use repo_format::index::{ENTRIES_PER_BLOCK, Entry, PackRow, Run, RunBlocks, RunHead, next_filter_part};
use repo_format::layout::ObjectName;
use repo_format::limits::{FILTER_PART_ID_COUNT_MAX, RUN_LEN_MAX};
use repo_format::pack::{OpenTrailer, PackClass, Trailer, open_trailer, scrub};
use repo_format::record::{RecordKey, RecordType};
use repo_format::{Error as FormatError, ErrorKind as FormatKind, Id};

/// Entries read at a time while a filter is checked.
const FILTER_ENTRIES: usize = FILTER_PART_ID_COUNT_MAX;

/// A run whose head and pack table are open, and whose entries are sealed.
///
/// Nothing that it says counts before [`next`](Self::next) has come to the end without an error.
pub(crate) struct OpenRun {
    name: ObjectName,
    sealed: Sealed,
    blocks: RunBlocks,
    /// Number of the next record.
    at: usize,
}

/// The object, and what opens its records.
struct Sealed {
    object: Bytes,
    trailer: Trailer,
    keys: Vec<RecordKey>,
    tools: Decompressor,
    plain: Vec<u8>,
}

/// Refuses what is longer than any run.
pub(super) fn check_len(name: &ObjectName, found: u64) -> Result<()> {
    let refused = FormatError::TooLarge { what: "index run", found, limit: RUN_LEN_MAX };
    if found > RUN_LEN_MAX { Err(refused).named(name) } else { Ok(()) }
}

impl OpenRun {
    /// Opens a run that was read; nothing if it is another domain's.
    pub(crate) fn open(repository: &Repository, file: &RunFile, object: &Bytes) -> Result<Option<Self>> {
        let name = file.name();
        let repo_id = repository.repo_id();
        check_len(&name, object.len() as u64)?;
        let context = repository.pack_context(PackClass::Index, &file.pack_id);
        let trailer = match open_trailer(&context, object, object.len() as u64) {
            Ok(OpenTrailer::Done(trailer, _)) => trailer,
            Ok(OpenTrailer::NeedTail(_)) => return Err(Error::damage(name, "ends before its trailer")),
            Err(error) if error.kind() == FormatKind::WrongKey => {
                return foreign_or_damaged(&name, file, object);
            }
            Err(error) => return Err(error).named(name),
        };
        let mut keys = Vec::new();
        for key in trailer.keys() {
            keys.push(key.open_structure(&repo_id, repository.structure_key()).named(name)?);
        }
        let (tools, plain) = (Decompressor::new(), Vec::new());
        let mut sealed = Sealed { object: object.clone(), trailer, keys, tools, plain };
        let blocks = sealed.blocks(&name)?;
        Ok(Some(OpenRun { name, sealed, blocks, at: 0 }))
    }

    pub(crate) fn head(&self) -> &RunHead {
        self.blocks.head()
    }

    pub(crate) fn packs(&self) -> &[PackRow] {
        self.blocks.packs()
    }

    /// Appends entries to `out`, at least `count` and less than a block more while there are so many; false after the
    /// last one.
    pub(crate) fn next(&mut self, count: usize, out: &mut Vec<Entry>) -> Result<bool> {
        let most = out.len().saturating_add(count);
        while out.len() < most {
            let Some(row) = self.sealed.trailer.rows().get(self.at) else {
                self.blocks.finish().named(self.name)?;
                return Ok(false);
            };
            let (record_type, id) = (row.record_type, row.id);
            let plain = self.sealed.open(self.at, &self.name)?;
            if record_type == RecordType::Entries {
                self.blocks.read(&id, plain, out).named(self.name)?;
            }
            self.at += 1;
        }
        Ok(true)
    }

    /// Reads all entries and keeps them.
    pub(crate) fn into_run(mut self) -> Result<Run> {
        let expected = usize::try_from(self.head().entry_count).unwrap_or(usize::MAX);
        // exactly what is there, if the head is right
        let most = self.sealed.trailer.rows().len().saturating_mul(ENTRIES_PER_BLOCK);
        let mut entries = Vec::with_capacity(expected.min(most));
        while self.next(usize::MAX, &mut entries)? {}
        Ok(Run { head: *self.head(), packs: self.packs().to_vec(), entries })
    }

    /// Reads all entries and keeps none; a filter must be the one of the entries.
    pub(crate) fn check(mut self) -> Result<()> {
        let parts: Vec<usize> = (0..self.sealed.trailer.rows().len())
            .filter(|n| {
                self.sealed.trailer.rows().get(*n).is_some_and(|row| row.record_type == RecordType::Filter)
            })
            .collect();
        let has_filter = !parts.is_empty();
        let mut parts = parts.into_iter();
        let (mut entries, mut more) = (Vec::new(), true);
        while more {
            more = self.next(FILTER_ENTRIES, &mut entries)?;
            if !has_filter {
                entries.clear();
            }
            while let Some(((id, part), used)) = next_filter_part(&entries, !more) {
                let n = parts
                    .next()
                    .ok_or_else(|| Error::damage(self.name, "its filter ends before its entries"))?;
                let is_same = self.sealed.trailer.rows().get(n).is_some_and(|row| row.id == id)
                    && self.sealed.open(n, &self.name)? == part;
                if !is_same {
                    return Err(Error::damage(self.name, "its filter is not that of its entries"));
                }
                entries.drain(..used);
            }
        }
        if parts.next().is_some() {
            Err(Error::damage(self.name, "its filter goes on after its entries"))
        } else {
            Ok(())
        }
    }
}

impl Sealed {
    /// The plain content of a record.
    fn open(&mut self, n: usize, name: &ObjectName) -> Result<&[u8]> {
        let (row, sealed) = (self.trailer.rows().get(n), self.trailer.sealed(n, &self.object));
        let (Some(row), Some(sealed)) = (row, sealed) else {
            return Err(Error::damage(name, "a record lies outside the object"));
        };
        let Some(key) = self.keys.get(usize::from(row.key)) else {
            return Err(Error::damage(name, "a record without a key"));
        };
        self.plain.clear();
        key.open(row, sealed, &mut self.tools, &mut self.plain).named(name)?;
        Ok(&self.plain)
    }

    /// Head and pack table.
    fn blocks(&mut self, name: &ObjectName) -> Result<RunBlocks> {
        let types: Vec<RecordType> = self.trailer.rows().iter().map(|row| row.record_type).collect();
        let ids: Vec<Id> = self.trailer.rows().iter().map(|row| row.id).collect();
        let mut parts: Vec<(Id, Vec<u8>)> = Vec::new();
        let mut head = (Id::ZERO, Vec::new());
        for (n, (record_type, id)) in types.iter().zip(&ids).enumerate() {
            match record_type {
                RecordType::PackTable => parts.push((*id, self.open(n, name)?.to_vec())),
                RecordType::RunHead => head = (*id, self.open(n, name)?.to_vec()),
                _ => {}
            }
        }
        let parts = parts.iter().map(|(id, part)| (id, part.as_slice()));
        RunBlocks::new(types.into_iter(), (&head.0, &head.1), parts).named(name)
    }
}

/// Opens a run that was read, and all of its entries.
pub(crate) fn open_run(repository: &Repository, file: &RunFile, object: &Bytes) -> Result<Option<Run>> {
    OpenRun::open(repository, file, object)?.map(OpenRun::into_run).transpose()
}

/// A trailer under another key is another domain's, if the object is whole; damage otherwise.
fn foreign_or_damaged<T>(name: &ObjectName, file: &RunFile, object: &Bytes) -> Result<Option<T>> {
    scrub(object, file.pack_id).named(name).map(|_| None)
}
