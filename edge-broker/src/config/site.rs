//! From `[site]`, `[storage]` and `[topics]` to what edge-site takes; resolves "auto".
//!
//! Pure: facts about the filesystem are an argument. Called by `serve`.

use edge_site::{Compression, SiteConfig, StoreConfig, TopicConfig, WhenFull};
use toml::Value;

use super::{Config, Storage};
use crate::failure::{Exit, Failure};

const MIB: u64 = 1 << 20;
const GIB: u64 = 1 << 30;

/// Facts about the filesystem that holds the data folder.
#[derive(Debug, Clone, Copy)]
pub struct Disk {
    /// Its size.
    pub bytes: u64,
}

/// What the site is told.
pub fn site_config(config: &Config, disk: &Disk) -> Result<SiteConfig, Failure> {
    let storage = &config.storage;
    let impossible = |what: &str| Failure::new(Exit::CONFIG, format!("{}: {what}", config.source));
    let compression: Compression = storage
        .compression
        .parse()
        .map_err(|_| impossible("storage.compression"))?;
    let when_full: WhenFull = storage
        .when_full
        .parse()
        .map_err(|_| impossible("storage.when_full"))?;
    Ok(SiteConfig {
        name: config.site.name.clone(),
        store: store_config(storage, disk),
        wear_gb_per_day: storage.wear_gb_per_day,
        commit_interval_ms_max: storage.commit_interval_ms_max,
        commit_interval_ms_relaxed: storage.commit_interval_ms_relaxed,
        commit_bytes_max: storage.commit_bytes_max as usize,
        compression,
        queue_bytes_max: storage.queue_bytes_max as usize,
        raft_memory_bytes_max: storage.raft_memory_bytes_max as usize,
        memory_bytes_max: config.memory.bytes_max as usize,
        topic_defaults: topic_defaults(config)?,
        partitions_default: config.topics.partitions,
        auto_create: config.topics.auto_create,
        topics_count_max: config.topics.count_max,
        when_full,
        forwarding: !config.central.bootstrap.is_empty(),
        clock_trust: crate::machine::clock_trust,
        ..SiteConfig::default()
    })
}

fn store_config(storage: &Storage, disk: &Disk) -> StoreConfig {
    StoreConfig {
        slice_bytes: storage.slice_bytes,
        slices_open_max: storage.slices_open_max as usize,
        cache_bytes: storage.cache_bytes,
        raft_window_bytes: storage.raft_window_bytes,
        bytes_max: storage
            .bytes_max
            .unwrap_or_else(|| bytes_max_by_default(storage, disk)),
        free_bytes_min: storage
            .free_bytes_min
            .unwrap_or_else(|| (disk.bytes / 20).min(512 * MIB)),
        ..StoreConfig::default()
    }
}

/// A quarter of the filesystem, at most 8 GiB, never less than four slices.
fn bytes_max_by_default(storage: &Storage, disk: &Disk) -> u64 {
    (disk.bytes / 4).min(8 * GIB).max(4 * storage.slice_bytes)
}

fn topic_defaults(config: &Config) -> Result<TopicConfig, Failure> {
    let mut defaults = TopicConfig::default();
    for (name, value) in &config.topics.settings {
        let text = match value {
            Value::String(text) => text.clone(),
            other => other.to_string(),
        };
        defaults.set(name, &text).map_err(|error| {
            Failure::new(Exit::CONFIG, format!("{}: [topics] {error}", config.source))
        })?;
    }
    Ok(defaults)
}
