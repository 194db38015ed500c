//! What is in the store, and what a reader may see of it.

use crate::set::Set;

/// Chunks that anything may refer to.
pub(crate) const CHUNKS: u8 = 2;
/// Generations that prune may publish.
pub(crate) const GENERATIONS: u8 = 4;
/// Sids there are: 0 is the snapshot of the start, the rest belongs to sessions.
pub(crate) const SIDS: u8 = 6;

/// An index run. Entries are whole packs, since a pack of the model holds one chunk.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Default)]
pub(crate) struct Run {
    pub(crate) packs: Set,
    /// Sweeps that its writer had read.
    pub(crate) built: u8,
}

/// What has the name `snapshots/<sid>`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Default)]
pub(crate) enum Named {
    #[default]
    Nothing,
    /// A snapshot of these chunks.
    Final(Set),
    Tombstone,
}

/// Plan g and, once `swept`, sweep g.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Default)]
pub(crate) struct Generation {
    pub(crate) candidates: Set,
    pub(crate) forgotten: Set,
    pub(crate) floor: u8,
    pub(crate) swept: bool,
    pub(crate) condemned: Set,
    /// Cumulative, `condemned` included.
    pub(crate) dead: Set,
    pub(crate) sweep_floor: u8,
}

/// Objects by kind: what others may not see yet, or what a wait began after.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Default)]
pub(crate) struct Objects {
    pub(crate) packs: Set,
    pub(crate) runs: Set,
    pub(crate) pending: Set,
    pub(crate) snapshots: Set,
    /// Plan g is 2g, sweep g is 2g + 1.
    pub(crate) records: Set,
    /// Packs that are deleted and may still be listed.
    pub(crate) deleted: Set,
}

impl Objects {
    fn subtract(&mut self, seen: &Objects) {
        self.packs -= seen.packs;
        self.runs -= seen.runs;
        self.pending -= seen.pending;
        self.snapshots -= seen.snapshots;
        self.records -= seen.records;
        self.deleted -= seen.deleted;
    }
}

/// What one LIST of gc/ and the GETs of the newest plan and sweep show.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct View {
    /// Plans so far.
    pub(crate) plans: u8,
    /// Sweeps so far: g + 1 of the newest.
    pub(crate) sweeps: u8,
    /// Of the newest sweep.
    pub(crate) floor: u8,
    pub(crate) dead: Set,
    /// The unfinished plan's floor if there is one, else the sweep's.
    pub(crate) newest_floor: u8,
    /// The dead, and the candidates of an unfinished plan.
    pub(crate) condemned: Set,
    pub(crate) forgotten: Set,
}

/// The truth.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Default)]
pub(crate) struct Store {
    /// Which chunk each pack holds.
    pub(crate) chunk_of: [u8; 8],
    pub(crate) pack_count: u8,
    /// Packs that exist.
    pub(crate) packs: Set,
    /// Packs whose DELETE was sent and has not landed. It may never.
    pub(crate) doomed: Set,
    pub(crate) runs: [Run; 8],
    pub(crate) run_count: u8,
    /// Runs that exist.
    pub(crate) live_runs: Set,
    /// Pending records that exist, and the chunks that each one ever named.
    pub(crate) pending: Set,
    pub(crate) bodies: [Set; SIDS as usize],
    pub(crate) snapshots: [Named; SIDS as usize],
    /// FINALs that were sent and have not landed. They may never.
    pub(crate) late_finals: Set,
    /// Sids with a forget marker.
    pub(crate) marked: Set,
    pub(crate) generations: [Generation; GENERATIONS as usize],
    pub(crate) plans: u8,
    /// Put less than delta ago: a reader may see each of these, or not.
    pub(crate) unseen: Objects,
}

