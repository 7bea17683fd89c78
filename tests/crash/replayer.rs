//! The shim and the replayer themselves, proved on a tiny program with known answers.
//!
//! The tiny program is this test again, started with `EDGE_TINY_DIR`.

use std::collections::BTreeSet;
use std::fs::{self, File};
use std::io::Write;
use std::os::unix::fs::FileExt;
use std::os::unix::process::ExitStatusExt;
use std::path::Path;
use std::process::Command;

use crate::support::image::{Data, Disk, Names, PAIRS};
use crate::support::recording::{Folder, Recording};
use crate::support::shim::Shim;
use crate::support::{proved, scratch};

/// What the tiny program does: every kind of step, some of it synced.
fn tiny_program(dir: &Path) {
    let sub = dir.join("sub");
    fs::create_dir(&sub).unwrap();
    let mut synced = File::create(sub.join("synced")).unwrap();
    synced.write_all(b"first ").unwrap();
    synced.sync_data().unwrap();
    File::open(&sub).unwrap().sync_all().unwrap();
    File::open(dir).unwrap().sync_all().unwrap();
    synced.try_clone().unwrap().write_all(b"second").unwrap();
    let sparse = File::create(sub.join("sparse")).unwrap();
    sparse.write_all_at(&[7; 5000], 3000).unwrap();
    sparse.set_len(9000).unwrap();
    fs::write(dir.join("a.tmp"), b"by rename").unwrap();
    fs::rename(dir.join("a.tmp"), dir.join("a")).unwrap();
    fs::copy(dir.join("a"), dir.join("copy")).unwrap();
    fs::create_dir_all(dir.join("gone/deep")).unwrap();
    fs::write(dir.join("gone/deep/file"), b"never seen").unwrap();
    fs::remove_dir_all(dir.join("gone")).unwrap();
    let mut log = File::options()
        .append(true)
        .create(true)
        .open(dir.join("log"))
        .unwrap();
    log.write_all(b"one\n").unwrap();
    log.write_all(b"two\n").unwrap();
    fs::write(dir.join("before"), b"changed").unwrap();
    fs::write(sub.join("last"), [1; 700]).unwrap();
    File::open(sub.join("last")).unwrap().sync_data().unwrap();
}

fn recorded() -> (tempfile::TempDir, Recording) {
    let (scratch, recording) = recorded_with(|shim| shim);
    assert!(recording.cut_short.is_empty(), "it ended by itself");
    (scratch, recording)
}

fn recorded_with(steer: impl FnOnce(Shim) -> Shim) -> (tempfile::TempDir, Recording) {
    let scratch = scratch();
    let dir = scratch.path().join("data");
    fs::create_dir(&dir).unwrap();
    fs::write(dir.join("before"), b"was here").unwrap();
    let before = Folder::read(&dir);
    let trace = scratch.path().join("trace");
    let shim = steer(Shim::watching(&dir).recording_to(&trace));
    let mut again = Command::new(std::env::current_exe().unwrap());
    again.args(["--exact", "replayer::recording_is_complete", "--nocapture"]);
    again.env("EDGE_TINY_DIR", &dir).envs(shim.environment());
    let out = again.output().unwrap();
    assert!(
        out.status.success() || out.status.signal() == Some(9),
        "{out:?}"
    );
    let recording = Recording::read(before, &trace);
    (scratch, recording)
}

#[test]
fn recording_is_complete() {
    if let Some(dir) = std::env::var_os("EDGE_TINY_DIR") {
        return tiny_program(Path::new(&dir));
    }
    let (scratch, recording) = recorded();
    let mut disk = Disk::before(&recording, 1);
    disk.advance_to(recording.events.len());
    let everything = disk.image(Data::Kept, Names::Strict);
    let real = Folder::read(&scratch.path().join("data"));
    assert_eq!(everything.by_path(), real.by_path());
}

/// A kill can fall between a write and its line: the recording says which file it leaves open.
#[test]
fn a_change_cut_short_by_a_kill_is_named() {
    let (scratch, recording) = recorded_with(|shim| shim.killing_before("written", "sparse", 1));
    let mut disk = Disk::before(&recording, 1);
    disk.advance_to(recording.events.len());
    let rebuilt = disk.image(Data::Kept, Names::Strict);
    let real = Folder::read(&scratch.path().join("data"));
    let (rebuilt, real) = (rebuilt.by_path(), real.by_path());
    let differ = real.keys().filter(|p| rebuilt.get(*p) != real.get(*p));
    assert_eq!(differ.collect::<Vec<_>>(), ["sub/sparse"]);
    assert!(recording.cut_short.contains(&"sub/sparse".to_owned()));
}

#[test]
fn only_what_was_synced_is_sure() {
    let (_scratch, recording) = recorded();
    let mut disk = Disk::before(&recording, 2);
    disk.advance_to(recording.events.len());
    let strict = disk.image(Data::Lost, Names::Strict);
    let names: Vec<String> = strict.by_path().into_keys().collect();
    assert_eq!(
        names,
        ["before", "sub/synced"],
        "no other folder was synced after its name"
    );
    assert_eq!(*strict.by_path()["sub/synced"], b"first ");
    assert_eq!(*strict.by_path()["before"], b"was here");
    let journal = disk.image(Data::Lost, Names::Ext4);
    let journal = journal.by_path();
    assert_eq!(
        *journal["sub/last"], [1; 700],
        "its own sync brings its name"
    );
    assert_eq!(
        *journal["a"], b"",
        "the journal brings the rename before it, not the bytes"
    );
    assert!(!journal.contains_key("gone/deep/file"));
}

#[test]
fn images_differ_and_keep_what_is_durable() {
    let (_scratch, recording) = recorded();
    for (data, names) in PAIRS {
        let mut seen = BTreeSet::new();
        for seed in 0..40 {
            let mut disk = Disk::before(&recording, seed);
            let len = recording.events.len();
            disk.advance_to(len - seed as usize % (len / 3));
            let image = disk.image(data, names);
            let synced = image.by_path()["sub/synced"].clone();
            assert!(
                synced.starts_with(b"first "),
                "{data:?} {names:?}: {synced:?}"
            );
            seen.insert(format!("{:?}", image.by_path()));
        }
        let drawn = matches!(data, Data::Torn(_) | Data::Prefix);
        let least = if drawn { 8 } else { 1 };
        assert!(
            seen.len() >= least,
            "{data:?} {names:?}: {} different images",
            seen.len()
        );
    }
    proved(
        "crash",
        "the replayer rebuilds a recorded folder byte for byte",
    );
}
