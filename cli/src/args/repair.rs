//! `repair`.

use clap::Args;
use std::path::{Path, PathBuf};

pub(super) const EXAMPLES: &str = "\
Makes what is missing of the index anew from the packs, so that it names every pack that can be read and no
other; takes what snapshots need out of condemned packs, out of a replica of the repository, or out of another
repository that has backed up the same bytes; and marks the snapshots of which something is lost. Run it after `check` has found damage, then back up: what is
still at the source is stored anew, and the next repair takes the marks back.

Examples:
  orlop repair --dry-run
  orlop repair
  orlop repair --read-data
  orlop repair --from s3://replica/shop --from-key-file owner.key
  orlop repair --from /mnt/second --from-key-file second-owner.key --dry-run";

/// `repair`.
#[derive(Args)]
pub(crate) struct RepairArgs {
    /// Say what would be done, change nothing
    #[arg(long)]
    pub(crate) dry_run: bool,
    /// Read all content as well; needs the owner's key
    #[arg(long)]
    pub(crate) read_data: bool,
    #[command(flatten)]
    pub(crate) from: FromArgs,
}

/// Another place with the same repository, or with another one.
#[derive(Args)]
pub(crate) struct FromArgs {
    /// A replica of this repository, object for object, or a repository with other keys whose volumes have
    /// the same names: what is lost here is taken from there, and nothing is written there
    #[arg(long, value_name = "URL")]
    pub(crate) from: Option<String>,
    /// Read the password of the other place from this file; by default it opens as the repository does
    #[arg(long, value_name = "FILE", requires = "from", conflicts_with = "from_key_file")]
    from_password_file: Option<PathBuf>,
    /// Open the other place with the key in this file
    #[arg(long, value_name = "FILE", requires = "from")]
    from_key_file: Option<PathBuf>,
}

impl FromArgs {
    /// The key file, if one is given.
    pub(crate) fn key_file(&self) -> Option<&Path> {
        self.from_key_file.as_deref()
    }

    /// The password file, if one is given.
    pub(crate) fn password_file(&self) -> Option<&Path> {
        self.from_password_file.as_deref()
    }
}
