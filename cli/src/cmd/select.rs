//! From what people write to a snapshot.

use crate::args::{FilterArgs, NarrowArgs};
use crate::context::Context;
use crate::exit::{Exit, Failure};
use repository::Repository;
use repository::reader::Reader;
use repository::snapshots::{self, Filter, SnapshotEntry};
use repository::vfs;

impl From<NarrowArgs> for Filter {
    fn from(args: NarrowArgs) -> Filter {
        Filter {
            since_ms: args.since,
            until_ms: args.until,
            labels: args.labels.into_iter().map(|label| (label.key, label.value)).collect(),
            name: args.name,
            volume: None,
        }
    }
}

impl From<FilterArgs> for Filter {
    fn from(args: FilterArgs) -> Filter {
        Filter { volume: args.volume, ..args.narrow.into() }
    }
}

/// All snapshots, oldest first. Those that cannot be read are told of; their number comes second.
pub(super) async fn all(
    context: &Context,
    repository: &Repository,
) -> Result<(Vec<SnapshotEntry>, usize), Failure> {
    let (entries, unread) = all_and_problems(context, repository).await?;
    Ok((entries, unread.len()))
}

/// As [`all`], with what could not be read.
pub(super) async fn all_and_problems(
    context: &Context,
    repository: &Repository,
) -> Result<(Vec<SnapshotEntry>, Vec<repository::Error>), Failure> {
    let (entries, unread) = context.exec.unless_cancelled(snapshots::list(repository)).await?;
    unread.iter().for_each(|error| context.output.warn(&error.to_string()));
    Ok((entries, unread))
}

/// The snapshot that `spec` means: an id, a unique start or end of one, or `latest`.
pub(super) async fn one(
    context: &Context,
    repository: &Repository,
    spec: &str,
    filter: impl Into<Filter>,
) -> Result<SnapshotEntry, Failure> {
    let (entries, _) = all(context, repository).await?;
    Ok(snapshots::find(&entries, spec, &filter.into())?.clone())
}

/// As [`one`], and a reader over the repository; runs of the index that cannot be read are told of.
pub(super) async fn one_to_read(
    context: &Context,
    repository: &Repository,
    spec: &str,
    filter: impl Into<Filter>,
) -> Result<(SnapshotEntry, Reader), Failure> {
    let contents = context.exec.unless_cancelled(vfs::contents(repository)).await?;
    contents.unread.iter().chain(&contents.lost).for_each(|error| context.output.warn(&error.to_string()));
    let entry = snapshots::find(&contents.entries, spec, &filter.into())?.clone();
    Ok((entry, contents.reader))
}

/// What a listing says at its end if some snapshots could not be read.
pub(super) fn partial(unread: usize) -> Result<(), Failure> {
    match unread {
        0 => Ok(()),
        n => Err(Failure::Said(
            Exit::Partial,
            format!("{} could not be read", crate::text::count(n as u64, "snapshot")),
        )),
    }
}
