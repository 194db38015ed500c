//! Prune: what no snapshot needs is condemned, and deleted once it may be.

mod report;

pub use report::{MaxUnused, PlannedPack, PrunePlan, PruneReport, Reason, RunsPlan};

use crate::progress::Progress;
use crate::{Error, Repository, Result};
use repo_format::ProcessId;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

/// How a prune is to be done.
#[derive(Debug, Clone)]
pub struct PruneOptions {
    /// Plan only, write nothing.
    pub dry_run: bool,
    /// How much that nothing needs may stay in packs with something that is needed.
    pub max_unused: MaxUnused,
    /// Bytes of records copied at most.
    pub max_repack_bytes: Option<u64>,
    /// No repacking begins after this time.
    pub max_time: Option<Duration>,
    /// How long condemned packs can still be brought back.
    pub undelete_window: Duration,
    /// Merge index runs, nothing else.
    pub index_only: bool,
    /// Mode one: the process whose unfinished plan is taken over; it must be dead.
    pub take_over: Option<ProcessId>,
    /// Where large marks are sorted; the system's temporary directory by default.
    pub temp_dir: Option<PathBuf>,
}

impl Default for PruneOptions {
    fn default() -> Self {
        PruneOptions {
            dry_run: false,
            max_unused: MaxUnused::Percent(5.0),
            max_repack_bytes: None,
            max_time: None,
            undelete_window: Duration::from_secs(24 * 60 * 60),
            index_only: false,
            take_over: None,
            temp_dir: None,
        }
    }
}

/// Prunes the repository.
///
/// # Errors
/// [`Error::Role`] for a key that cannot sign.
pub async fn prune(
    repository: &Repository,
    options: PruneOptions,
    progress: &Arc<Progress>,
) -> Result<PruneReport> {
    let _ = (repository, options, progress);
    Err(Error::internal("to come"))
}