impl Store {
    /// What a LIST of gc/ may show: with the records hashed to each other, a whole beginning of
    /// their sequence that leaves out none that everybody sees.
    pub(crate) fn views(&self) -> impl Iterator<Item = View> + '_ {
        let swept = self.plans > 0 && self.generation(self.plans - 1).swept;
        let records = 2 * self.plans - u8::from(self.plans > 0 && !swept);
        let mut shown = Some(records);
        std::iter::from_fn(move || {
            let count = shown?;
            shown = (count > 0 && self.unseen.records.has(count - 1)).then(|| count - 1);
            Some(self.view(count))
        })
    }

    /// The view of the first `records` plans and sweeps.
    fn view(&self, records: u8) -> View {
        let (plans, sweeps) = (records.div_ceil(2), records / 2);
        let mut view = View { plans, sweeps, ..View::default() };
        if sweeps > 0 {
            let newest = self.generation(sweeps - 1);
            view.floor = newest.sweep_floor;
            view.newest_floor = newest.sweep_floor;
            view.dead = newest.dead;
            view.condemned = newest.dead;
        }
        if plans > 0 {
            view.forgotten = self.generation(plans - 1).forgotten;
        }
        if plans > sweeps {
            let newest = self.generation(plans - 1);
            view.newest_floor = newest.floor;
            view.condemned |= newest.candidates;
        }
        view
    }

    /// The view of somebody who sees everything.
    pub(crate) fn truth(&self) -> View {
        self.views().next().unwrap_or_default()
    }

    pub(crate) fn generation(&self, g: u8) -> &Generation {
        &self.generations[usize::from(g)]
    }

    /// In which generation a dead pack was condemned.
    pub(crate) fn died(&self, pack: u8, before: u8) -> u8 {
        (0..before).rev().find(|&g| self.generation(g).condemned.has(pack)).unwrap_or(0)
    }

    /// In which generation a sid was first named, if plan `g` names it.
    pub(crate) fn forgotten_in(&self, sid: u8, g: u8) -> u8 {
        (0..g).rev().take_while(|&g| self.generation(g).forgotten.has(sid)).last().unwrap_or(g)
    }

    /// The packs of `among` that hold `chunk`.
    pub(crate) fn copies(&self, chunk: u8, among: Set) -> Set {
        among.filter(|pack| self.chunk_of[usize::from(pack)] == chunk)
    }

    /// Subsets of `existing` that a LIST may show.
    pub(crate) fn listings(existing: Set, unseen: Set) -> impl Iterator<Item = Set> {
        let sure = existing - unseen;
        (existing & unseen).subsets().map(move |seen| sure | seen)
    }

    /// What a LIST of packs/ may show: deleted packs, too, for a while.
    pub(crate) fn pack_listings(&self) -> impl Iterator<Item = Set> {
        Store::listings(self.packs | self.unseen.deleted, self.unseen.packs | self.unseen.deleted)
    }

    /// The packs that those of `runs` list whose `built` reaches `floor`.
    pub(crate) fn indexed(&self, runs: Set, floor: u8) -> Set {
        self.reaching(runs, floor).iter().fold(Set::EMPTY, |packs, run| packs | self.run(run).packs)
    }

    /// The lowest `built` among those of `runs` that reach `floor`; `none` where there are none.
    pub(crate) fn lowest_built(&self, runs: Set, floor: u8, none: u8) -> u8 {
        self.reaching(runs, floor).iter().map(|run| self.run(run).built).min().unwrap_or(none)
    }

    pub(crate) fn reaching(&self, runs: Set, floor: u8) -> Set {
        runs.filter(|run| self.run(run).built >= floor)
    }

    pub(crate) fn run(&self, run: u8) -> Run {
        self.runs[usize::from(run)]
    }

    pub(crate) fn snapshot(&self, sid: u8) -> Named {
        self.snapshots[usize::from(sid)]
    }

    /// FINALs among `sids` with their chunks.
    pub(crate) fn finals(&self, sids: Set) -> impl Iterator<Item = (u8, Set)> + '_ {
        sids.iter().filter_map(|sid| match self.snapshots.get(usize::from(sid))? {
            Named::Final(chunks) => Some((sid, *chunks)),
            _ => None,
        })
    }

    /// Time passes until everything of `since` is visible everywhere.
    pub(crate) fn settle(&mut self, since: &mut Objects) {
        self.unseen.subtract(since);
        *since = Objects::default();
    }
}
