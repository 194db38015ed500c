//! Builds the map of a volume, one segment after the other.

use super::page::{EncodedPage, InnerEntry, LeafEntry, PageKey, encode_inner, encode_leaf};
use super::place::{check_segment_len, check_volume_leaf, full_span, segment_count};
use crate::{Error, Id, Result, limits};

/// Takes segments in order and gives the pages to store, in memory of 64 entries per level.
///
/// Level 0 has one page per segment; while a level has more than one page, 64 consecutive ones
/// make one of the next level. What is all hole has id zero and is no page.
#[derive(Debug)]
pub struct VolumeMapBuilder {
    key: PageKey,
    segment_len: u64,
    rest_len: u64,
    levels: Vec<Level>,
    ready: Vec<EncodedPage>,
}

/// The pages of one level.
#[derive(Debug, Default)]
struct Level {
    /// Pages so far, holes included.
    page_count: u64,
    /// Those not yet under a page of the next level.
    pending: Vec<InnerEntry>,
}

impl VolumeMapBuilder {
    /// For a volume of `volume_len` bytes in segments of `segment_len` (a multiple of 4096).
    pub fn new(key: PageKey, segment_len: u64, volume_len: u64) -> Result<Self> {
        check_segment_len(segment_len)?;
        segment_count(segment_len, volume_len)?;
        Ok(VolumeMapBuilder { key, segment_len, rest_len: volume_len, levels: Vec::new(), ready: Vec::new() })
    }

    /// Bytes of the next segment; zero when all were pushed.
    pub fn next_span(&self) -> u64 {
        self.rest_len.min(self.segment_len)
    }

    /// The next segment's chunks and holes; gives the pages that are now finished.
    pub fn push_segment(&mut self, entries: &[LeafEntry]) -> Result<Vec<EncodedPage>> {
        check_volume_leaf(entries, self.next_span())?;
        let id = if entries.iter().all(|entry| entry.id.is_none()) {
            Id::ZERO
        } else {
            self.emit(encode_leaf(entries)?)
        };
        self.push_page(id)
    }

    /// The next segment as a page that is stored already, or [`Id::ZERO`] for a hole: for what
    /// did not change since a parent. Gives the higher pages that are now finished.
    pub fn push_page(&mut self, id: Id) -> Result<Vec<EncodedPage>> {
        let span = self.next_span();
        if span == 0 {
            return Err(Error::Invalid { what: "volume map", rule: "has all its segments" });
        }
        self.rest_len -= span;
        self.push_child(0, InnerEntry { span, id })?;
        Ok(std::mem::take(&mut self.ready))
    }

    /// The next segments as a page of `level` that is stored already, or [`Id::ZERO`] for a hole: for a subtree that
    /// did not change since a parent. It must begin where a page of this level begins, and cover what that covers:
    /// `span` bytes. Gives the higher pages that are now finished.
    pub fn push_subtree(&mut self, level: u8, span: u64, id: Id) -> Result<Vec<EncodedPage>> {
        let full = |level: usize| full_span(self.segment_len, u8::try_from(level).unwrap_or(u8::MAX));
        let level = usize::from(level);
        let begins = self.levels.iter().take(level).all(|below| below.pending.is_empty());
        let below = self.levels.get(level.wrapping_sub(1)).map_or(0, |below| below.page_count);
        let is_full = span == full(level).min(self.rest_len) && span > 0;
        if !(begins && below.is_multiple_of(limits::VOLUME_FANOUT as u64) && is_full) {
            return Err(Error::Invalid { what: "volume map", rule: "has no such page next" });
        }
        let counts: Vec<u64> = (0..level).map(|below| span.div_ceil(full(below))).collect();
        if self.levels.len() < level {
            self.levels.resize_with(level, Level::default);
        }
        for (below, count) in self.levels.iter_mut().zip(counts) {
            below.page_count += count;
        }
        self.rest_len -= span;
        self.push_child(level, InnerEntry { span, id })?;
        Ok(std::mem::take(&mut self.ready))
    }

    /// Closes what is open; gives the root and the last pages.
    pub fn finish(mut self) -> Result<(Id, Vec<EncodedPage>)> {
        if self.rest_len > 0 {
            return Err(Error::Invalid { what: "volume map", rule: "does not have all its segments" });
        }
        let mut level = 0;
        while let Some(Level { page_count, pending }) = self.levels.get_mut(level) {
            match (*page_count, pending.first()) {
                (1, Some(root)) => return Ok((root.id, self.ready)),
                (_, Some(_)) => self.group(level)?,
                (_, None) => {}
            }
            level += 1;
        }
        Ok((Id::ZERO, self.ready))
    }

    fn push_child(&mut self, level: usize, entry: InnerEntry) -> Result<()> {
        if self.levels.len() <= level {
            self.levels.resize_with(level + 1, Level::default);
        }
        let Some(Level { page_count, pending }) = self.levels.get_mut(level) else { return Ok(()) };
        *page_count += 1;
        pending.push(entry);
        if pending.len() < limits::VOLUME_FANOUT { Ok(()) } else { self.group(level) }
    }

    /// Puts the pending pages of a level under one page of the next.
    fn group(&mut self, level: usize) -> Result<()> {
        let Some(open) = self.levels.get_mut(level) else { return Ok(()) };
        let children = std::mem::take(&mut open.pending);
        let span = children.iter().map(|child| child.span).sum();
        let id = if children.iter().all(|child| child.id.is_zero()) {
            Id::ZERO
        } else {
            self.emit(encode_inner(u8::try_from(level + 1).unwrap_or(u8::MAX), &children)?)
        };
        self.push_child(level + 1, InnerEntry { span, id })
    }

    fn emit(&mut self, bytes: Vec<u8>) -> Id {
        let id = self.key.page_id(&bytes);
        self.ready.push(EncodedPage { id, bytes });
        id
    }
}
