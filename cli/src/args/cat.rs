//! `cat`.

use clap::{Args, ValueEnum};

pub(super) const EXAMPLES: &str = "\
Structure is printed as JSON, pages and chunks as their plain bytes. No key is ever printed.
ID is the object's; for config there is none, for a manifest it is SNAPSHOT:PATH, with a path as `ls`
shows it or group/kind/namespace/name. A run's ID is the part of its name after the dash.

Examples:
  orlop cat config
  orlop cat snapshot latest
  orlop cat manifest latest:apps/Deployment/shop/web
  orlop cat pack 5f0c9a318b7d4e26a1c3f58e9d0b7a64
  orlop cat run 0d7be14f92a3468c8e51f6b02c9d37a5";

/// What is printed.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub(crate) enum CatKind {
    /// The newest config
    Config,
    /// A key slot, without what it seals
    Slot,
    /// The trailer of a pack
    Pack,
    /// An index run
    Run,
    /// A map page
    Page,
    /// A chunk of content
    Chunk,
    /// A snapshot
    Snapshot,
    /// What a session that has not ended is about to commit
    Pending,
    /// A Kubernetes manifest
    Manifest,
}

/// `cat`.
#[derive(Args)]
pub(crate) struct CatArgs {
    /// What kind of object
    #[arg(value_enum)]
    pub(crate) kind: CatKind,
    /// Which one
    #[arg(required_if_eq_any([
        ("kind", "slot"), ("kind", "pack"), ("kind", "run"), ("kind", "page"), ("kind", "chunk"),
        ("kind", "snapshot"), ("kind", "pending"), ("kind", "manifest"),
    ]))]
    pub(crate) id: Option<String>,
}
