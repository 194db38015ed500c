//! What is measured, in its order.

use super::images::State;

/// One thing that each program does in a round.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Step {
    /// First backup of A.
    Initial,
    /// A again, read again.
    Unchanged,
    /// E, C or B: A after changes.
    Changed(State),
    /// D, another volume.
    Other,
    /// The first volume, as it was last.
    Restore,
    /// What the programs check unless told otherwise.
    Check,
    /// All content.
    CheckData,
    /// First backup of an extra image.
    ExtraInitial(Extra),
    /// An extra image again, read again.
    ExtraUnchanged(Extra),
    /// An extra image.
    ExtraRestore(Extra),
}

/// Images beside A to D, each in a repository of its own.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Extra {
    /// Nothing compresses it.
    Random,
    /// Nearly all holes.
    Sparse,
    /// Many small files.
    Small,
}

impl Extra {
    /// All of them.
    pub const ALL: [Extra; 3] = [Extra::Random, Extra::Sparse, Extra::Small];

    /// The folder of the image.
    pub fn name(self) -> &'static str {
        match self {
            Extra::Random => "random",
            Extra::Sparse => "sparse",
            Extra::Small => "small",
        }
    }

    fn text(self) -> &'static str {
        match self {
            Extra::Random => "incompressible",
            Extra::Sparse => "sparse",
            Extra::Small => "small files",
        }
    }

    /// A sparse image is not restored: most peers write its holes as zeros, which is no measure of anything else.
    pub fn steps(self) -> Vec<Step> {
        let mut steps = vec![Step::ExtraInitial(self), Step::ExtraUnchanged(self)];
        if self != Extra::Sparse {
            steps.push(Step::ExtraRestore(self));
        }
        steps
    }
}

impl Step {
    /// What happens to one repository.
    pub const MAIN: [Step; 9] = [
        Step::Initial,
        Step::Unchanged,
        Step::Changed(State::E),
        Step::Changed(State::C),
        Step::Changed(State::B),
        Step::Other,
        Step::Restore,
        Step::Check,
        Step::CheckData,
    ];

    /// The steps that store the five images.
    pub const IMAGES: [Step; 5] = [
        Step::Initial,
        Step::Changed(State::E),
        Step::Changed(State::C),
        Step::Changed(State::B),
        Step::Other,
    ];

    /// Whether peers take part in the first round only: each of them reads all holes of the sparse image.
    pub fn is_once_for_peers(self) -> bool {
        matches!(self, Step::ExtraInitial(Extra::Sparse) | Step::ExtraUnchanged(Extra::Sparse))
    }

    /// For people.
    pub fn text(self) -> String {
        match self {
            Step::Initial => "initial (A)".into(),
            Step::Unchanged => "unchanged, read again".into(),
            Step::Changed(State::E) => "sparse updates (E)".into(),
            Step::Changed(State::C) => "dense updates (C)".into(),
            Step::Changed(state) => format!("a mixed day ({state:?})"),
            Step::Other => "same files, other volume (D)".into(),
            Step::Restore => "restore (B)".into(),
            Step::Check => "check".into(),
            Step::CheckData => "check, all content".into(),
            Step::ExtraInitial(extra) => format!("{}: initial", extra.text()),
            Step::ExtraUnchanged(extra) => format!("{}: unchanged, read again", extra.text()),
            Step::ExtraRestore(extra) => format!("{}: restore", extra.text()),
        }
    }

    /// The name of the snapshot that it makes or restores.
    pub fn snapshot(self) -> &'static str {
        match self {
            Step::Initial | Step::ExtraInitial(_) => "first",
            Step::Unchanged | Step::ExtraUnchanged(_) | Step::ExtraRestore(_) => "again",
            Step::Changed(State::E) => "sparse",
            Step::Changed(State::C) => "dense",
            Step::Changed(_) | Step::Restore => "day",
            Step::Other => "other",
            Step::Check | Step::CheckData => "none",
        }
    }
}
