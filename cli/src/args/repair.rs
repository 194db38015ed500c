//! `repair`.

use clap::Args;

pub(super) const EXAMPLES: &str = "\
Makes what is missing of the index anew from the packs, so that it names every pack that can be read and no
other, and marks the snapshots of which something is lost. Run it after `check` has found damage. Where
lost content has been stored anew since, the next repair takes the marks back.

Examples:
  orlop repair --dry-run
  orlop repair
  orlop repair --read-data";

/// `repair`.
#[derive(Args)]
pub(crate) struct RepairArgs {
    /// Say what would be done, change nothing
    #[arg(long)]
    pub(crate) dry_run: bool,
    /// Read all content as well; needs the owner's key
    #[arg(long)]
    pub(crate) read_data: bool,
}
