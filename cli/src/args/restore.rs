//! `restore`.

use super::{NarrowArgs, VolumeArg};
use clap::Args;
use clap::builder::{OsStringValueParser, TypedValueParser};
use std::path::PathBuf;

pub(super) const EXAMPLES: &str = "\
SNAPSHOT is an id, a unique start or end of one, or `latest`, which the filters narrow.
A target is a new file or a block device. Manifests become one JSON file each; they may hold Secrets and
are readable by their owner only.

Examples:
  orlop restore latest --volume shop/data=/srv/restored.img
  orlop restore latest --volume shop/data=/dev/vg0/data --force --verify
  orlop restore latest --volume shop/data=/dev/vg0/data --in-place
  orlop restore 5f0c9a31 --target /srv/restored
  orlop restore 5f0c9a31 --target /srv/restored --allow-damaged
  orlop restore latest --manifests restored/ --name 'nightly-*'";

/// `restore`.
#[derive(Args)]
#[command(group(clap::ArgGroup::new("targets").args(["volumes", "target", "manifests"]).required(true).multiple(true)))]
pub(crate) struct RestoreArgs {
    /// Id, unique start or end of one, or latest
    pub(crate) snapshot: String,
    /// A volume, and the file or device it goes to
    #[arg(long = "volume", value_name = "NAME=TARGET", conflicts_with = "target",
          value_parser = OsStringValueParser::new().try_map(VolumeArg::parse))]
    pub(crate) volumes: Vec<VolumeArg>,
    /// All volumes to DIR/volumes, all manifests to DIR/manifests
    #[arg(long, value_name = "DIR")]
    pub(crate) target: Option<PathBuf>,
    /// All manifests to this folder
    #[arg(long, value_name = "DIR")]
    pub(crate) manifests: Option<PathBuf>,
    /// Write over files that exist, and to devices
    #[arg(long)]
    pub(crate) force: bool,
    /// Keep what is right in files and devices that exist: only what differs is fetched and written
    #[arg(long)]
    pub(crate) in_place: bool,
    /// Read the volumes back and compare
    #[arg(long)]
    pub(crate) verify: bool,
    /// Restore what is there of a damaged snapshot: zeros where content is lost, and say where; exit code 3
    #[arg(long)]
    pub(crate) allow_damaged: bool,
    #[command(flatten)]
    pub(crate) filter: NarrowArgs,
}
