//! Index runs: which pack holds a record.
//!
//! A run is a pack of class 3 whose records are, in this order, blocks of entries, parts of a
//! filter, parts of the pack table and one head. Here is what the plain records say; sealing them
//! into a pack is the same as for any other record.

mod entries;
mod filter;
mod parse;
mod run;

pub use entries::{ENTRIES_PER_BLOCK, ENTRY_LEN, Entry, parse_entries_block};
pub use filter::{FilterCodes, FilterFrame, FilterPart, id_range, next_filter_part};
pub use parse::{Run, RunBlocks, parse_run};
pub use run::{PACK_ROW_LEN, PACK_TABLE_PART_ROWS, PackRow, PlainIndexRecord, RunBuilder, RunHead};

#[cfg(test)]
mod tests;
