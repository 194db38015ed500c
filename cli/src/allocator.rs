//! How much of what was freed the allocator keeps: the one call into C of this program.

/// Arenas of glibc's allocator. By default it has eight for each CPU, and each keeps what its threads freed: the peak
/// of a prune was twice what it held. Threads rarely allocate at the same time here, so two cost no time (ADR 23).
#[cfg(target_env = "gnu")]
const ARENAS: libc::c_int = 2;

/// Bounds what the allocator keeps, unless `MALLOC_ARENA_MAX` says how. To be called before there are other threads.
#[cfg(target_env = "gnu")]
#[allow(unsafe_code, reason = "glibc has no safe way to say this from within; docs/adr/0023")]
pub(crate) fn bound() {
    if std::env::var_os("MALLOC_ARENA_MAX").is_some() {
        return;
    }
    // SAFETY: mallopt takes two numbers, reads no memory of ours and changes only the allocator's settings, under the
    // allocator's own lock. What was allocated before stays valid. A refusal (0) leaves things as they were.
    unsafe { libc::mallopt(libc::M_ARENA_MAX, ARENAS) };
}

/// Other allocators are left alone.
#[cfg(not(target_env = "gnu"))]
pub(crate) fn bound() {}
