//! From an opened store to running threads: what is checked, replayed and told before.

use std::any::Any;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Arc;
use std::thread::JoinHandle;

use edge_log::{Disk, Recovery, Store};

use crate::config::SiteConfig;
use crate::core::SiteCore;
use crate::error::OpenError;
use crate::link::LinkMonth;
use crate::memory::Memory;
use crate::run::{Clock, Durations, SiteLoop};
use crate::shared::{LogReader, Shared};
use crate::status::OpenReport;
use crate::storage::{Job, Jobs};

/// How much of the log is replayed at a time.
const REPLAY_BYTES: usize = 4 << 20;

pub(super) fn check(config: &SiteConfig) -> Result<Memory, OpenError> {
    let positive = [
        ("queue_bytes_max", config.queue_bytes_max),
        ("queue_count_max", config.queue_count_max),
        ("commit_bytes_max", config.commit_bytes_max),
        ("raft_memory_bytes_max", config.raft_memory_bytes_max),
    ];
    if let Some((name, _)) = positive.iter().find(|(_, value)| *value == 0) {
        return Err(OpenError::Config(format!("{name} must be more than 0")));
    }
    let shares = config.memory_shares();
    let shares = shares.map_err(|shortage| OpenError::Config(shortage.to_string()))?;
    Ok(Memory::new(config.memory_bytes_max, &shares))
}

/// An id of this boot of the machine, and how long ago it was.
pub(super) fn boot() -> (u64, u64) {
    let read = |path| std::fs::read_to_string(path).unwrap_or_default();
    let uptime = read("/proc/uptime");
    let seconds = uptime
        .split_whitespace()
        .next()
        .and_then(|s| s.parse::<f64>().ok());
    let ms = seconds.map_or(0, |s| (s * 1000.0) as u64);
    let id = read("/proc/sys/kernel/random/boot_id");
    let id = uuid::Uuid::parse_str(id.trim())
        .unwrap_or_else(|_| uuid::Uuid::new_v4())
        .as_u64_pair()
        .0;
    (id, ms)
}

pub(super) fn report_of(recovery: &Recovery) -> OpenReport {
    let lost = recovery.lost.iter().map(|lost| {
        let (first, last) = (lost.first_index, lost.last_index);
        format!("log entries {first}..={last}: {}", lost.cause)
    });
    OpenReport {
        store_id: recovery.store_id,
        previous_store_id: recovery.previous_store_id,
        opened_in_ms: 0,
        clean: recovery.clean,
        slices: recovery.slices,
        checkpoint_index: recovery.checkpoint.as_ref().map_or(0, |c| c.index),
        last_index: recovery.last_index,
        frames_replayed: 0,
        lost: lost.collect(),
        quarantined: recovery.quarantined.clone(),
    }
}

pub(super) fn replay<T>(
    core: &mut SiteCore<T>,
    reader: &dyn LogReader,
    clock: &Clock,
) -> Result<(), OpenError> {
    while let Some((from, to)) = core.replay_wants() {
        let read = reader.entries(from, to, REPLAY_BYTES);
        let entries = match read {
            // What retention took is in the checkpoint; the rest begins later.
            Err(edge_log::ReadError::Compacted { first_index }) if first_index > from => {
                reader.entries(first_index, to.max(first_index), REPLAY_BYTES)
            }
            other => other,
        };
        let entries = entries.map_err(|error| OpenError::Storage(error.to_string()))?;
        core.replay(entries, clock.now());
    }
    Ok(())
}

pub(super) fn spawn<D: Disk>(
    core: SiteCore<crate::inbox::Waiter>,
    store: Store<D>,
    shared: &Arc<Shared>,
    clock: Clock,
) -> Result<Vec<JoinHandle<()>>, OpenError> {
    let jobs = Arc::new(Jobs::default());
    let storage = {
        let (jobs, shared) = (jobs.clone(), shared.clone());
        thread("storage", &shared.clone(), move || {
            crate::storage::run(store, &jobs, &shared);
            shared.stopped();
        })?
    };
    let begun_ms = clock.now().mono_ms;
    let mut site_loop = SiteLoop {
        core,
        shared: shared.clone(),
        jobs: jobs.clone(),
        clock,
        clock_seen: None,
        persist_us: Durations::default(),
        link_told: LinkMonth::default(),
        stopping_since: None,
        begun_ms,
    };
    site_loop.begin();
    let site = thread("site", shared, move || {
        // Whatever happens here, the storage thread must not wait for jobs for ever.
        let _stop = StopStorage(jobs);
        site_loop.run();
    })?;
    Ok(vec![storage, site])
}

struct StopStorage(Arc<Jobs>);

impl Drop for StopStorage {
    fn drop(&mut self) {
        self.0.post(Job::Stop);
    }
}

/// What a panic said.
pub(super) fn text_of(panic: &(dyn Any + Send)) -> &str {
    let text = panic.downcast_ref::<String>().map(String::as_str);
    let text = text.or_else(|| panic.downcast_ref::<&str>().copied());
    text.unwrap_or("panic")
}

/// A thread whose panic is told, never silent.
fn thread(
    name: &'static str,
    shared: &Arc<Shared>,
    run: impl FnOnce() + Send + 'static,
) -> Result<JoinHandle<()>, OpenError> {
    let shared = shared.clone();
    let body = move || {
        if let Err(panic) = catch_unwind(AssertUnwindSafe(run)) {
            let why = text_of(panic.as_ref());
            shared.fail(format!("the {name} thread ended: {why}"));
        }
    };
    let spawned = std::thread::Builder::new()
        .name(name.to_owned())
        .spawn(body);
    spawned.map_err(|error| OpenError::Storage(format!("cannot start a thread: {error}")))
}
