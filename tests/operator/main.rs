//! The command as an operator meets it: the real binary on real stores, with everything that goes wrong.
//!
//! Each failure must be one clear line that names its object, with the exit code that the help promises, and must leave
//! the repository as it was.

mod clouds;
mod crowd;
mod damage;
mod device;
mod disk;
mod input;
mod life;
mod network;
mod one;
mod orlop;
mod profile;
mod ranges;
mod repair;
mod secrets;
mod unfit;
