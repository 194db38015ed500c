//! Maps: from a volume's or stream's bytes to the ids of its chunks, as a tree of pages.
//!
//! The encoding is a pure function of the content, so that a map made from a full scan equals the
//! one that an incremental backup makes, page by page and id by id, and readers can verify it:
//! every page is parsed against what its place in the tree demands ([`Place`]).

mod page;
mod place;
mod stream;
mod volume;

pub use page::{EncodedPage, InnerEntry, LeafEntry, PageEntries, PageKey, parse_page};
pub use place::{Child, Page, Place};
pub use stream::StreamMapBuilder;
pub use volume::VolumeMapBuilder;

/// Entries of a page of a stream's map at most.
pub const STREAM_FANOUT_MAX: usize = 256;
/// From this many entries on, an id may close a page of a stream's map.
pub const STREAM_FANOUT_MIN: usize = 16;
/// An id whose last byte is below this closes a page of a stream's map.
const STREAM_CLOSING_BYTE: u8 = 4;

/// Whether entry number `count` (from 1), with this id, closes its page of a stream's map.
fn closes_stream_page(count: usize, id: &crate::Id) -> bool {
    let [.., last] = id.0;
    count >= STREAM_FANOUT_MAX || (count >= STREAM_FANOUT_MIN && last < STREAM_CLOSING_BYTE)
}

#[cfg(test)]
mod tests;
