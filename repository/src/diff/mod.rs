//! What differs between two snapshots of a domain: ranges of volumes from their maps alone, manifests by content.
//!
//! Equal pages have equal ids, so only what differs is read.

mod manifests;
mod map;

pub use manifests::{ManifestChange, manifests};
pub use map::MapDiff;

/// How something differs, as restic's diff spells it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Modifier {
    /// Only the second snapshot has it.
    Added,
    /// Only the first one has it.
    Removed,
    /// Both have it, with other content.
    Changed,
}
