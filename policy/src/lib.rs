//! When to back up and what to keep: pure decisions, each with its reason.
//!
//! No file, clock, network or randomness: the present time is an argument, and time zones come from a database compiled into the program,
//! so that a decision is the same on every machine. Times are Unix milliseconds.

mod error;
pub mod parse;
pub mod retention;
pub mod schedule;
mod zone;

pub use error::Error;
pub use zone::Zone;
