//! What a page's place in its map demands of it.

use super::page::{InnerEntry, LeafEntry, PageEntries, WHAT, parse_page};
use super::{STREAM_FANOUT_MAX, closes_stream_page};
use crate::{Error, Id, Result, limits};

/// Where a page stands, and so what it has to look like.
///
/// A walker starts with the place of the root and gets the places of the children from each page;
/// a map that a writer of this format could not have made is refused.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Place {
    shape: Shape,
    span: u64,
    /// None for the root of a stream's map, whose level only its page tells.
    level: Option<u8>,
    /// Nothing of the same level follows.
    last: bool,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Shape {
    Volume { segment_len: u64 },
    Stream,
}

/// A child of an inner page.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Child {
    /// The page's id; [`Id::ZERO`] for a hole of the place's span.
    pub id: Id,
    /// What the page has to look like.
    pub place: Place,
}

/// A page that fits its place.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Page {
    /// Chunks and holes, in order.
    Leaf(Vec<LeafEntry>),
    /// Pages of the level below, in order.
    Inner(Vec<Child>),
}

impl Place {
    /// The root of the map of a volume of `volume_len` bytes (at least 1), cut into segments of
    /// `segment_len`. An empty volume has no page at all.
    pub fn volume_root(segment_len: u64, volume_len: u64) -> Result<Self> {
        check_segment_len(segment_len)?;
        let mut pages = segment_count(segment_len, volume_len)?;
        let mut level = 0;
        while pages > 1 {
            pages = pages.div_ceil(limits::VOLUME_FANOUT as u64);
            level += 1;
        }
        Self::root(Shape::Volume { segment_len }, volume_len, Some(level))
    }

    /// The root of the map of a stream of `stream_len` bytes (at least 1).
    pub fn stream_root(stream_len: u64) -> Result<Self> {
        Self::root(Shape::Stream, stream_len, None)
    }

    fn root(shape: Shape, span: u64, level: Option<u8>) -> Result<Self> {
        if span == 0 {
            return Err(Error::Rule { what: WHAT, rule: "nothing to map: the root must be zero" });
        }
        Ok(Place { shape, span, level, last: true })
    }

    /// Bytes that the page covers.
    pub fn span(&self) -> u64 {
        self.span
    }

    /// Level of the page: 0 for a leaf. None where only the page tells: at the root of a stream's map.
    pub fn level(&self) -> Option<u8> {
        self.level
    }

    /// The places under a hole that stands here, each a hole again: for who changes some of it. None under a leaf,
    /// or in a stream, which has no holes.
    pub fn under_hole(&self) -> Vec<Child> {
        let (Shape::Volume { segment_len }, Some(level @ 1..)) = (self.shape, self.level) else {
            return Vec::new();
        };
        let full = full_span(segment_len, level - 1);
        let count = self.span.div_ceil(full);
        let child = |n: u64| {
            let span = full.min(self.span - n * full);
            let last = self.last && n + 1 == count;
            Child { id: Id::ZERO, place: Place { span, level: Some(level - 1), last, ..*self } }
        };
        (0..count).map(child).collect()
    }

    /// Reads a page and checks all that its place demands.
    pub fn parse(&self, bytes: &[u8]) -> Result<Page> {
        let page = parse_page(bytes)?;
        let found = match &page {
            PageEntries::Leaf(_) => 0,
            PageEntries::Inner { level, .. } => *level,
        };
        if let Some(expected) = self.level
            && expected != found
        {
            return Err(Error::Unexpected {
                what: "map page level",
                found: found.to_string(),
                expected: expected.to_string(),
            });
        }
        match (page, self.shape) {
            (PageEntries::Leaf(entries), Shape::Volume { .. }) => {
                check_volume_leaf(&entries, self.span)?;
                if entries.iter().all(|entry| entry.id.is_none()) {
                    return Err(Error::Rule { what: WHAT, rule: "a page of holes only is stored" });
                }
                Ok(Page::Leaf(entries))
            }
            (PageEntries::Leaf(entries), Shape::Stream) => {
                check_sum(entries.iter().map(|entry| entry.len.into()), self.span)?;
                self.check_stream(entries.iter().map(|entry| entry.id.unwrap_or(Id::ZERO)))?;
                Ok(Page::Leaf(entries))
            }
            (PageEntries::Inner { level, entries }, Shape::Volume { segment_len }) => {
                self.volume_children(level, &entries, segment_len)
            }
            (PageEntries::Inner { level, entries }, Shape::Stream) => self.stream_children(level, &entries),
        }
    }

