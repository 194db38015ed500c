//! Two maps side by side.

use crate::error::Named;
use crate::reader::Reader;
use crate::vfs::{read_all, within};
use crate::{Error, Result};
use repo_format::Id;
use repo_format::map::{Child, Page, Place};
use repo_format::snapshot::{Chunker, Volume};
use std::collections::{HashMap, VecDeque};
use std::ops::Range;

/// Pages of one map that are read in one go.
const PAGES_AT_ONCE: usize = 32;

/// A page not looked into yet, a chunk or a hole.
#[derive(Clone, Copy, PartialEq, Eq)]
enum What {
    Page(Child),
    Chunk(Id),
    Hole,
}

#[derive(Clone, Copy, PartialEq, Eq)]
struct Item {
    offset: u64,
    len: u64,
    what: What,
}

impl Item {
    fn end(&self) -> u64 {
        self.offset.saturating_add(self.len)
    }

    fn page(&self) -> Option<Id> {
        match self.what {
            What::Page(child) => Some(child.id),
            What::Chunk(_) | What::Hole => None,
        }
    }
}

/// One of the two maps, from left to right.
struct Side {
    /// Whose map it is, for errors.
    whose: String,
    /// Siblings that are still to come, one queue a level, none of them empty.
    levels: Vec<VecDeque<Item>>,
    /// Pages that were read and are about to be looked into.
    pages: HashMap<Id, Vec<u8>>,
}

impl Side {
    fn new(whose: &str, volume: &Volume) -> Result<Self> {
        let (root, len) = (volume.root, volume.size);
        let what = match (root.is_zero(), Chunker::segment_len(&volume.chunker)) {
            (true, _) => What::Hole,
            (false, _) if len == 0 => return Err(Error::damage(whose, "is empty but has a map")),
            (false, Some(segment_len)) => {
                What::Page(Child { id: root, place: Place::volume_root(segment_len, len).named(whose)? })
            }
            (false, None) => What::Page(Child { id: root, place: Place::stream_root(len).named(whose)? }),
        };
        let whole = (len > 0).then_some(Item { offset: 0, len, what });
        let levels = whole.into_iter().map(|item| VecDeque::from([item])).collect();
        Ok(Side { whose: whose.to_owned(), levels, pages: HashMap::new() })
    }

    fn queue(&self) -> impl Iterator<Item = &Item> {
        self.levels.last().into_iter().flatten()
    }

    fn front(&self) -> Option<Item> {
        self.queue().next().copied()
    }

    fn pop(&mut self) {
        if let Some(level) = self.levels.last_mut() {
            level.pop_front();
        }
        while self.levels.last().is_some_and(VecDeque::is_empty) {
            self.levels.pop();
        }
    }

    /// Looks into the page in front, if it is one: its entries take its place.
    async fn descend(&mut self, reader: &Reader, ahead: &[Id]) -> Result<()> {
        let Some(Item { offset, what: What::Page(child), .. }) = self.front() else { return Ok(()) };
        if !self.pages.contains_key(&child.id) {
            let read = read_all(reader, ahead).await.map_err(|error| within(&self.whose, error))?;
            self.pages = ahead.iter().copied().zip(read).collect();
        }
        let page = self.pages.get(&child.id).ok_or_else(|| Error::internal("a page that was not read"))?;
        let name = || format!("{}: map page {}", self.whose, child.id);
        let mut at = offset;
        let mut item = |len: u64, what| {
            let item = Item { offset: at, len, what };
            at = at.saturating_add(len);
            item
        };
        let entries: VecDeque<Item> = match child.place.parse(page).named(name())? {
            Page::Leaf(entries) => {
                entries.iter().map(|e| item(e.len.into(), e.id.map_or(What::Hole, What::Chunk))).collect()
            }
            Page::Inner(children) => children
                .into_iter()
                .map(|c| item(c.place.span(), if c.id.is_zero() { What::Hole } else { What::Page(c) }))
                .collect(),
        };
        self.pop();
        if !entries.is_empty() {
            self.levels.push(entries);
        }
        Ok(())
    }
}

