//! From the root of a map to its chunks and holes, in order and in bounded memory.

use super::{read_all, read_there, within};
use crate::error::Named;
use crate::reader::Reader;
use crate::{Error, Result};
use repo_format::Id;
use repo_format::map::{Child, Page, Place};
use repo_format::snapshot::{CatalogueRoot, Chunker, Volume};
use std::collections::VecDeque;
use std::ops::Range;

/// Leaf pages read in one go.
const BATCH_PAGES: usize = 64;
/// Whoever walks over so much reads what lies next to a page along with it.
const READ_AHEAD_RANGE_LEN: u64 = 16 << 20;

/// A chunk or a hole, and where it lies.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Extent {
    /// First byte in the volume or stream.
    pub offset: u64,
    /// Bytes, at least 1; at most [`repo_format::limits::RECORD_PLAIN_LEN_MAX`] for a chunk.
    pub len: u64,
    /// The chunk, or none for a hole.
    pub id: Option<Id>,
}

/// A page that is yet to be read.
struct Node {
    child: Child,
    offset: u64,
}

/// Pages of one level with the same parent.
struct Level {
    nodes: VecDeque<Node>,
    /// Known from the parent's page; a root alone is not known to be a leaf.
    leaves: bool,
}

/// Walks the map of a volume or a stream. Pages are checked against their place in the tree.
pub struct MapWalker {
    reader: Reader,
    /// For pages above leaves.
    inner_reader: Reader,
    /// Whose map it is, for errors.
    whose: String,
    range: Range<u64>,
    levels: Vec<Level>,
    /// An all-hole volume has no pages.
    hole: Option<Extent>,
    /// Damage is passed over, and noted here.
    lossy: Option<Lossy>,
}

/// What a walk past damage notes.
#[derive(Default)]
struct Lossy {
    /// Offset and length of what lost pages cover, rising.
    lost: Vec<(u64, u64)>,
    /// An index that was read after the first page was missed.
    fresh: Option<Reader>,
}

impl MapWalker {
    /// Over the whole of a volume; `whose` names it in errors.
    pub fn volume(reader: &Reader, whose: &str, volume: &Volume) -> Result<Self> {
        Self::volume_range(reader, whose, volume, 0..volume.size)
    }

    /// Over the part `range` of a volume.
    pub(crate) fn volume_range(
        reader: &Reader,
        whose: &str,
        volume: &Volume,
        range: Range<u64>,
    ) -> Result<Self> {
        let (root, len) = (volume.root, volume.size);
        let Some(segment_len) = Chunker::segment_len(&volume.chunker) else {
            return Self::stream(reader, whose, root, len, range);
        };
        if root.is_zero() || len == 0 {
            if !root.is_zero() {
                return Err(Error::damage(whose, "is empty but has a map"));
            }
            let hole = (len > 0).then_some(Extent { offset: 0, len, id: None });
            return Ok(Self::new(reader, whose, range, None, hole));
        }
        let place = Place::volume_root(segment_len, len).named(whose)?;
        Ok(Self::new(reader, whose, range, Some(Child { id: root, place }), None))
    }

    /// Over the part `range` of a stream of `len` bytes.
    pub fn stream(reader: &Reader, whose: &str, root: Id, len: u64, range: Range<u64>) -> Result<Self> {
        if root.is_zero() != (len == 0) {
            let detail = format!("the map of a stream of {len} bytes has the root {root}");
            return Err(Error::damage(whose, detail));
        }
        if len == 0 {
            return Ok(Self::new(reader, whose, range, None, None));
        }
        let place = Place::stream_root(len).named(whose)?;
        Ok(Self::new(reader, whose, range, Some(Child { id: root, place }), None))
    }

    /// Over the part `range` of a catalogue.
    pub(super) fn catalogue(
        reader: &Reader,
        whose: &str,
        root: &CatalogueRoot,
        range: Range<u64>,
    ) -> Result<Self> {
        Self::stream(reader, whose, root.root, root.size, range)
    }

    fn new(
        reader: &Reader,
        whose: &str,
        range: Range<u64>,
        root: Option<Child>,
        hole: Option<Extent>,
    ) -> Self {
        let level = root.map(|child| Level { nodes: [Node { child, offset: 0 }].into(), leaves: false });
        let levels = level.into_iter().collect();
        let is_long = range.end.saturating_sub(range.start) >= READ_AHEAD_RANGE_LEN;
        let inner_reader = if is_long { reader.with_children() } else { reader.clone() };
        let (reader, whose) = (reader.clone(), whose.to_owned());
        MapWalker { reader, inner_reader, whose, range, levels, hole, lossy: None }
    }

    /// Walks past pages of which no location is good: what they cover becomes a hole, which
    /// [`take_lost`](Self::take_lost) tells of.
    pub(crate) fn past_damage(mut self) -> Self {
        self.lossy = Some(Lossy::default());
        self
    }

