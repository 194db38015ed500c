//! Builds the map of a stream, whose pages end where ids say so and not at fixed counts.

use super::closes_stream_page;
use super::page::{EncodedPage, InnerEntry, LeafEntry, PageKey, encode_inner, encode_leaf};
use crate::{Error, Id, Result, limits};

/// Takes the chunks of a stream in order and gives the pages to store.
///
/// Entry i of a page (from 1) closes it if i = 256, or if i >= 16 and the last byte of its id is
/// below 4; then the next page of that level begins. Where the stream ends, the open page of each
/// level closes, from the lowest up, and the lowest level that has one page in all has the root.
/// That is well defined, and levels end: a page that is not the last of its level has 16 entries
/// or more, so n >= 2 pages lie under at most (n - 1) / 16 + 1 < n pages of the next level. Which
/// level has the root depends on how many pages lie below it and on nothing else: a level's pages
/// depend on the level below alone. So a root above level 0 has at least two entries, while the
/// last page of any level below may have one.
#[derive(Debug)]
pub struct StreamMapBuilder {
    key: PageKey,
    leaf: Vec<LeafEntry>,
    /// `levels[n]`: the pages of level n.
    levels: Vec<Level>,
    ready: Vec<EncodedPage>,
    stream_len: u64,
}

#[derive(Debug, Default)]
struct Level {
    page_count: u64,
    /// Those that no page of the next level holds yet.
    pending: Vec<InnerEntry>,
}

impl StreamMapBuilder {
    /// An empty stream.
    pub fn new(key: PageKey) -> Self {
        StreamMapBuilder { key, leaf: Vec::new(), levels: Vec::new(), ready: Vec::new(), stream_len: 0 }
    }

    /// Bytes so far.
    pub fn stream_len(&self) -> u64 {
        self.stream_len
    }

    /// The next chunk: its length (1 to [`limits::RECORD_PLAIN_LEN_MAX`]) and id. Gives the pages
    /// that are now finished.
    pub fn push_chunk(&mut self, len: u32, id: Id) -> Result<Vec<EncodedPage>> {
        Error::check_limit("length of a chunk", len.into(), limits::RECORD_PLAIN_LEN_MAX.into())?;
        if len == 0 || id.is_zero() {
            return Err(Error::Invalid { what: "chunk", rule: "is empty, or its id is zero" });
        }
        let overflow = Error::Invalid { what: "stream", rule: "is longer than 2^64 bytes" };
        self.stream_len = self.stream_len.checked_add(len.into()).ok_or(overflow)?;
        self.leaf.push(LeafEntry { len, id: Some(id) });
        if closes_stream_page(self.leaf.len(), &id) {
            self.close_leaf()?;
        }
        Ok(std::mem::take(&mut self.ready))
    }

    /// Closes what is open; gives the root, zero for an empty stream, and the last pages.
    pub fn finish(mut self) -> Result<(Id, Vec<EncodedPage>)> {
        if !self.leaf.is_empty() {
            self.close_leaf()?;
        }
        let mut level = 0;
        while let Some(Level { page_count, pending }) = self.levels.get_mut(level) {
            match (*page_count, pending.first()) {
                (1, Some(root)) => return Ok((root.id, self.ready)),
                (_, Some(_)) => self.close(level)?,
                (_, None) => {}
            }
            level += 1;
        }
        Ok((Id::ZERO, self.ready))
    }

    fn close_leaf(&mut self) -> Result<()> {
        let span = self.leaf.iter().map(|entry| u64::from(entry.len)).sum();
        let bytes = encode_leaf(&self.leaf)?;
        self.leaf.clear();
        self.add_page(0, span, bytes)
    }

    /// Puts the pending pages of a level under one page of the next.
    fn close(&mut self, level: usize) -> Result<()> {
        let Some(open) = self.levels.get_mut(level) else { return Ok(()) };
        let children = std::mem::take(&mut open.pending);
        let span = children.iter().map(|child| child.span).sum();
        let bytes = encode_inner(u8::try_from(level + 1).unwrap_or(u8::MAX), &children)?;
        self.add_page(level + 1, span, bytes)
    }

    fn add_page(&mut self, level: usize, span: u64, bytes: Vec<u8>) -> Result<()> {
        let id = self.key.page_id(&bytes);
        self.ready.push(EncodedPage { id, bytes });
        if self.levels.len() <= level {
            self.levels.resize_with(level + 1, Level::default);
        }
        let Some(Level { page_count, pending }) = self.levels.get_mut(level) else { return Ok(()) };
        *page_count += 1;
        pending.push(InnerEntry { span, id });
        if closes_stream_page(pending.len(), &id) { self.close(level) } else { Ok(()) }
    }
}
