//! The thread beside the one that appends: it does one job and answers what came of it.
//!
//! Beside the real disk only; on the twin, and where no thread can be had, a job is done in line.
//! What a job does is in `jobs`; `upkeep` hands it over and collects its outcome.

use std::sync::Arc;
use std::sync::mpsc::{Receiver, SyncSender, TryRecvError, sync_channel};
use std::thread::JoinHandle;

use crate::jobs::{self, Job, Outcome};
use crate::shared::Shared;
use crate::{Disk, Store};

pub struct Worker<D: Disk> {
    jobs: Option<SyncSender<Job>>,
    done: Receiver<Outcome<D>>,
    thread: Option<JoinHandle<()>>,
}

impl<D: Disk> Worker<D> {
    fn start(shared: Arc<Shared<D>>) -> std::io::Result<Worker<D>> {
        let (jobs, todo) = sync_channel::<Job>(1);
        let (tell, done) = sync_channel(1);
        let thread = std::thread::Builder::new()
            .name("log-upkeep".into())
            .spawn(move || {
                for job in todo {
                    if tell.send(jobs::run(&shared, job)).is_err() {
                        return;
                    }
                }
            })?;
        Ok(Worker {
            jobs: Some(jobs),
            done,
            thread: Some(thread),
        })
    }
}

impl<D: Disk> Drop for Worker<D> {
    fn drop(&mut self) {
        self.jobs = None;
        if let Some(thread) = self.thread.take() {
            // The last outcome fits the channel, so the thread never waits for us.
            let _ = thread.join();
        }
    }
}

impl<D: Disk> Store<D> {
    /// Has a job done; true when it is done already, and well.
    pub(super) fn hand_over(&mut self, job: Job) -> bool {
        self.upkeep.running = Some(job.kind());
        let Some(job) = self.give_to_worker(job) else {
            return false;
        };
        let outcome = jobs::run(&self.shared, job);
        let worked = !matches!(outcome, Outcome::Failed { .. });
        self.note(outcome);
        worked
    }

    /// Gives a job to the thread; back it comes where there is none.
    fn give_to_worker(&mut self, job: Job) -> Option<Job> {
        if self.upkeep.background && self.upkeep.worker.is_none() {
            self.upkeep.worker = Worker::start(Arc::clone(&self.shared)).ok();
        }
        let jobs = self
            .upkeep
            .worker
            .as_ref()
            .and_then(|worker| worker.jobs.as_ref());
        match jobs {
            Some(jobs) => jobs.send(job).err().map(|unsent| unsent.0),
            None => Some(job),
        }
    }

    /// Takes note of the job that ended, if one did.
    pub(super) fn collect(&mut self, wait: bool) {
        if self.upkeep.running.is_none() {
            return;
        }
        let Some(worker) = self.upkeep.worker.as_ref() else {
            return;
        };
        let outcome = match wait {
            true => worker.done.recv().map_err(|_| TryRecvError::Disconnected),
            false => worker.done.try_recv(),
        };
        match outcome {
            Ok(outcome) => self.note(outcome),
            Err(TryRecvError::Empty) => {}
            Err(TryRecvError::Disconnected) => self.follow_worker(),
        }
    }

    /// The thread ended in the middle of a job, and nobody knows how far it came: the panic goes on
    /// here, where it ends the store.
    fn follow_worker(&mut self) {
        self.upkeep.running = None;
        let thread = self.upkeep.worker.take().and_then(|mut w| w.thread.take());
        if let Some(Err(panic)) = thread.map(JoinHandle::join) {
            std::panic::resume_unwind(panic);
        }
    }
}

#[cfg(test)]
mod tests;
