//! `backup`.

use super::{LabelArg, VolumeArg};
use crate::text::parse_instant;
use clap::Args;
use clap::builder::{OsStringValueParser, TypedValueParser};
use repository::backup::ChangedRanges;
use std::path::PathBuf;
use std::str::FromStr;

pub(super) const EXAMPLES: &str = "\
NAME is namespace/claim; PATH is an image, a block device, or - for standard input (one volume at most).
All volumes and manifests become one snapshot, in one step or not at all.

Examples:
  orlop backup --volume shop/data=/srv/data.img
  orlop backup --volume shop/data=/dev/vg0/snap --manifests shop/ --name nightly --label tier=gold
  pg_dump shop | orlop backup --volume shop/dump=-
  orlop backup --volume shop/data=/dev/vg0/snap --changed-ranges changed.json
  orlop backup --volume shop/data=/srv/data.img --dry-run";

/// Bytes of a group at most: what the format allows for names.
const GROUP_LEN_MAX: usize = crate::format::NAME_LEN_MAX as usize;

/// How records are compressed.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub(crate) enum Compression {
    /// As orlop sees fit.
    #[default]
    Auto,
    /// Not at all.
    Off,
    /// A zstd level.
    Level(i32),
}

impl FromStr for Compression {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        match (text, text.parse()) {
            ("auto", _) => Ok(Compression::Auto),
            ("off", _) => Ok(Compression::Off),
            (_, Ok(level)) if (-7..=19).contains(&level) => Ok(Compression::Level(level)),
            _ => Err("auto, off or a zstd level from -7 to 19 expected".into()),
        }
    }
}

/// A group fits the format, and a line of output.
fn group(text: &str) -> Result<String, String> {
    if text.len() > GROUP_LEN_MAX || text.chars().any(char::is_control) {
        return Err(format!("at most {GROUP_LEN_MAX} bytes without control characters expected"));
    }
    Ok(text.to_owned())
}

/// `backup`.
#[derive(Args)]
pub(crate) struct BackupArgs {
    /// A volume: namespace/claim, and an image, a block device or - for standard input
    #[arg(long = "volume", value_name = "NAME=PATH", required_unless_present = "manifests",
          value_parser = OsStringValueParser::new().try_map(VolumeArg::parse))]
    pub(crate) volumes: Vec<VolumeArg>,
    /// A YAML or JSON file, or a folder of them, as kubectl reads them
    #[arg(long, value_name = "PATH")]
    pub(crate) manifests: Vec<PathBuf>,
    /// A name for people and for --name filters
    #[arg(long, value_name = "N", default_value = "", hide_default_value = true)]
    pub(crate) name: String,
    /// What retention counts together, such as SCHEDULE/daily; the volumes' names by default
    #[arg(long, value_name = "G", default_value = "", hide_default_value = true, value_parser = group)]
    pub(crate) group: String,
    /// A label; can be given more than once
    #[arg(long = "label", value_name = "K=V")]
    pub(crate) labels: Vec<LabelArg>,
    /// The time of the snapshot, RFC 3339; now by default
    #[arg(long, value_name = "RFC3339", value_parser = parse_instant)]
    pub(crate) time: Option<u64>,
    /// Compare with this snapshot instead of the newest one of each volume
    #[arg(long, value_name = "ID")]
    pub(crate) parent: Option<String>,
    /// Read only what changed, as a JSON file says: {"base": SNAPSHOT, "volumes": {NAME: [[offset, length], ...]}}
    #[arg(long, value_name = "FILE", conflicts_with_all = ["parent", "force_read"])]
    pub(crate) changed_ranges: Option<PathBuf>,
    /// How many blocks of 4096 bytes that should not have changed are compared with the base
    #[arg(long, value_name = "N", requires = "changed_ranges", default_value_t = ChangedRanges::AUDIT_BLOCKS)]
    pub(crate) audit_blocks: u32,
    /// Read files again that look unchanged
    #[arg(long)]
    pub(crate) force_read: bool,
    /// auto, off, or a zstd level from -7 to 19
    #[arg(long, value_name = "LEVEL", default_value = "auto", allow_hyphen_values = true)]
    pub(crate) compression: Compression,
    /// Read and count, but write nothing
    #[arg(long)]
    pub(crate) dry_run: bool,
}
