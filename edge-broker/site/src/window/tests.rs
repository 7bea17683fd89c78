//! Facts about it.