    /// Offsets and lengths of what was lost since this was last asked.
    pub(crate) fn take_lost(&mut self) -> Vec<(u64, u64)> {
        self.lossy.as_mut().map(|lossy| std::mem::take(&mut lossy.lost)).unwrap_or_default()
    }

    /// What the map is read with.
    pub fn reader(&self) -> &Reader {
        &self.reader
    }

    /// Whose map it is.
    pub fn whose(&self) -> &str {
        &self.whose
    }

    /// Appends the extents of up to 64 leaf pages, neighbouring holes as one; false at the end.
    ///
    /// # Errors
    /// Damage of a page of which no location is good, naming whose page it was.
    pub async fn next_batch(&mut self, out: &mut Vec<Extent>) -> Result<bool> {
        if let Some(hole) = self.hole.take() {
            push(out, hole);
            return Ok(true);
        }
        let Some(level) = self.levels.last_mut() else { return Ok(false) };
        let count = if level.leaves { BATCH_PAGES.min(level.nodes.len()) } else { level.nodes.len().min(1) };
        let reader = if level.leaves { &self.reader } else { &self.inner_reader };
        let nodes: Vec<Node> = level.nodes.drain(..count).collect();
        if level.nodes.is_empty() {
            self.levels.pop();
        }
        let ids: Vec<Id> = nodes.iter().map(|node| node.child.id).filter(|id| !id.is_zero()).collect();
        let read = match &mut self.lossy {
            Some(lossy) => read_there(reader, &mut lossy.fresh, &ids).await,
            None => read_all(reader, &ids).await.map(|pages| pages.into_iter().map(Some).collect()),
        };
        let mut pages = read.map_err(|error| within(&self.whose, error))?.into_iter();
        for node in nodes {
            if node.child.id.is_zero() {
                push(out, Extent { offset: node.offset, len: node.child.place.span(), id: None });
                continue;
            }
            let page = pages.next().flatten();
            let is_good = page.as_ref().is_some_and(|page| node.child.place.parse(page).is_ok());
            match &mut self.lossy {
                Some(lossy) if !is_good => {
                    let len = node.child.place.span();
                    lossy.lost.push((node.offset, len));
                    push(out, Extent { offset: node.offset, len, id: None });
                }
                _ => self.take_page(&node, &page.unwrap_or_default(), out)?,
            }
        }
        self.reader.repository().exec().check_cancelled()?;
        Ok(true)
    }

    fn take_page(&mut self, node: &Node, page: &[u8], out: &mut Vec<Extent>) -> Result<()> {
        let name = || format!("{}: map page {}", self.whose, node.child.id);
        let mut offset = node.offset;
        match node.child.place.parse(page).named(name())? {
            Page::Leaf(entries) => {
                for entry in entries {
                    let len = u64::from(entry.len);
                    if in_range(&self.range, offset, len) {
                        push(out, Extent { offset, len, id: entry.id });
                    }
                    offset = offset.saturating_add(len);
                }
            }
            Page::Inner(children) => {
                let leaves = page.first() == Some(&1);
                let mut nodes = VecDeque::with_capacity(children.len());
                for child in children {
                    let len = child.place.span();
                    if in_range(&self.range, offset, len) {
                        nodes.push_back(Node { child, offset });
                    }
                    offset = offset.saturating_add(len);
                }
                if !nodes.is_empty() {
                    self.levels.push(Level { nodes, leaves });
                }
            }
        }
        Ok(())
    }
}

fn in_range(range: &Range<u64>, offset: u64, len: u64) -> bool {
    offset < range.end && offset.saturating_add(len) > range.start
}

/// Appends an extent; holes side by side become one.
fn push(out: &mut Vec<Extent>, extent: Extent) {
    if let (Some(last), None) = (out.last_mut(), extent.id)
        && last.id.is_none()
        && last.offset.saturating_add(last.len) == extent.offset
    {
        last.len = last.len.saturating_add(extent.len);
    } else {
        out.push(extent);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn holes_side_by_side_are_one() {
        let chunk = Some(Id([1; 32]));
        let mut out = Vec::new();
        for (offset, len, id) in [(0, 4, None), (4, 4, None), (8, 2, chunk), (10, 3, None), (20, 1, None)] {
            push(&mut out, Extent { offset, len, id });
        }
        let lens: Vec<u64> = out.iter().map(|extent| extent.len).collect();
        assert_eq!(lens, [8, 2, 3, 1]);
    }

    #[test]
    fn ranges_touch_or_do_not() {
        assert!(in_range(&(5..6), 0, 6) && in_range(&(5..6), 5, 1));
        assert!(!in_range(&(5..6), 0, 5) && !in_range(&(5..6), 6, 9));
    }
}
