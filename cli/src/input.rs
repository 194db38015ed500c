//! Files that people write for a command.

use std::fs::File;
use std::io::Read;
use std::path::Path;

/// The whole of a file of at most `len_max` bytes; in words why not. Blocks.
pub(crate) fn read(path: &Path, len_max: u64) -> Result<Vec<u8>, String> {
    let unreadable = |error: std::io::Error| format!("cannot be read: {error}");
    let mut bytes = Vec::new();
    File::open(path).map_err(unreadable)?.take(len_max + 1).read_to_end(&mut bytes).map_err(unreadable)?;
    if bytes.len() as u64 > len_max { Err(format!("more than {len_max} bytes")) } else { Ok(bytes) }
}
