//! Tests that ask the machine for something: strace for system calls, root for a small disk.
//!
//! `tests/run fast` runs them; plain `cargo test` does not.

#![allow(clippy::unwrap_used, clippy::print_stdout)]

mod support;

#[path = "machine/disk_full.rs"]
mod disk_full;
#[path = "machine/syscalls.rs"]
mod syscalls;
