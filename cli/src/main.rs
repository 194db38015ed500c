//! orlop, the command line.
fn main() {}
