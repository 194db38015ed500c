//! Packs of a session that was overtaken: what still stands is listed again, so that nothing is
//! uploaded twice.

use super::session::Session;
use crate::env::Mutant;
use crate::error::Named;
use crate::index::PackInfo;
use crate::reader::read_trailer;
use crate::{ErrorKind, Repository, Result};
use repo_format::PackId;
use repo_format::index::{PackRow, RunBuilder};
use repo_format::layout::ObjectName;
use repo_format::pack::Trailer;
use std::collections::BTreeMap;

impl Session {
    /// Publishes `own` in runs of this session's `built`, as far as the packs are uncondemned and a
    /// look made after c0 still shows them: one that prune has deleted may have left its list.
    pub(super) async fn adopt(&mut self, own: &[PackInfo], mut trusted: Trusted) -> Result<()> {
        let mut builder = RunBuilder::new();
        let mut count = 0;
        for pack in own {
            if self.gc.condemned.contains(&pack.pack_id) {
                continue;
            }
            let trailer = match trusted.remove(&pack.pack_id) {
                None => look(&self.repository, pack).await?,
                trusted => trusted,
            };
            let Some(trailer) = trailer else { continue };
            if count > 0 && !builder.fits(trailer.rows().len()) {
                self.put_run(std::mem::replace(&mut builder, RunBuilder::new())).await?;
            }
            add(&mut builder, pack, &trailer).named("new index run")?;
            count += 1;
        }
        if count > 0 {
            self.put_run(builder).await?;
        }
        Ok(())
    }
}

/// What a broken session believes of its packs without a look after c0: only a mutant does.
pub(super) type Trusted = BTreeMap<PackId, Trailer>;

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
    let size = u32::try_from(pack.len).unwrap_or(u32::MAX);
    let (pack_id, trailer_len, class, sid) = (pack.pack_id, pack.trailer_len, pack.class, pack.sid);
    let number = builder.add_pack(PackRow { pack_id, size, trailer_len, class, sid })?;
    trailer.rows().iter().try_for_each(|row| builder.add_entry(&row.id, number, row.clen))
}
