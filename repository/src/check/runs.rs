//! Index runs: read whole, every bit of them.

use super::Check;
use super::report::is_damage;
use crate::error::Named;
use crate::gc::GcView;
use crate::index::{Entry, PackInfo, RunFile, list_runs, open_run};
use crate::{Repository, Result};
use bytes::Bytes;
use repo_format::PackId;
use repo_format::index::Run;
use repo_format::pack::scrub;
use std::collections::{HashMap, HashSet};

/// Listings tried while prune merges runs away.
const TRY_COUNT: usize = 5;

/// What the runs say, before it is sorted into an index.
#[derive(Default)]
pub(super) struct Runs {
    pub(super) packs: Vec<PackInfo>,
    pub(super) entries: Vec<Entry>,
    /// Place of each pack in `packs`.
    pub(super) numbers: HashMap<PackId, u32>,
    /// Findings about runs whose entries are not known.
    pub(super) damaged: Vec<usize>,
}

impl Runs {
    /// Adds a pack once and says its number.
    pub(super) fn number(&mut self, info: PackInfo) -> u32 {
        let next = u32::try_from(self.packs.len()).unwrap_or(u32::MAX);
        let number = *self.numbers.entry(info.pack_id).or_insert(next);
        if number == next {
            self.packs.push(info);
        }
        number
    }

    fn add(&mut self, run: &Run, dead: &HashSet<PackId>) {
        let mut numbers = Vec::with_capacity(run.packs.len());
        for row in &run.packs {
            let info = PackInfo {
                pack_id: row.pack_id,
                class: row.class,
                len: u64::from(row.size),
                trailer_len: row.trailer_len,
                sid: row.sid,
            };
            numbers.push((!dead.contains(&row.pack_id)).then(|| self.number(info)));
        }
        for entry in &run.entries {
            if let Some(Some(pack)) = numbers.get(entry.pack as usize) {
                self.entries.push(Entry { id: entry.id, pack: *pack, clen: entry.clen });
            }
        }
    }
}

/// Reads all runs of this domain that count.
pub(super) async fn read(check: &mut Check<'_>, view: &GcView) -> Result<Runs> {
    let mut done: HashSet<PackId> = HashSet::new();
    let mut runs = Runs::default();
    for _ in 0..TRY_COUNT {
        let mut vanished = false;
        for file in list_runs(check.repository).await?.runs {
            if done.contains(&file.pack_id) {
                continue;
            }
            match read_one(check, &file).await? {
                Read::Gone => vanished = true,
                Read::Run(run) => {
                    done.insert(file.pack_id);
                    if let Some(run) = run.filter(|run| run.head.built >= view.floor) {
                        runs.add(&run, &view.dead);
                    }
                }
                Read::Damaged(finding) => {
                    done.insert(file.pack_id);
                    runs.damaged.push(finding);
                }
            }
            check.repository.exec().check_cancelled()?;
        }
        if !vanished {
            break;
        }
    }
    Ok(runs)
}

enum Read {
    /// Merged away since it was listed.
    Gone,
    /// Nothing for a run of another domain.
    Run(Option<Run>),
    /// The finding.
    Damaged(usize),
}

async fn read_one(check: &mut Check<'_>, file: &RunFile) -> Result<Read> {
    let name = file.name();
    check.objects += 1;
    let object = match check.repository.store().get(&name).await {
        Ok(None) => return Ok(Read::Gone),
        Ok(Some(object)) => object,
        Err(error) => return Ok(Read::Damaged(check.findings.add_error(name, "damaged", error)?)),
    };
    let repository = check.repository.clone();
    let opened = repository.exec().clone().cpu({
        let file = file.clone();
        move || open(&repository, &file, &object)
    });
    match opened.await? {
        Ok(None) if !check.has_foreign_domains() => {
            let found = "a trailer under a key that is not this repository's".to_owned();
            let expected = super::report::AS_WRITTEN.to_owned();
            Ok(Read::Damaged(check.findings.add(name, "damaged", found, expected)))
        }
        Ok(run) => Ok(Read::Run(run)),
        Err(error) if is_damage(&error) => {
            Ok(Read::Damaged(check.findings.add_error(name, "damaged", error)?))
        }
        Err(error) => Err(error),
    }
}

fn open(repository: &Repository, file: &RunFile, object: &Bytes) -> Result<Option<Run>> {
    scrub(object, file.pack_id).named(file.name())?;
    open_run(repository, file, object)
}
