//! Pages as bytes, and their ids.

use crate::fields::Fields;
use crate::kdf::{self, Secret};
use crate::{Error, Id, Result, limits};

pub(super) const WHAT: &str = "map page";
const HEAD_LEN: usize = 1 + 2;
const HOLE_BIT: u32 = 1 << 31;
/// Highest level: the low nibble of the first byte.
pub(super) const LEVEL_MAX: u8 = 15;

/// The key of a domain's page ids.
#[derive(Debug, Clone)]
pub struct PageKey(Secret);

impl PageKey {
    /// Derived from the domain's structure key (S_d) of epoch 0, for ever: later epochs change
    /// how pages are sealed, not how they are named.
    pub fn new(s_d_epoch_0: &Secret) -> Self {
        PageKey(kdf::derive("page", &[s_d_epoch_0.expose()]))
    }

    /// The id of a page's bytes.
    pub fn page_id(&self, page: &[u8]) -> Id {
        Id(*blake3::keyed_hash(self.0.expose(), page).as_bytes())
    }

    /// The id that a segment's page has: to compare with a parent's before anything is looked up.
    /// [`Id::ZERO`] for a segment of holes only.
    pub fn leaf_id(&self, entries: &[LeafEntry]) -> Result<Id> {
        if entries.iter().all(|entry| entry.id.is_none()) {
            return Ok(Id::ZERO);
        }
        encode_leaf(entries).map(|page| self.page_id(&page))
    }
}

impl PageKey {
    /// The page of `level` with one child only, as the last one of a level may be.
    pub fn page_over(&self, level: u8, span: u64, id: Id) -> Result<EncodedPage> {
        let bytes = encode_inner(level, &[InnerEntry { span, id }])?;
        Ok(EncodedPage { id: self.page_id(&bytes), bytes })
    }
}

/// A page that a builder finished: to be stored as a record under its id.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct EncodedPage {
    /// The page's id.
    pub id: Id,
    /// The page.
    pub bytes: Vec<u8>,
}

/// An entry of level 0: a chunk or a hole.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct LeafEntry {
    /// Bytes covered: 1 to [`limits::RECORD_PLAIN_LEN_MAX`] for a chunk, below 2^31 for a hole.
    pub len: u32,
    /// The chunk, or none for a hole.
    pub id: Option<Id>,
}

/// An entry of a higher level: a page of the level below.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct InnerEntry {
    /// Bytes covered, at least 1.
    pub span: u64,
    /// The page; [`Id::ZERO`] if all that it covers is a hole.
    pub id: Id,
}

/// The bytes of a page of level 0.
pub(super) fn encode_leaf(entries: &[LeafEntry]) -> Result<Vec<u8>> {
    let mut out = head(0, entries.len())?;
    for entry in entries {
        check_leaf_entry(entry)?;
        match entry.id {
            Some(id) => {
                out.extend_from_slice(&entry.len.to_le_bytes());
                out.extend_from_slice(&id.0);
            }
            None => out.extend_from_slice(&(entry.len | HOLE_BIT).to_le_bytes()),
        }
    }
    Error::check_limit(WHAT, out.len() as u64, limits::PAGE_LEN_MAX.into())?;
    Ok(out)
}

/// The bytes of a page of a higher level.
pub(super) fn encode_inner(level: u8, entries: &[InnerEntry]) -> Result<Vec<u8>> {
    if level == 0 || level > LEVEL_MAX {
        return Err(Error::Invalid { what: "map page level", rule: "must be 1 to 15" });
    }
    let mut out = head(level, entries.len())?;
    for entry in entries {
        out.extend_from_slice(&entry.span.to_le_bytes());
        out.extend_from_slice(&entry.id.0);
    }
    Error::check_limit(WHAT, out.len() as u64, limits::PAGE_LEN_MAX.into())?;
    Ok(out)
}

fn head(level: u8, count: usize) -> Result<Vec<u8>> {
    let Ok(count) = u16::try_from(count) else {
        let (found, limit) = (count as u64, u16::MAX.into());
        return Err(Error::TooLarge { what: "map page entry count", found, limit });
    };
    let mut out = Vec::with_capacity(HEAD_LEN + usize::from(count) * 40);
    out.push(level);
    out.extend_from_slice(&count.to_le_bytes());
    Ok(out)
}

fn check_leaf_entry(entry: &LeafEntry) -> Result<()> {
    let limit = if entry.id.is_some() { limits::RECORD_PLAIN_LEN_MAX } else { HOLE_BIT - 1 };
    Error::check_limit("length of a map entry", entry.len.into(), limit.into())?;
    if entry.len == 0 {
        return Err(Error::Rule { what: WHAT, rule: "an entry is empty" });
    }
    if entry.id.is_some_and(|id| id.is_zero()) {
        return Err(Error::Rule { what: WHAT, rule: "a chunk's id is zero" });
    }
    Ok(())
}

/// A page as it stands, not compared with the place that it should have.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum PageEntries {
    /// Level 0.
    Leaf(Vec<LeafEntry>),
    /// A higher level.
    Inner {
        /// 1 to 15.
        level: u8,
        /// Pages of the level below.
        entries: Vec<InnerEntry>,
    },
}

/// Reads a page for showing it: entries are valid each by itself, but neither their sum nor the
/// shape is checked. Walkers use [`Place::parse`](super::Place::parse).
pub fn parse_page(bytes: &[u8]) -> Result<PageEntries> {
    Error::check_limit(WHAT, bytes.len() as u64, limits::PAGE_LEN_MAX.into())?;
    let mut fields = Fields::new(WHAT, bytes);
    let first = fields.u8()?;
    if first > LEVEL_MAX {
        return Err(Error::Unsupported { what: "map page kind", found: u64::from(first >> 4) });
    }
    let count = fields.u16()?;
    let entry_len = if first == 0 { 4 } else { 8 + Id::LEN };
    fields.check_room(count.into(), entry_len as u64)?;
    let page = if first == 0 {
        let mut entries = Vec::with_capacity(count.into());
        for _ in 0..count {
            let word = fields.u32()?;
            let id = if word & HOLE_BIT == 0 { Some(Id(fields.array()?)) } else { None };
            let entry = LeafEntry { len: word & !HOLE_BIT, id };
            check_leaf_entry(&entry)?;
            entries.push(entry);
        }
        PageEntries::Leaf(entries)
    } else {
        let mut entries = Vec::with_capacity(count.into());
        for _ in 0..count {
            entries.push(InnerEntry { span: fields.u64()?, id: Id(fields.array()?) });
        }
        PageEntries::Inner { level: first, entries }
    };
    fields.finish()?;
    Ok(page)
}
