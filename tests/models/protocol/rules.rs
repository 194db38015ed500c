//! Which rules a checked protocol keeps, and how large its world is.

use repository::env::Mutant;

/// A rule that is left out although no mutant of the engine leaves it out: alternatives that we
/// rejected, and holes of earlier texts.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub(crate) enum Slip {
    /// c4 compares the newest floor with g0 alone, whatever runs the session read.
    FloorOfSessionOnly,
    /// c4 forgets the runs that were read while mending.
    FloorWithoutMendingRuns,
    /// No wait after the flush that follows mending.
    NoWaitAfterMending,
    /// The merged run is not waited for before the floor is looked at.
    MergeWithoutWait,
    /// A merge reads gc/ after its inputs.
    MergeReadsFloorLate,
    /// A pack leaves `dead` although the floor has not passed its generation.
    DeadLeavesBelowFloor,
    /// A session whose c5 has no outcome yet removes the pending record of that name.
    PendingOfLatePutGoes,
    /// Prune reports damage without a look whether its records are still the newest.
    AlarmOfThePast,
}

impl Slip {
    /// Every one.
    pub(crate) const ALL: [Slip; 8] = [
        Slip::FloorOfSessionOnly,
        Slip::FloorWithoutMendingRuns,
        Slip::NoWaitAfterMending,
        Slip::MergeWithoutWait,
        Slip::MergeReadsFloorLate,
        Slip::DeadLeavesBelowFloor,
        Slip::PendingOfLatePutGoes,
        Slip::AlarmOfThePast,
    ];
}

/// What a world must be large enough to reach: a bound that shows nothing proves nothing.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub(crate) enum Goal {
    /// A sweep condemns a pack.
    Condemned,
    /// A session commits after a sweep.
    CommitAfterSweep,
    /// A pack is deleted, and a snapshot.
    Deleted,
    FloorRises,
    DeadShrinks,
    ForgottenShrinks,
    /// A session starts anew.
    Anew,
}

/// How large a world is, and what may happen in it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Rules {
    pub(crate) sessions: u8,
    pub(crate) pruners: u8,
    /// Runs of each pruner.
    pub(crate) prunes: u8,
    pub(crate) mergers: u8,
    pub(crate) merges: u8,
    /// Packs and runs that may ever be made.
    pub(crate) packs: u8,
    pub(crate) runs: u8,
    /// Sids there are, at most [`SIDS`](super::SIDS).
    pub(crate) sids: u8,
    /// What was put is seen late (A2), each object on its own.
    pub(crate) lag: bool,
    /// Deleted packs are listed for a while (A2, too).
    pub(crate) lag_of_deletes: bool,
    /// Prune copies chunks out of packs that it condemns.
    pub(crate) repack: bool,
    /// The undelete window is 0: p7 deletes at once.
    pub(crate) window_0: bool,
    /// A writer may store again what exists.
    pub(crate) cold: bool,
    /// A session may take snapshot 0 as its parent.
    pub(crate) parent: bool,
    /// Two packs hold chunk 1.
    pub(crate) two_copies: bool,
    /// Chunk 1 is stored nowhere at the start.
    pub(crate) bare: bool,
    /// p8: pending records may be called stale at any time.
    pub(crate) stale: bool,
    /// Old plans and sweeps are removed, so that their names are free again.
    pub(crate) old_removed: bool,
    /// Sessions are undeletes: they read no source, only packs that exist.
    pub(crate) undelete: bool,
    /// Prune may leave any candidate alone, as its policy likes.
    pub(crate) lenient: bool,
    /// The answer to c5 may be lost, and the request be late.
    pub(crate) ambiguous: bool,
    /// No snapshot is forgotten.
    pub(crate) no_forget: bool,
    pub(crate) goals: &'static [Goal],
    pub(crate) mutant: Option<Mutant>,
    pub(crate) slip: Option<Slip>,
}

impl Rules {
    /// One session, one run of one pruner, nothing special.
    pub(crate) const SMALLEST: Rules = Rules {
        sessions: 1,
        pruners: 1,
        prunes: 1,
        mergers: 0,
        merges: 0,
        packs: 4,
        runs: 3,
        sids: 3,
        lag: false,
        lag_of_deletes: false,
        repack: false,
        window_0: false,
        cold: false,
        parent: false,
        two_copies: false,
        bare: false,
        stale: false,
        old_removed: false,
        undelete: false,
        lenient: false,
        ambiguous: false,
        no_forget: false,
        goals: &[Goal::Condemned, Goal::CommitAfterSweep],
        mutant: None,
        slip: None,
    };

    pub(crate) fn breaks(&self, mutant: Mutant) -> bool {
        self.mutant == Some(mutant)
    }

    pub(crate) fn slips(&self, slip: Slip) -> bool {
        self.slip == Some(slip)
    }
}
