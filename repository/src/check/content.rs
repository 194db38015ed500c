//! One pack: against its own hash, its trailer, the index, and record by record.

use super::report::{AS_WRITTEN, describe_format};
use crate::Repository;
use crate::index::PackInfo;
use repo_format::compress::Decompressor;
use repo_format::pack::{OpenTrailer, PackClass, Row, Trailer, open_trailer, scrub};
use repo_format::record::{RecordKey, RecordType};
use repo_format::{Error as FormatError, ErrorKind, Id, PackId};
use std::collections::BTreeSet;

/// What a flaw makes unreadable.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Scope {
    /// Any record of the pack.
    Pack,
    /// One record, by the short id of the index.
    Record([u8; 16]),
}

/// Something wrong with a pack.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Flaw {
    pub(super) scope: Scope,
    pub(super) kind: &'static str,
    pub(super) found: String,
    pub(super) expected: String,
}

impl Flaw {
    /// The pack as a whole is not what it should be.
    pub(super) fn of_pack(kind: &'static str, (found, expected): (String, String)) -> Self {
        Flaw { scope: Scope::Pack, kind, found, expected }
    }

    fn of_record(id: &Id, error: &FormatError) -> Self {
        let (found, _) = describe_format(error);
        let (found, expected) = (format!("record {id}: {found}"), format!("record {id} as it was written"));
        Flaw { scope: Scope::Record(id.short()), kind: "damaged", found, expected }
    }
}

/// What the index says of a pack.
#[derive(Clone)]
pub(super) struct Indexed {
    /// Number in the index.
    pub(super) number: u32,
    /// The row of the pack table.
    pub(super) info: PackInfo,
    /// Short ids and sealed lengths of the entries that name it, sorted, each once.
    pub(super) entries: Vec<([u8; 16], u32)>,
}

/// Compares a trailer with what the index says of its pack.
pub(super) fn compare(indexed: &Indexed, trailer: &Trailer) -> Vec<Flaw> {
    let mut flaws = Vec::new();
    if trailer.sid() != indexed.info.sid {
        let found = format!("a trailer of session {}", trailer.sid());
        flaws.push(Flaw::of_pack("index", (found, format!("session {} by the index", indexed.info.sid))));
    }
    let mut held: Vec<([u8; 16], u32)> =
        trailer.rows().iter().map(|row| (row.id.short(), row.clen)).collect();
    held.sort_unstable();
    held.dedup();
    let wrong = indexed.entries.iter().filter(|entry| held.binary_search(entry).is_err());
    flaws.extend(wrong.map(|(id, clen)| {
        let short: String = id.iter().map(|byte| format!("{byte:02x}")).collect();
        let found = format!("no record {short} of {clen} bytes in the trailer");
        let expected = "every record that the index names".to_owned();
        Flaw { scope: Scope::Record(*id), kind: "index", found, expected }
    }));
    flaws
}

/// What is left of a pack that is not as it was written.
#[derive(Debug)]
pub(crate) struct Remains {
    /// The first thing that was found wrong.
    pub(crate) why: String,
    /// Its trailer, if that opens.
    pub(crate) trailer: Option<Trailer>,
    /// Records that do not open, or are not what their row says, by short id.
    pub(crate) bad: BTreeSet<[u8; 16]>,
}

/// Looks into a whole pack; nothing if every bit of it is right. Content that this key cannot open is
/// compared with the hash of the pack only: if that differs, nobody can say which record it is.
pub(crate) fn remains(
    repository: &Repository,
    class: PackClass,
    pack_id: PackId,
    bytes: &[u8],
) -> Option<Remains> {
    let whole = Whole { repository, class, pack_id, indexed: None, foreign_domains: false, bytes };
    let flaws = whole.check();
    let why = flaws.first()?.found.clone();
    let context = repository.pack_context(class, &pack_id);
    let trailer = match open_trailer(&context, bytes, bytes.len() as u64) {
        Ok(OpenTrailer::Done(trailer, _)) => Some(trailer),
        _ => None,
    };
    let bad: BTreeSet<[u8; 16]> = flaws
        .iter()
        .filter_map(|flaw| match flaw.scope {
            Scope::Record(id) => Some(id),
            Scope::Pack => None,
        })
        .collect();
    Some(Remains { why, trailer, bad })
}

