//! Models of the deletion protocol, checked exhaustively within bounds. docs/models.md says what
//! each one covers.

mod check;
mod protocol;
mod set;
mod worlds;
