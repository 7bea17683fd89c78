//! The programs that some groups need beside Rust, and where `tests/run` puts them.
//!
//! Installs nothing: `tests/run` does. A missing program fails the test with the way to get it.

use std::path::{Path, PathBuf};
use std::process::{Command, Output, Stdio};

/// The folder that `tests/run` fills: Kafka's jars, the Python environment.
pub fn folder() -> PathBuf {
    let built_in = Path::new(env!("CARGO_MANIFEST_DIR")).join("../target/test-tools");
    std::env::var_os("EDGE_BROKER_TEST_TOOLS").map_or(built_in, PathBuf::from)
}

/// The Python of the environment with paho-mqtt.
pub fn python() -> PathBuf {
    let python = folder().join("venv/bin/python");
    assert!(
        python.exists(),
        "no {}: start this through tests/run",
        python.display()
    );
    python
}

/// Runs a program to its end; insists that it exists.
pub fn run(program: &str, args: &[&str]) -> Output {
    let out = Command::new(program)
        .args(args)
        .stdin(Stdio::null())
        .output();
    out.unwrap_or_else(|e| panic!("{program}: {e}; tests/run installs it"))
}

/// The same; insists on success and gives what it printed.
pub fn output_of(program: &str, args: &[&str]) -> String {
    let out = run(program, args);
    let text = String::from_utf8_lossy(&out.stdout).into_owned();
    let errors = String::from_utf8_lossy(&out.stderr);
    assert!(out.status.success(), "{program} {args:?}: {text}{errors}");
    text
}

/// True when this process may mount a filesystem.
pub fn may_mount() -> bool {
    rustix::process::geteuid().is_root()
}