    fn volume_children(&self, level: u8, entries: &[InnerEntry], segment_len: u64) -> Result<Page> {
        let full = full_span(segment_len, level.saturating_sub(1));
        let count = self.span.div_ceil(full);
        if count != entries.len() as u64 || entries.len() > limits::VOLUME_FANOUT {
            return Err(Error::Rule {
                what: WHAT,
                rule: "does not have the children that its span asks for",
            });
        }
        let mut rest = self.span;
        let mut children = Vec::with_capacity(entries.len());
        for entry in entries {
            let span = rest.min(full);
            if entry.span != span {
                return Err(Error::Rule { what: WHAT, rule: "a child does not have the span of its place" });
            }
            rest -= span;
            let place = Place { span, level: level.checked_sub(1), last: self.last && rest == 0, ..*self };
            children.push(Child { id: entry.id, place });
        }
        if entries.iter().all(|entry| entry.id.is_zero()) {
            return Err(Error::Rule { what: WHAT, rule: "a page of holes only is stored" });
        }
        Ok(Page::Inner(children))
    }

    fn stream_children(&self, level: u8, entries: &[InnerEntry]) -> Result<Page> {
        check_sum(entries.iter().map(|entry| entry.span), self.span)?;
        self.check_stream(entries.iter().map(|entry| entry.id))?;
        if self.level.is_none() && entries.len() < 2 {
            return Err(Error::Rule { what: WHAT, rule: "the root has one child, which should be the root" });
        }
        let count = entries.len();
        let child = |(at, entry): (usize, &InnerEntry)| {
            let (level, last) = (level.checked_sub(1), self.last && at + 1 == count);
            Child { id: entry.id, place: Place { shape: self.shape, span: entry.span, level, last } }
        };
        Ok(Page::Inner(entries.iter().enumerate().map(child).collect()))
    }

    /// Pages of streams have no holes and end exactly where the closing rule ends them.
    fn check_stream(&self, ids: impl ExactSizeIterator<Item = Id>) -> Result<()> {
        let count = ids.len();
        Error::check_limit("map page entry count", count as u64, STREAM_FANOUT_MAX as u64)?;
        for (at, id) in ids.enumerate() {
            if id.is_zero() {
                return Err(Error::Rule { what: WHAT, rule: "a stream has a hole" });
            }
            let ends = at + 1 == count;
            if closes_stream_page(at + 1, &id) != ends && !(ends && self.last) {
                return Err(Error::Rule { what: WHAT, rule: "does not end where its ids close it" });
            }
        }
        Ok(())
    }
}

/// Refuses segments that the format does not have.
pub(super) fn check_segment_len(segment_len: u64) -> Result<()> {
    // The longest hole entry says 2^31 - 1.
    Error::check_limit("segment length", segment_len, (1 << 31) - 1)?;
    if segment_len == 0 || !segment_len.is_multiple_of(limits::BLOCK_LEN.into()) {
        return Err(Error::Rule { what: "segment length", rule: "is not a multiple of 4096" });
    }
    Ok(())
}

/// Segments of a volume.
pub(super) fn segment_count(segment_len: u64, volume_len: u64) -> Result<u64> {
    let count = volume_len.div_ceil(segment_len.max(1));
    Error::check_limit("segment count", count, limits::SEGMENT_COUNT_MAX)?;
    Ok(count)
}

/// Bytes under a full page of this level.
pub(super) fn full_span(segment_len: u64, level: u8) -> u64 {
    (limits::VOLUME_FANOUT as u64).saturating_pow(level.into()).saturating_mul(segment_len)
}

/// A segment's entries must cover it and lie on the block grid.
pub(super) fn check_volume_leaf(entries: &[LeafEntry], span: u64) -> Result<()> {
    check_sum(entries.iter().map(|entry| entry.len.into()), span)?;
    let inner = entries.split_last().map_or(entries, |(_, inner)| inner);
    if inner.iter().any(|entry| !entry.len.is_multiple_of(limits::BLOCK_LEN)) {
        return Err(Error::Rule { what: WHAT, rule: "an entry does not end on a block" });
    }
    Ok(())
}

fn check_sum(lens: impl Iterator<Item = u64>, span: u64) -> Result<()> {
    let mut sum = 0u64;
    for len in lens {
        if len == 0 {
            return Err(Error::Rule { what: WHAT, rule: "an entry is empty" });
        }
        let overflow = Error::Rule { what: WHAT, rule: "entries cover more than 2^64 bytes" };
        sum = sum.checked_add(len).ok_or(overflow)?;
    }
    if sum != span {
        return Err(Error::Unexpected {
            what: "bytes covered by a map page",
            found: sum.to_string(),
            expected: span.to_string(),
        });
    }
    Ok(())
}
