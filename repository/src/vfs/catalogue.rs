//! The manifests of a snapshot.

use super::{Extent, MapWalker, overlap, read_range};
use crate::error::Named;
use crate::reader::Reader;
use crate::{Error, Result};
use repo_format::Id;
use repo_format::catalogue::{CatalogueEntry, END_LEN, contents_range, parse_contents, parse_frame};
use repo_format::snapshot::{CatalogueRoot, Snapshot};
use std::ops::Range;

/// A manifest as the table of contents names it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct TocEntry {
    /// `group/kind/namespace/name`; the core group and cluster scope are empty.
    pub path: String,
    /// Where its frame begins in the stream.
    pub offset: u64,
    /// Bytes of JSON.
    pub len: u32,
}

/// The manifests of one snapshot, with their table of contents in memory.
pub struct Catalogue {
    reader: Reader,
    whose: String,
    root: Option<CatalogueRoot>,
    entries: Vec<CatalogueEntry>,
}

impl Catalogue {
    /// Reads the table of contents; a snapshot without manifests has an empty one.
    pub async fn open(reader: &Reader, snapshot: &Snapshot) -> Result<Self> {
        let whose = format!("manifests of snapshot {}", snapshot.sid);
        let mut catalogue =
            Catalogue { reader: reader.clone(), whose, root: snapshot.catalogue, entries: Vec::new() };
        let Some(root) = snapshot.catalogue else { return Ok(catalogue) };
        let end_start = root.size.saturating_sub(END_LEN as u64);
        let end = catalogue.read(&root, end_start..root.size).await?;
        let end = <[u8; END_LEN]>::try_from(end.as_slice())
            .map_err(|_| Error::damage(&catalogue.whose, format!("{} bytes are no catalogue", root.size)))?;
        let range = contents_range(root.size, end).named(&catalogue.whose)?;
        let bytes = catalogue.read(&root, range.clone()).await?;
        catalogue.entries = parse_contents(&bytes, range.start).named(&catalogue.whose)?;
        Ok(catalogue)
    }

    /// What there is, rising by path.
    pub fn contents(&self) -> impl Iterator<Item = TocEntry> + '_ {
        self.entries.iter().map(|entry| {
            // a frame is its path, its JSON and 6 bytes of lengths
            let overhead = u32::try_from(entry.path.len()).unwrap_or(u32::MAX).saturating_add(6);
            TocEntry {
                path: entry.path.clone(),
                offset: entry.offset,
                len: entry.frame_len.saturating_sub(overhead),
            }
        })
    }

    /// The JSON of a manifest.
    ///
    /// # Errors
    /// [`Error::Usage`] if there is none of this path; damage.
    pub async fn manifest(&self, path: &str) -> Result<Vec<u8>> {
        let found = self.entries.binary_search_by(|entry| entry.path.as_str().cmp(path)).ok();
        let Some((root, entry)) = self.root.zip(found.and_then(|n| self.entries.get(n))) else {
            return Err(Error::Usage { what: format!("{path:?}: no manifest of this path in the snapshot") });
        };
        let frame = self.read(&root, entry.range()).await?;
        let object = format!("{}: {path}", self.whose);
        parse_frame(&frame, entry).named(object).map(<[u8]>::to_vec)
    }

    /// The JSON of manifests in the order of [`contents`](Self::contents), from number `first` on: as many as lie within
    /// `len_max` bytes, but at least one; none at the end. They are read together: one by one each would cost requests.
    ///
    /// # Errors
    /// Damage of any of them.
    pub async fn manifests_from(&self, first: usize, len_max: u64) -> Result<Vec<Vec<u8>>> {
        let rest = self.entries.get(first..).unwrap_or_default();
        let (Some(root), Some(one)) = (self.root, rest.first()) else { return Ok(Vec::new()) };
        let start = one.range().start;
        let fits = |entry: &&CatalogueEntry| entry.range().end.saturating_sub(start) <= len_max;
        let entries = rest.get(..rest.iter().take_while(fits).count().max(1)).unwrap_or_default();
        let end = entries.last().map_or(start, |entry| entry.range().end);
        let bytes = self.read(&root, start..end).await?;
        let mut rest = bytes.as_slice();
        let mut found = Vec::with_capacity(entries.len());
        for entry in entries {
            let object = || format!("{}: {}", self.whose, entry.path);
            let (frame, after) = rest
                .split_at_checked(entry.frame_len as usize)
                .ok_or_else(|| Error::damage(object(), "its frame ends before its length"))?;
            found.push(parse_frame(frame, entry).named(object())?.to_vec());
            rest = after;
        }
        Ok(found)
    }

    /// The table of contents.
    pub(crate) fn entries(&self) -> &[CatalogueEntry] {
        &self.entries
    }

    /// Which chunks the stream is made of.
    pub(crate) async fn places(&self) -> Result<Places> {
        let mut places = Places::default();
        let Some(root) = self.root else { return Ok(places) };
        let mut walker = MapWalker::catalogue(&self.reader, &self.whose, &root, 0..root.size)?;
        let exec = self.reader.repository().exec();
        while exec.unless_cancelled(walker.next_batch(&mut places.0)).await? {}
        Ok(places)
    }

    async fn read(&self, root: &CatalogueRoot, range: Range<u64>) -> Result<Vec<u8>> {
        let walker = MapWalker::catalogue(&self.reader, &self.whose, root, range.clone())?;
        let exec = self.reader.repository().exec();
        exec.unless_cancelled(read_range(walker, range)).await
    }
}

/// The chunks of a stream, in order.
#[derive(Default)]
pub(crate) struct Places(Vec<Extent>);

impl Places {
    /// What `range` of the stream is made of: parts of chunks. Equal parts are equal bytes.
    pub(crate) fn of(&self, range: &Range<u64>) -> Vec<(Option<Id>, Range<u64>)> {
        let first = self.0.partition_point(|extent| extent.offset.saturating_add(extent.len) <= range.start);
        let touched = self.0.iter().skip(first).take_while(|extent| extent.offset < range.end);
        touched.map(|extent| (extent.id, overlap(extent, range))).collect()
    }
}

/// The manifests of a snapshot, rising by path.
pub async fn manifests(reader: &Reader, snapshot: &Snapshot) -> Result<Vec<TocEntry>> {
    Ok(Catalogue::open(reader, snapshot).await?.contents().collect())
}

/// One manifest's JSON. For many of them, [`Catalogue`] reads the table of contents once.
///
/// # Errors
/// As [`Catalogue::manifest`].
pub async fn manifest(reader: &Reader, snapshot: &Snapshot, path: &str) -> Result<Vec<u8>> {
    Catalogue::open(reader, snapshot).await?.manifest(path).await
}
