//! The twin as a [`Disk`]: every change of it is a step at which a crash may strike.
//!
//! A store uses it as it does the real one. What a slice does by itself is in `slice`.

use super::MemDisk;
use super::closed::MemClosed;
use super::contents::{FileData, SliceData, SyncOutcome, overwrite, slice_of};
use super::slice::MemSlice;
use crate::{Disk, DiskError, secret};

impl Disk for MemDisk {
    type Slice = MemSlice;
    type Closed = MemClosed;

    fn slice_numbers(&self) -> Result<Vec<u64>, DiskError> {
        drop(self.live()?);
        Ok(self.slices())
    }

    fn create_slice(&self, number: u64, secret_file: &[u8]) -> Result<MemSlice, DiskError> {
        let mut contents = self.live()?;
        contents.step()?;
        contents.take_room(SLICE_OVERHEAD_BYTES)?;
        let slice = SliceData {
            bytes: SLICE_OVERHEAD_BYTES,
            ..SliceData::default()
        };
        // What an earlier one of that number left has another name by now.
        contents.forget_slice(number);
        contents.ghosts.remove(&number);
        contents.slices.insert(number, slice);
        let name = secret::file(number);
        let file = FileData {
            current: Some(secret_file.to_vec()),
            renamed: true,
            ..FileData::default()
        };
        contents.files.insert(name.clone(), file);
        match contents.sync_slice_names()? {
            SyncOutcome::Works => {
                contents.slice(number)?.created = true;
                contents.file(&name)?.make_durable();
            }
            SyncOutcome::Lies => {}
            SyncOutcome::Fails => {
                contents.forget_slice(number);
                contents.ghosts.insert(number);
                return Err(sync_failed("a new slice"));
            }
        }
        Ok(MemSlice {
            disk: self.clone(),
            number,
        })
    }

    fn open_slice(&self, number: u64) -> Result<MemSlice, DiskError> {
        let mut contents = self.live()?;
        if contents.slice(number)?.damaged {
            return Err(DiskError::Damaged(format!("slice {number} does not open")));
        }
        Ok(MemSlice {
            disk: self.clone(),
            number,
        })
    }

    fn read_slice(&self, number: u64) -> Result<MemClosed, DiskError> {
        self.live()?.slice(number)?;
        Ok(MemClosed(MemSlice {
            disk: self.clone(),
            number,
        }))
    }

    fn seal_slice(&self, number: u64) -> Result<(), DiskError> {
        let mut contents = self.live()?;
        for what in ["a slice", "the folder of a slice"] {
            if let SyncOutcome::Fails = contents.sync_slice(number)? {
                return Err(sync_failed(what));
            }
        }
        Ok(())
    }

    fn slice_bytes(&self, number: u64) -> u64 {
        self.lock().slice(number).map_or(0, |slice| slice.bytes)
    }

    fn remove_slice(&self, number: u64) -> Result<(), DiskError> {
        let mut contents = self.live()?;
        if !contents.take_away(number, None)? {
            return Ok(());
        }
        match contents.sync_slice_names()? {
            SyncOutcome::Works => contents.forget_slice(number),
            SyncOutcome::Lies => {}
            SyncOutcome::Fails => return Err(sync_failed("the folder of slices")),
        }
        Ok(())
    }

    fn quarantine_slice(&self, number: u64) -> Result<String, DiskError> {
        let mut contents = self.live()?;
        let name = format!("quarantine/{number}");
        if !contents.take_away(number, Some(&name))? {
            return Ok(name);
        }
        if let SyncOutcome::Fails = contents.sync_outcome()? {
            return Err(sync_failed("the quarantine"));
        }
        match contents.sync_slice_names()? {
            SyncOutcome::Works => contents.forget_slice(number),
            SyncOutcome::Lies => {}
            SyncOutcome::Fails => return Err(sync_failed("the folder of slices")),
        }
        Ok(name)
    }

    fn quarantine_file(&self, name: &str) -> Result<String, DiskError> {
        let mut contents = self.live()?;
        contents.step()?;
        let aside = format!("quarantine/{}", name.replace('/', "-"));
        if let Some(file) = contents.files.remove(name) {
            contents.files.insert(aside.clone(), file);
        }
        match contents.sync_outcome()? {
            SyncOutcome::Fails => Err(sync_failed("the quarantine")),
            SyncOutcome::Works | SyncOutcome::Lies => Ok(aside),
        }
    }

    fn read_file(&self, name: &str, bytes_max: usize) -> Result<Option<Vec<u8>>, DiskError> {
        let mut contents = self.live()?;
        contents.may_read()?;
        let file = contents.files.get(name);
        let file = file.filter(|_| contents.has_folder_of(name));
        let content = file.and_then(|file| file.current.as_ref());
        Ok(content.map(|bytes| bytes[..bytes.len().min(bytes_max)].to_vec()))
    }

