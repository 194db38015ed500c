//! Synthetic repositories of any size: every object is one that the engine could have written.
//!
//! Chunks are numbered. The first ones belong to the snapshots that are kept, one volume each; the last ones, if there
//! are any, are needed by the forgotten snapshots alone. What lies next to what in packs is the [`Layout`].
//! Memory does not grow with the number of chunks.

mod build;
mod content;
mod folder;
mod maps;
mod packs;
mod plan;
mod runs;
mod snapshots;

pub use build::{Made, make};
pub use content::Source;
pub use plan::{Layout, Spec};

#[cfg(test)]
mod tests;
