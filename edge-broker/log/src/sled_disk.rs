//! The real disk: folders and files, one sled Db per slice. The only place that knows sled.
#![allow(clippy::unimplemented)]

use std::path::Path;

use crate::{Disk, DiskError, Slice, StoreConfig};

/// A data folder, locked by this process while it lives.
pub struct SledDisk;

/// A slice in a sled Db.
pub struct SledSlice;

impl SledDisk {
    /// Creates the folder if need be and locks it.
    pub fn open(_dir: &Path, _config: &StoreConfig) -> Result<SledDisk, DiskError> {
        unimplemented!()
    }
}

impl Disk for SledDisk {
    type Slice = SledSlice;

    fn slice_numbers(&self) -> Result<Vec<u64>, DiskError> {
        unimplemented!()
    }
    fn create_slice(&self, _number: u64) -> Result<Self::Slice, DiskError> {
        unimplemented!()
    }
    fn open_slice(&self, _number: u64) -> Result<Self::Slice, DiskError> {
        unimplemented!()
    }
    fn seal_slice(&self, _number: u64) -> Result<(), DiskError> {
        unimplemented!()
    }
    fn salvage_slice(
        &self,
        _number: u64,
        _found: &mut dyn FnMut(u64, u32, &[u8]),
    ) -> Result<(), DiskError> {
        unimplemented!()
    }
    fn slice_bytes(&self, _number: u64) -> u64 {
        unimplemented!()
    }
    fn remove_slice(&self, _number: u64) -> Result<(), DiskError> {
        unimplemented!()
    }
    fn quarantine_slice(&self, _number: u64) -> Result<String, DiskError> {
        unimplemented!()
    }
    fn read_file(&self, _name: &str, _bytes_max: usize) -> Result<Option<Vec<u8>>, DiskError> {
        unimplemented!()
    }
    fn replace_file(&self, _name: &str, _bytes: &[u8]) -> Result<(), DiskError> {
        unimplemented!()
    }
    fn remove_file(&self, _name: &str) -> Result<(), DiskError> {
        unimplemented!()
    }
    fn list_files(&self, _folder: &str) -> Result<Vec<String>, DiskError> {
        unimplemented!()
    }
    fn write_at(&self, _name: &str, _offset: u64, _bytes: &[u8]) -> Result<(), DiskError> {
        unimplemented!()
    }
    fn sync_file(&self, _name: &str) -> Result<(), DiskError> {
        unimplemented!()
    }
    fn allocate_file(&self, _name: &str, _bytes: u64) -> Result<(), DiskError> {
        unimplemented!()
    }
    fn bytes_used(&self) -> u64 {
        unimplemented!()
    }
    fn free_bytes(&self) -> u64 {
        unimplemented!()
    }
    fn device_bytes(&self) -> u64 {
        unimplemented!()
    }
    fn now_ms(&self) -> u64 {
        unimplemented!()
    }
    fn now_us(&self) -> u64 {
        unimplemented!()
    }
    fn random(&self) -> u64 {
        unimplemented!()
    }
    fn background(&self) -> bool {
        unimplemented!()
    }
}

impl Slice for SledSlice {
    fn put(&self, _sequence: u64, _values: &[u8]) -> Result<(), DiskError> {
        unimplemented!()
    }
    fn sync(&self) -> Result<(), DiskError> {
        unimplemented!()
    }
    fn get(&self, _sequence: u64, _part: u32) -> Result<Option<Vec<u8>>, DiskError> {
        unimplemented!()
    }
    fn next_key(&self, _after: (u64, u32)) -> Result<Option<(u64, u32)>, DiskError> {
        unimplemented!()
    }
    fn prove(&self) -> Result<(), DiskError> {
        unimplemented!()
    }
    fn bytes(&self) -> u64 {
        unimplemented!()
    }
}
