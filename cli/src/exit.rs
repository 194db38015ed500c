//! Exit codes, which are API, and the errors that lead to them.

use repository::ErrorKind;
use std::fmt;
use std::io;

/// How the process ends.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Exit {
    /// Done.
    Done = 0,
    /// Failed.
    Failed = 1,
    /// The command line is wrong.
    Usage = 2,
    /// Finished, but something was left out.
    Partial = 3,
    /// No repository there.
    NoRepository = 10,
    /// Somebody else was there first.
    Conflict = 11,
    /// Wrong password or key, or a role that may not do this.
    WrongKey = 12,
    /// Stored bytes are damaged or missing.
    Damage = 13,
    /// Ended by a signal.
    Interrupted = 130,
}

impl Exit {
    /// The number that the shell sees.
    pub(crate) fn code(self) -> i32 {
        self as i32
    }
}

/// Why a command did not do all it was asked for.
#[derive(Debug)]
pub(crate) enum Failure {
    /// The engine's answer.
    Engine(repository::Error),
    /// An exit code and one line.
    Said(Exit, String),
    /// Ended by a signal.
    Interrupted,
    /// Nobody reads standard output any more: the reader has what it wanted.
    ClosedPipe,
}

impl Failure {
    /// Nothing more special than failed.
    pub(crate) fn failed(what: impl Into<String>) -> Self {
        Failure::Said(Exit::Failed, what.into())
    }

    /// The command line is wrong.
    pub(crate) fn usage(what: impl Into<String>) -> Self {
        Failure::Said(Exit::Usage, what.into())
    }

    /// How the process ends.
    pub(crate) fn exit(&self) -> Exit {
        match self {
            Failure::Engine(error) => exit_of(error.kind()),
            Failure::Said(exit, _) => *exit,
            Failure::Interrupted => Exit::Interrupted,
            Failure::ClosedPipe => Exit::Done,
        }
    }
}

/// Each kind of the engine's errors is one exit code.
fn exit_of(kind: ErrorKind) -> Exit {
    match kind {
        ErrorKind::Failed => Exit::Failed,
        ErrorKind::Usage => Exit::Usage,
        ErrorKind::NoRepository => Exit::NoRepository,
        ErrorKind::Conflict => Exit::Conflict,
        ErrorKind::WrongKey => Exit::WrongKey,
        ErrorKind::Damage => Exit::Damage,
        ErrorKind::Cancelled => Exit::Interrupted,
    }
}

impl fmt::Display for Failure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Failure::Engine(error) => error.fmt(f),
            Failure::Said(_, what) => f.write_str(what),
            Failure::Interrupted => f.write_str("interrupted"),
            Failure::ClosedPipe => f.write_str("standard output was closed"),
        }
    }
}

impl From<repository::Error> for Failure {
    fn from(error: repository::Error) -> Self {
        Failure::Engine(error)
    }
}

/// An error of standard output.
impl From<io::Error> for Failure {
    fn from(error: io::Error) -> Self {
        match error.kind() {
            io::ErrorKind::BrokenPipe => Failure::ClosedPipe,
            _ => Failure::failed(format!("writing to standard output: {error}")),
        }
    }
}