    fn replace_file(&self, name: &str, bytes: &[u8]) -> Result<(), DiskError> {
        let mut contents = self.live()?;
        // The temporary file: written and synced under another name.
        contents.step()?;
        if !contents.has_folder_of(name) {
            return Err(DiskError::Io(format!("there is no folder for {name}")));
        }
        contents.take_room(bytes.len() as u64)?;
        match contents.sync_outcome()? {
            SyncOutcome::Fails => return Err(sync_failed(name)),
            SyncOutcome::Works | SyncOutcome::Lies => {}
        }
        // The rename: seen at once, durable with the folder.
        let file = contents.files.entry(name.to_string()).or_default();
        file.current = Some(bytes.to_vec());
        file.pending.clear();
        file.orphaned.clear();
        file.renamed = true;
        match contents.sync_outcome()? {
            SyncOutcome::Fails => Err(sync_failed(&format!("{name}'s folder"))),
            SyncOutcome::Lies => Ok(()),
            SyncOutcome::Works => {
                contents.file(name)?.make_durable();
                Ok(())
            }
        }
    }

    fn remove_file(&self, name: &str) -> Result<(), DiskError> {
        let mut contents = self.live()?;
        contents.step()?;
        contents.files.remove(name);
        Ok(())
    }

    fn list_files(&self, folder: &str) -> Result<Vec<String>, DiskError> {
        let prefix = format!("{folder}/");
        let contents = self.live()?;
        let names = contents.files.keys().chain(contents.quarantined.keys());
        Ok(names
            .filter(|name| name.starts_with(&prefix))
            .cloned()
            .collect())
    }

    fn write_at(&self, name: &str, offset: u64, bytes: &[u8]) -> Result<(), DiskError> {
        let mut contents = self.live()?;
        contents.step()?;
        contents.written_bytes += bytes.len() as u64;
        let file = contents.file(name)?;
        if let Some(content) = file.current.as_mut() {
            overwrite(content, offset as usize, bytes);
        }
        file.pending.push((offset as usize, bytes.to_vec()));
        Ok(())
    }

    fn sync_file(&self, name: &str) -> Result<(), DiskError> {
        let mut contents = self.live()?;
        let outcome = contents.sync_outcome()?;
        let file = contents.file(name)?;
        let pending = std::mem::take(&mut file.pending);
        match outcome {
            SyncOutcome::Works => {
                if let Some(durable) = file.durable.as_mut() {
                    pending
                        .iter()
                        .for_each(|(at, bytes)| overwrite(durable, *at, bytes));
                }
                Ok(())
            }
            SyncOutcome::Lies => {
                file.orphaned.extend(pending);
                Ok(())
            }
            SyncOutcome::Fails => {
                file.orphaned.extend(pending);
                Err(sync_failed(name))
            }
        }
    }

    fn allocate_file(&self, name: &str, bytes: u64) -> Result<(), DiskError> {
        let mut contents = self.live()?;
        contents.step()?;
        contents.take_room(bytes)?;
        if let SyncOutcome::Fails = contents.sync_outcome()? {
            return Err(sync_failed(name));
        }
        let content = Some(vec![0; bytes as usize]);
        let file = FileData {
            durable: content.clone(),
            current: content,
            ..FileData::default()
        };
        contents.files.insert(name.to_string(), file);
        Ok(())
    }

    fn sync_names(&self, slices: &[u64]) -> Result<(), DiskError> {
        let mut contents = self.live()?;
        for _ in 0..=slices.len() {
            match contents.sync_outcome()? {
                SyncOutcome::Fails => return Err(sync_failed("the folders")),
                SyncOutcome::Lies => return Ok(()),
                SyncOutcome::Works => {}
            }
        }
        contents.ghosts.clear();
        let removed = contents.slices.iter().filter(|(_, slice)| slice.removed);
        let removed: Vec<u64> = removed.map(|(number, _)| *number).collect();
        removed
            .into_iter()
            .for_each(|number| contents.forget_slice(number));
        for number in slices {
            let slice = contents.slices.get_mut(number);
            slice.into_iter().for_each(|slice| slice.created = true);
        }
        let is_synced = |name: &str| slice_of(name).is_none_or(|of| slices.contains(&of));
        let files = contents.files.iter_mut();
        for (_, file) in files.filter(|(name, file)| file.renamed && is_synced(name)) {
            file.make_durable();
        }
        Ok(())
    }

    fn file_bytes(&self, name: &str) -> u64 {
        let contents = self.lock();
        let content = contents
            .files
            .get(name)
            .and_then(|file| file.current.as_ref());
        content.map_or(0, |bytes| bytes.len() as u64)
    }

    fn bytes_used(&self) -> u64 {
        self.lock().bytes_used()
    }

    fn free_bytes(&self) -> u64 {
        let contents = self.lock();
        contents
            .capacity_bytes
            .saturating_sub(contents.bytes_used())
    }

    fn device_bytes(&self) -> u64 {
        self.lock().written_bytes
    }

    fn now_ms(&self) -> u64 {
        self.lock().now_ms
    }

    fn now_us(&self) -> u64 {
        self.lock().now_ms * 1000
    }

    fn random(&self) -> u64 {
        self.lock().rng.u64(1..)
    }

    fn background(&self) -> bool {
        false
    }
}

fn sync_failed(what: &str) -> DiskError {
    DiskError::Io(format!("sync of {what} failed"))
}

/// What an empty slice occupies.
const SLICE_OVERHEAD_BYTES: u64 = 4096;
