//! Past the page cache (ADR 29): what reads and writes with `O_DIRECT` have in common.

use rustix::fs::OFlags;
use std::fs::{File, OpenOptions};
use std::os::fd::AsRawFd;
use std::os::unix::fs::OpenOptionsExt;

/// What offsets, lengths and addresses are multiples of: no device that Linux knows has longer sectors than a page.
pub(crate) const ALIGNMENT: usize = 4096;

/// A second handle of what is open; by the handle, not by the path, so that it is the same file, and a device that is
/// open exclusively can be had. Nothing where the system does not do that.
pub(crate) fn reopen(file: &File, options: &mut OpenOptions) -> Option<File> {
    let flags = i32::try_from(OFlags::DIRECT.bits()).ok()?;
    options.custom_flags(flags).open(format!("/proc/self/fd/{}", file.as_raw_fd())).ok()
}

/// How far behind the beginning of `bytes` the next aligned address is.
pub(crate) fn lead(bytes: &[u8]) -> usize {
    let start = bytes.as_ptr().addr();
    start.next_multiple_of(ALIGNMENT) - start
}
