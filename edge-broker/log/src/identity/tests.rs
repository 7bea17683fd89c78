//! The identity file keeps what was synced, whatever was written after it.
#![allow(clippy::unwrap_used)]

use super::*;
use crate::sim::MemDisk;

fn numbered(term: u64) -> Identity {
    Identity {
        store_id: 5,
        hard_state: HardState {
            term,
            ..Default::default()
        },
        ..Default::default()
    }
}

fn loaded(disk: &MemDisk) -> Identity {
    match IdentityFile::load(disk).unwrap().1 {
        Found::Slot(identity) => identity,
        _ => panic!("no slot"),
    }
}

#[test]
fn what_was_synced_survives_any_tear() {
    for seed in 0..500 {
        let disk = MemDisk::new(seed);
        let (mut file, _) = IdentityFile::load(&disk).unwrap();
        let mut rng = fastrand::Rng::with_seed(seed);
        let mut synced = 0;
        for term in 1..=rng.u64(2..20) {
            file.write(&disk, numbered(term));
            if term == 1 || rng.u8(..3) == 0 {
                file.sync(&disk).unwrap();
                synced = term;
            }
        }
        let written = file.current().hard_state.term;
        let disk = disk.power_cut();
        let found = loaded(&disk).hard_state.term;
        assert!(
            (synced..=written).contains(&found),
            "seed {seed}: {synced} {found} {written}"
        );
    }
}

#[test]
fn what_was_synced_elsewhere_survives_any_tear_of_what_came_meanwhile() {
    for seed in 0..500 {
        let disk = MemDisk::new(seed);
        let (mut file, _) = IdentityFile::load(&disk).unwrap();
        let mut rng = fastrand::Rng::with_seed(seed);
        file.write(&disk, numbered(1));
        file.sync(&disk).unwrap();
        let (mut term, mut promised) = (1, 1);
        for _ in 0..rng.u64(1..6) {
            term += 1;
            file.write(&disk, numbered(term));
            let syncing = term;
            file.begin_sync();
            // The sync happens before, between or after what comes meanwhile.
            let at = rng.u64(..3);
            for step in 0..3 {
                if step == at {
                    sync(&disk).unwrap();
                }
                term += 1;
                file.write(&disk, numbered(term));
            }
            if rng.bool() {
                file.end_sync(&disk, &Ok(()));
                promised = syncing;
            } else {
                break;
            }
        }
        let found = loaded(&disk.power_cut()).hard_state.term;
        assert!(
            (promised..=term).contains(&found),
            "seed {seed}: {promised} {found} {term}"
        );
    }
}

/// Its place in the slot was unused before: stores from then have none until they start once.
#[test]
fn that_there_was_a_checkpoint_is_remembered() {
    let disk = MemDisk::new(1);
    let (mut file, _) = IdentityFile::load(&disk).unwrap();
    for had_checkpoint in [false, true] {
        let identity = Identity {
            had_checkpoint,
            ..numbered(1)
        };
        file.write(&disk, identity);
        file.sync(&disk).unwrap();
        assert_eq!(loaded(&disk).had_checkpoint, had_checkpoint);
    }
}

#[test]
fn a_failed_sync_gives_the_file_up_for_a_new_one() {
    for seed in 0..50 {
        let disk = MemDisk::new(seed);
        let (mut file, _) = IdentityFile::load(&disk).unwrap();
        file.write(&disk, numbered(1));
        file.sync(&disk).unwrap();
        file.write(&disk, numbered(2));
        disk.fail_syncs(1);
        file.sync(&disk).unwrap();
        let disk = disk.power_cut();
        assert_eq!(loaded(&disk), numbered(2));
    }
}