/// A pack that was read whole.
pub(super) struct Whole<'a> {
    pub(super) repository: &'a Repository,
    pub(super) class: PackClass,
    pub(super) pack_id: PackId,
    pub(super) indexed: Option<&'a Indexed>,
    /// What no key opens may be another domain's.
    pub(super) foreign_domains: bool,
    pub(super) bytes: &'a [u8],
}

impl Whole<'_> {
    /// Everything that is wrong with it: each bit of the object counts.
    pub(super) fn check(&self) -> Vec<Flaw> {
        let scrubbed = scrub(self.bytes, self.pack_id);
        let context = self.repository.pack_context(self.class, &self.pack_id);
        let whole = |error: &FormatError| vec![Flaw::of_pack("damaged", describe_format(error))];
        match (open_trailer(&context, self.bytes, self.bytes.len() as u64), scrubbed) {
            (Ok(OpenTrailer::Done(trailer, _)), scrubbed) => {
                let mut flaws = self.check_trailer(&trailer);
                flaws.extend(self.check_records(&trailer));
                if let Err(error) = scrubbed
                    && flaws.is_empty()
                {
                    flaws = whole(&error);
                }
                flaws
            }
            (Err(error), Ok(_)) if error.kind() == ErrorKind::WrongKey && self.foreign_domains => Vec::new(),
            (Err(error), Ok(_)) | (_, Err(error)) => whole(&error),
            (Ok(OpenTrailer::NeedTail(_)), Ok(_)) => {
                let found = "an end before its trailer".to_owned();
                vec![Flaw::of_pack("damaged", (found, AS_WRITTEN.to_owned()))]
            }
        }
    }

    fn check_trailer(&self, trailer: &Trailer) -> Vec<Flaw> {
        self.indexed.map(|indexed| compare(indexed, trailer)).unwrap_or_default()
    }

    fn check_records(&self, trailer: &Trailer) -> Vec<Flaw> {
        if self.class == PackClass::Data && self.repository.bundle().content_secret().is_none() {
            return Vec::new();
        }
        let keys: Vec<_> = trailer.keys().iter().map(|key| self.open_key(key)).collect();
        let mut tools = Decompressor::new();
        let mut plain = Vec::new();
        let mut flaws = Vec::new();
        for (n, row) in trailer.rows().iter().enumerate() {
            let key = match keys.get(usize::from(row.key)) {
                Some(Ok(key)) => key,
                Some(Err(error)) => {
                    flaws.push(Flaw::of_record(&row.id, error));
                    continue;
                }
                None => continue,
            };
            let sealed = trailer.sealed(n, self.bytes).unwrap_or_default();
            if let Err(error) = key.open(row, sealed, &mut tools, &mut plain) {
                flaws.push(Flaw::of_record(&row.id, &error));
            } else if let Some(found) = self.other_id(row, &plain) {
                let found = format!("record {}: content whose id is {found}", row.id);
                let expected = format!("content of id {}", row.id);
                flaws.push(Flaw { scope: Scope::Record(row.id.short()), kind: "damaged", found, expected });
            }
        }
        flaws
    }

    fn open_key(&self, key: &repo_format::record::KeyRow) -> repo_format::Result<RecordKey> {
        let repo_id = self.repository.repo_id();
        match self.repository.bundle().content_secret() {
            Some(secret) if self.class == PackClass::Data => key.open_data(&repo_id, secret),
            _ => key.open_structure(&repo_id, self.repository.structure_key()),
        }
    }

    /// The id that content has, if it is not the one of its row.
    fn other_id(&self, row: &Row, plain: &[u8]) -> Option<Id> {
        let id = match row.record_type {
            RecordType::Data => {
                let identity = self.repository.identity("checking content").ok()?;
                Id(chunker::chunk_id(&identity.block_keys, plain))
            }
            RecordType::Page => self.repository.page_key().page_id(plain),
            _ => return None,
        };
        (id != row.id).then_some(id)
    }
}
