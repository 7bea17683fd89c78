//! The gateway as devices and operators see it, in seconds: nothing here needs an installed tool.
//!
//! Part of plain `cargo test` and of `tests/run fast`.

#![allow(clippy::unwrap_used, clippy::print_stdout)]

mod support;

#[path = "fast/commands.rs"]
mod commands;
#[path = "fast/compaction.rs"]
mod compaction;
#[path = "fast/demo.rs"]
mod demo;
#[path = "fast/end_to_end.rs"]
mod end_to_end;
#[path = "fast/first_minutes.rs"]
mod first_minutes;
#[path = "fast/half_open.rs"]
mod half_open;
#[path = "fast/hostile.rs"]
mod hostile;
#[path = "fast/legal.rs"]
mod legal;
#[path = "fast/refusals.rs"]
mod refusals;
#[path = "fast/restarts.rs"]
mod restarts;