/// Goes through two maps at once and tells where they differ, in memory of some pages of each level.
///
/// Volumes are compared offset by offset, streams too: what an insertion has moved differs.
pub struct MapDiff {
    reader: Reader,
    a: Side,
    b: Side,
    /// Everything before it was told of, or is equal.
    at: u64,
    /// A range that may go on.
    open: Option<Range<u64>>,
}

impl MapDiff {
    /// Of two volumes; `whose` names them in errors.
    ///
    /// # Errors
    /// Damage of a root.
    pub fn new(reader: &Reader, whose: [&str; 2], a: &Volume, b: &Volume) -> Result<Self> {
        let (a, b) = (Side::new(whose[0], a)?, Side::new(whose[1], b)?);
        Ok(MapDiff { reader: reader.clone(), a, b, at: 0, open: None })
    }

    /// The next range that differs, as long as it can be; nothing at the end. What only one of them covers differs.
    ///
    /// # Errors
    /// Damage of a page of which no location is good.
    pub async fn next(&mut self) -> Result<Option<Range<u64>>> {
        while let Some(found) = self.step().await? {
            let Some(found) = found else { continue };
            match &mut self.open {
                Some(open) if open.end == found.start => open.end = found.end,
                open => {
                    if let Some(done) = open.replace(found) {
                        return Ok(Some(done));
                    }
                }
            }
        }
        Ok(self.open.take())
    }

    /// One item further; nothing at the end.
    async fn step(&mut self) -> Result<Option<Option<Range<u64>>>> {
        self.reader.repository().exec().check_cancelled()?;
        let (a, b) = match (self.a.front(), self.b.front()) {
            (None, None) => return Ok(None),
            (Some(item), None) | (None, Some(item)) => {
                let differs = self.at..item.end();
                self.advance(item.end());
                return Ok(Some(Some(differs)));
            }
            (Some(a), Some(b)) => (a, b),
        };
        if same(&a, &b) {
            self.advance(a.end());
            return Ok(Some(None));
        }
        let (a_page, b_page) = (a.page().is_some(), b.page().is_some());
        if a_page || b_page {
            let (of_a, of_b) = self.ahead();
            if a_page && (!b_page || a.len >= b.len) {
                self.a.descend(&self.reader, &of_a).await?;
            }
            if b_page && (!a_page || b.len >= a.len) {
                self.b.descend(&self.reader, &of_b).await?;
            }
            return Ok(Some(None));
        }
        let differs = self.at..a.end().min(b.end());
        self.advance(differs.end);
        let both_holes = a.what == What::Hole && b.what == What::Hole;
        Ok(Some((!both_holes).then_some(differs)))
    }

    fn advance(&mut self, to: u64) {
        self.at = to;
        for side in [&mut self.a, &mut self.b] {
            while side.front().is_some_and(|item| item.end() <= to) {
                side.pop();
            }
        }
    }

    /// Pages that are about to be looked into, those in front first.
    fn ahead(&self) -> (Vec<Id>, Vec<Id>) {
        let (mut of_a, mut of_b) = (Vec::new(), Vec::new());
        let (mut a, mut b) = (self.a.queue().peekable(), self.b.queue().peekable());
        while let (Some(x), Some(y)) = (a.peek(), b.peek()) {
            if of_a.len() >= PAGES_AT_ONCE || of_b.len() >= PAGES_AT_ONCE {
                break;
            }
            if !same(x, y) {
                of_a.extend(x.page());
                of_b.extend(y.page());
            }
            let end = x.end().min(y.end());
            a.next_if(|item| item.end() <= end);
            b.next_if(|item| item.end() <= end);
        }
        // an item beside several of the other's was looked at several times
        of_a.dedup();
        of_b.dedup();
        (of_a, of_b)
    }
}

/// The same content at the same place.
fn same(a: &Item, b: &Item) -> bool {
    let same_id = match (a.what, b.what) {
        (What::Page(a), What::Page(b)) => a.id == b.id,
        (a, b) => a == b,
    };
    a.offset == b.offset && a.len == b.len && same_id
}
