//! Packs of a session that was overtaken: what still stands is listed again, so that nothing is
//! uploaded twice.

use crate::env::Mutant;
use crate::error::Named;
use crate::gc::GcView;
use crate::index::{self, PackInfo, RunWriter, pack_row};
use crate::reader::read_trailer;
use crate::{ErrorKind, Repository, Result};
use repo_format::PackId;
use repo_format::index::RunBuilder;
use repo_format::layout::ObjectName;
use repo_format::pack::Trailer;
use std::collections::BTreeMap;

/// What a broken session believes of its packs without a look after c0: only a mutant does.
pub(super) type Trusted = BTreeMap<PackId, Trailer>;

/// Publishes `own` in runs with the `built` of `gc`, as far as the packs are uncondemned and a look made
/// after c0 still shows them: one that prune has deleted may have left the list of the dead.
pub(super) async fn adopt(
    repository: &Repository,
    gc: &GcView,
    own: &[PackInfo],
    mut trusted: Trusted,
) -> Result<()> {
    let mut builder = RunBuilder::new();
    let mut count = 0;
    let writer = RunWriter::new(repository, repository.env().snapshot_id()?)?;
    let seq = super::session::next_seq(index::list_runs(repository).await?.highest_seq());
    for pack in own {
        if gc.condemned.contains(&pack.pack_id) {
            continue;
        }
        let trailer = match trusted.remove(&pack.pack_id) {
            None => look(repository, pack).await?,
            trusted => trusted,
        };
        let Some(trailer) = trailer else { continue };
        if count > 0 && !builder.fits(trailer.rows().len()) {
            let full = std::mem::replace(&mut builder, RunBuilder::new());
            writer.put(full, gc.sweeps, seq).await?;
        }
        add(&mut builder, pack, &trailer).named("new index run")?;
        count += 1;
    }
    if count > 0 {
        writer.put(builder, gc.sweeps, seq).await?;
    }
    Ok(())
}

/// Empty, but for the mutant.
pub(super) async fn trusted(repository: &Repository, own: &[PackInfo]) -> Result<Trusted> {
    let mut trusted = Trusted::new();
    if repository.env().breaks(Mutant::OwnPacksWithoutList) {
        for pack in own {
            trusted.extend(look(repository, pack).await?.map(|trailer| (pack.pack_id, trailer)));
        }
    }
    Ok(trusted)
}

/// The trailer of a pack that is still there.
async fn look(repository: &Repository, pack: &PackInfo) -> Result<Option<Trailer>> {
    if repository.store().head(&ObjectName::pack(pack.class, pack.pack_id)).await?.is_none() {
        return Ok(None);
    }
    match read_trailer(repository, pack).await {
        Ok(trailer) => Ok(Some(trailer)),
        // deleted since the look, or damaged: its records are read from the source again
        Err(error) if error.kind() == ErrorKind::Damage => Ok(None),
        Err(error) => Err(error),
    }
}

fn add(builder: &mut RunBuilder, pack: &PackInfo, trailer: &Trailer) -> repo_format::Result<()> {
    let number = builder.add_pack(pack_row(pack))?;
    trailer.rows().iter().try_for_each(|row| builder.add_entry(&row.id, number, row.clen))
}
