//! How much of what was freed the allocator keeps: the one call into C of this program.

/// Arenas of glibc's allocator. By default it has eight for each CPU, and each keeps what its threads freed: the peak
/// of a prune was twice what it held. Threads rarely allocate at the same time here, so two cost no time (ADR 23).
#[cfg(target_env = "gnu")]
const ARENAS: libc::c_int = 2;

/// Longer blocks are mapped, and given back when they are freed. Without a word from us glibc raises this to 32 MiB once
/// such a block was freed: then what lies behind it keeps its place taken (ADR 23).
#[cfg(target_env = "gnu")]
const MAPPED_LEN: libc::c_int = 8 << 20;

/// Bounds what the allocator keeps, unless `MALLOC_ARENA_MAX` says how. To be called before there are other threads.
#[cfg(target_env = "gnu")]
pub(crate) fn bound() {
    set("MALLOC_ARENA_MAX", libc::M_ARENA_MAX, ARENAS);
}

/// For commands that read whole index runs and use few other long blocks, unless `MALLOC_MMAP_THRESHOLD_` says how. To be
/// called before there are other threads.
#[cfg(target_env = "gnu")]
pub(crate) fn map_long_blocks() {
    set("MALLOC_MMAP_THRESHOLD_", libc::M_MMAP_THRESHOLD, MAPPED_LEN);
}

/// Blocks up to this length are kept for the next one where there is room: the most that glibc takes.
#[cfg(target_env = "gnu")]
const KEPT_LEN: libc::c_int = 32 << 20;
/// The same where there is not.
#[cfg(target_env = "gnu")]
const KEPT_LEN_TIGHT: libc::c_int = 1 << 20;

/// For commands that fill and free buffers of some MiB for as long as they run: what is freed is kept for the next one, and
/// the system need not clear its pages again; unless `memory_len` is less than usual (ADR 30), or `MALLOC_MMAP_THRESHOLD_`
/// or `MALLOC_TRIM_THRESHOLD_` say otherwise. To be called before there are other threads.
#[cfg(target_env = "gnu")]
pub(crate) fn keep_long_blocks(memory_len: u64) {
    let kept = if memory_len < repository::MEMORY_LEN { KEPT_LEN_TIGHT } else { KEPT_LEN };
    set("MALLOC_MMAP_THRESHOLD_", libc::M_MMAP_THRESHOLD, kept);
    set("MALLOC_TRIM_THRESHOLD_", libc::M_TRIM_THRESHOLD, 2 * kept);
}

#[cfg(target_env = "gnu")]
#[allow(unsafe_code, reason = "glibc has no safe way to say this from within; docs/adr/0023")]
fn set(variable: &str, setting: libc::c_int, value: libc::c_int) {
    if std::env::var_os(variable).is_some() {
        return;
    }
    // SAFETY: mallopt takes two numbers, reads no memory of ours and changes only the allocator's settings, under the
    // allocator's own lock. What was allocated before stays valid. A refusal (0) leaves things as they were.
    unsafe { libc::mallopt(setting, value) };
}

/// Other allocators are left alone.
#[cfg(not(target_env = "gnu"))]
pub(crate) fn bound() {}

/// Other allocators are left alone.
#[cfg(not(target_env = "gnu"))]
pub(crate) fn map_long_blocks() {}

/// Other allocators are left alone.
#[cfg(not(target_env = "gnu"))]
pub(crate) fn keep_long_blocks(_memory_len: u64) {}
