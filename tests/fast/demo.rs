//! The demo passes, can fail, and leaves nothing behind when it is interrupted.

use std::path::Path;
use std::process::{Child, Command, Output, Stdio};
use std::time::Duration;

use rustix::process::{Pid, Signal, kill_process};

use crate::support::{eventually, proved, scratch};

/// The demo in its shortest form; its folder goes below `dir`.
fn demo(dir: &Path, flags: &[&str]) -> Child {
    Command::new(env!("CARGO_BIN_EXE_edge-broker"))
        .args(["demo", "--seconds", "6", "--rate", "500", "--seed", "5eed"])
        .args(flags)
        .env("TMPDIR", dir)
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap()
}

fn text(output: &Output) -> String {
    let said = String::from_utf8_lossy(&output.stdout);
    format!("{said}{}", String::from_utf8_lossy(&output.stderr))
}

#[test]
fn the_demo_kills_a_gateway_and_finds_every_message() {
    let dir = scratch();
    let output = demo(dir.path(), &[]).wait_with_output().unwrap();
    let said = text(&output);
    assert!(output.status.success(), "{said}");
    assert_eq!(said.matches("kill -9 pid").count(), 2, "{said}");
    let verdict = said.lines().last().unwrap();
    assert!(
        verdict.starts_with("PASS  acked ") && verdict.contains(", lost 0,"),
        "{said}"
    );
    assert!(
        dir.path().read_dir().unwrap().next().is_none(),
        "its folder is still there"
    );
    proved("fast", &format!("demo: {verdict}"));
}

#[test]
fn the_demo_fails_on_a_damaged_log_and_names_what_is_missing() {
    let dir = scratch();
    let output = demo(dir.path(), &["--tamper"]).wait_with_output().unwrap();
    let said = text(&output);
    assert_eq!(output.status.code(), Some(1), "{said}");
    let named = said
        .lines()
        .filter(|line| line.ends_with("is not in the log"))
        .count();
    assert!((1..=10).contains(&named), "{said}");
    assert!(
        said.lines().last().unwrap().starts_with("FAIL  acked "),
        "{said}"
    );
}

#[test]
fn an_interrupted_demo_takes_its_gateway_and_its_folder_along() {
    let dir = scratch();
    let child = demo(dir.path(), &[]);
    let gateway = eventually("a gateway", Duration::from_secs(20), || {
        let folder = dir.path().read_dir().ok()?.next()?.ok()?.path();
        let lock = std::fs::read_to_string(folder.join("data/lock")).ok()?;
        lock.trim().parse::<i32>().ok()
    });
    let pid = Pid::from_raw(child.id().cast_signed()).unwrap();
    kill_process(pid, Signal::INT).unwrap();
    let output = child.wait_with_output().unwrap();
    assert_eq!(output.status.code(), Some(130), "{}", text(&output));
    assert!(
        !Path::new(&format!("/proc/{gateway}")).exists(),
        "the gateway still runs"
    );
    assert!(
        dir.path().read_dir().unwrap().next().is_none(),
        "its folder is still there"
    );
}
