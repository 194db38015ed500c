//! `repair`.

use clap::Args;
use std::path::{Path, PathBuf};

pub(super) const EXAMPLES: &str = "\
Makes what is missing of the index anew from the packs, so that it names every pack that can be read and no
other; copies records that snapshots need out of condemned packs, or out of a replica of the repository; and
marks the snapshots of which something is lost. Run it after `check` has found damage, then back up: what is
still at the source is stored anew, and the next repair takes the marks back.

Examples:
  orlop repair --dry-run
  orlop repair
  orlop repair --read-data
  orlop repair --from s3://replica/shop --from-key-file owner.key";

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

/// Another place with the same repository.
#[derive(Args)]
pub(crate) struct FromArgs {
    /// A replica of this repository, object for object: what is lost here is copied out of its packs
    #[arg(long, value_name = "URL")]
    pub(crate) from: Option<String>,
    /// Read the password of the replica from this file; by default it opens as the repository does
    #[arg(long, value_name = "FILE", requires = "from", conflicts_with = "from_key_file")]
    from_password_file: Option<PathBuf>,
    /// Open the replica with the key in this file
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
