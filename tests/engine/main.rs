//! The engine end to end, on one seeded thread over a store in memory.

mod backup;
mod by_hand;
mod commit;
mod crash;
mod diff;
mod flips;
mod in_place;
mod index_scale;
mod local_copies;
mod mutants;
mod newer;
mod one;
mod prune;
mod races;
mod ranges;
mod repair;
mod repair_foreign;
mod repair_records;
mod repair_sources;
mod roles;
mod round_trips;
mod roundtrip;
mod shrink;
