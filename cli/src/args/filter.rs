//! Which snapshots are meant.

use crate::text::parse_time;
use clap::Args;
use std::str::FromStr;

pub(super) const SNAPSHOTS_EXAMPLES: &str = "\
Examples:
  orlop snapshots
  orlop snapshots --since 2026-11-01 --label tier=gold
  orlop snapshots --volume shop/data --json";

pub(super) const SHOW_EXAMPLES: &str = "\
SNAPSHOT is an id, a unique start or end of one, or `latest`, which the filters narrow.

Examples:
  orlop show latest
  orlop show 5f0c9a31
  orlop show latest --name 'nightly-*'";

pub(super) const LS_EXAMPLES: &str = "\
SNAPSHOT is an id, a unique start or end of one, or `latest`, which the filters narrow.

Examples:
  orlop ls latest
  orlop ls latest volumes
  orlop ls 5f0c9a31 manifests/shop";

pub(super) const DIFF_EXAMPLES: &str = "\
A and B are ids, unique starts or ends of them, or `latest`. + is only in B, - only in A, M differs.
Volumes are compared by their maps: a volume that was piped in differs from its first inserted byte on.

Examples:
  orlop diff 5f0c9a31 latest
  orlop diff 5f0c9a31 7be2d004 --json";

/// `key=value`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct LabelArg {
    /// Before the first `=`.
    pub(crate) key: String,
    /// After it.
    pub(crate) value: String,
}

impl FromStr for LabelArg {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        match text.split_once('=') {
            Some((key, value)) if !key.is_empty() => Ok(LabelArg { key: key.into(), value: value.into() }),
            _ => Err("KEY=VALUE expected, such as tier=gold".into()),
        }
    }
}

/// What narrows snapshots down, where `--volume` means something else.
#[derive(Args, Default)]
#[command(next_help_heading = "Filters")]
pub(crate) struct NarrowArgs {
    /// Only snapshots of this time or later: RFC 3339, or a date in UTC
    #[arg(long, value_name = "T", value_parser = parse_time)]
    pub(crate) since: Option<u64>,
    /// Only snapshots of this time or earlier
    #[arg(long, value_name = "T", value_parser = parse_time)]
    pub(crate) until: Option<u64>,
    /// Only snapshots with this label; all of them if given more than once
    #[arg(long = "label", value_name = "K=V")]
    pub(crate) labels: Vec<LabelArg>,
    /// Only snapshots whose name matches, with * and ?
    #[arg(long, value_name = "GLOB")]
    pub(crate) name: Option<String>,
}

/// What narrows snapshots down.
#[derive(Args, Default)]
#[command(next_help_heading = "Filters")]
pub(crate) struct FilterArgs {
    #[command(flatten)]
    pub(crate) narrow: NarrowArgs,
    /// Only snapshots with this volume
    #[arg(long, value_name = "NAME")]
    pub(crate) volume: Option<String>,
}

/// `show`.
#[derive(Args)]
pub(crate) struct ShowArgs {
    /// Id, unique start or end of one, or latest
    pub(crate) snapshot: String,
    #[command(flatten)]
    pub(crate) filter: FilterArgs,
}

/// `ls`.
#[derive(Args)]
pub(crate) struct LsArgs {
    /// Id, unique start or end of one, or latest
    pub(crate) snapshot: String,
    /// Only this entry, or what is below it: volumes/..., manifests/...
    pub(crate) path: Option<String>,
    #[command(flatten)]
    pub(crate) filter: FilterArgs,
}

/// `diff`.
#[derive(Args)]
pub(crate) struct DiffArgs {
    /// The older snapshot
    pub(crate) a: String,
    /// The newer snapshot
    pub(crate) b: String,
}
