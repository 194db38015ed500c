//! `init`.

use super::{NewSecretArgs, Size};
use clap::{Args, ValueEnum};

pub(super) const EXAMPLES: &str = "\
The repository opens with the password or key file given as for every verb (ORLOP_PASSWORD, --key-file,
...), or a new one (--new-password-file, --key-file-out); at a terminal the password is asked for twice.
It also opens with the recovery key, which is printed once: keep it where the repository is not.

Examples:
  orlop -r /srv/backups init
  orlop -r s3://bucket/shop init --new-password-file /run/secrets/backup
  orlop -r /srv/backups init --key-file-out owner.key --chunker fixed --chunk-size 1MiB";

/// How volumes are cut. Streams and manifests are always cut by FastCDC.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub(crate) enum Chunker {
    /// By content on a grid of 4 KiB blocks: finds data that moved
    Blocks,
    /// Every so many bytes: for data that never moves
    Fixed,
}

/// `init`.
#[derive(Args)]
pub(crate) struct InitArgs {
    /// How volumes are cut, for the life of the repository
    #[arg(long, value_enum, default_value = "blocks")]
    pub(crate) chunker: Chunker,
    /// Length of chunks, for blocks on average: a multiple of 4KiB from 8KiB to 4MiB; by default 64KiB
    /// for fixed, and for blocks 32KiB, more for volumes above 1TiB
    #[arg(long, value_name = "SIZE")]
    pub(crate) chunk_size: Option<Size>,
    /// Label of the key slot
    #[arg(long, value_name = "TEXT", default_value = "", hide_default_value = true)]
    pub(crate) label: String,
    #[command(flatten)]
    pub(crate) secret: NewSecretArgs,
}
