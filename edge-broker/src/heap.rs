//! How the C library's allocator keeps what is freed.
//!
//! Called by `main` before anything else; beside `machine::kernel_clock` the only place of the
//! program that is not safe Rust.

/// Lets all threads allocate from one arena (glibc; other C libraries have nothing to set).
///
/// sled frees its segment buffers of half a megabyte on other threads than those that took them.
/// With an arena per thread each keeps its own share of them: 125 MB instead of 89 MB at full
/// speed, and no message a second more (`tests/bench/run memory speed`).
pub fn share_one_arena() {
    #[cfg(target_env = "gnu")]
    #[allow(unsafe_code)]
    // SAFETY: mallopt takes two integers and touches the allocator's own settings only; no other
    // thread runs yet. It may refuse: then memory is used as before.
    unsafe {
        libc::mallopt(libc::M_ARENA_MAX, 1);
    }
}
