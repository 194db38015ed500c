//! Models of the deletion protocol, checked exhaustively within bounds. docs/models.md says what
//! each one covers.

mod check;
mod group;
mod merges;
mod named;
mod pages;
mod protocol;
mod repair;
mod rollback;
mod set;
mod undelete;
mod worlds;
