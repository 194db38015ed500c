//! Two catalogues side by side.

use super::Modifier;
use crate::Result;
use crate::reader::Reader;
use crate::vfs::Catalogue;
use repo_format::snapshot::Snapshot;
use std::cmp::Ordering;

/// A manifest that differs.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ManifestChange {
    /// `group/kind/namespace/name`.
    pub path: String,
    /// How.
    pub modifier: Modifier,
}

/// Manifests that two snapshots do not have in common, rising by path. Memory grows with their tables of contents.
///
/// A manifest of the same length whose bytes lie in the same chunks at the same places is not read.
///
/// # Errors
/// Damage; a role that cannot read content.
pub async fn manifests(reader: &Reader, a: &Snapshot, b: &Snapshot) -> Result<Vec<ManifestChange>> {
    let mut changes = Vec::new();
    if a.catalogue == b.catalogue {
        return Ok(changes);
    }
    let (a, b) = (Catalogue::open(reader, a).await?, Catalogue::open(reader, b).await?);
    let (a_places, b_places) = (a.places().await?, b.places().await?);
    let (mut of_a, mut of_b) = (a.entries().iter().peekable(), b.entries().iter().peekable());
    loop {
        let order = match (of_a.peek(), of_b.peek()) {
            (None, None) => return Ok(changes),
            (Some(_), None) => Ordering::Less,
            (None, Some(_)) => Ordering::Greater,
            (Some(x), Some(y)) => x.path.cmp(&y.path),
        };
        let x = if order.is_le() { of_a.next() } else { None };
        let y = if order.is_ge() { of_b.next() } else { None };
        let (path, modifier) = match (x, y) {
            (Some(x), Some(y)) => {
                let same_len = x.frame_len == y.frame_len;
                let same_place = same_len && a_places.of(&x.range()) == b_places.of(&y.range());
                if same_place || same_len && a.manifest(&x.path).await? == b.manifest(&y.path).await? {
                    continue;
                }
                (&x.path, Modifier::Changed)
            }
            (Some(x), None) => (&x.path, Modifier::Removed),
            (None, Some(y)) => (&y.path, Modifier::Added),
            (None, None) => continue,
        };
        changes.push(ManifestChange { path: path.clone(), modifier });
    }
}
