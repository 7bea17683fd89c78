//! What the core asks for, done: connections, questions, reads, requests, letters, marks.
//!
//! Each is a task of its own that reports by an event; nothing here waits.

use std::{
    sync::Arc,
    time::{Duration, Instant},
};

use edge_site::{LossCause, ReadError, Site, TopicPartition};
use smol::channel::bounded;

use super::{Driver, Event, Running, notes::say};
use crate::{
    dead_letter,
    forwarder::types::{Control, LinkId, Output, ProduceRequest, ReadOutcome, ReadRequest},
    meter::wall_ms,
    packing::{PackThread, Packing},
    producer,
};

/// Requests handed to a link and not yet written.
const LINK_REQUESTS_MAX: usize = 8;
/// On an idle link its bytes are written down so often: a commit costs the card more than they do.
const LINK_TOLD_EVERY: Duration = Duration::from_secs(600);
/// What a read says when packing is not possible.
const NO_THREAD: &str = "the system gave no thread for packing";
const THREAD_ENDED: &str =
    "the packing thread ended by an error, see the log; start the gateway again";

impl Driver {
    /// Does what the core asks for.
    pub(super) fn carry_out(&mut self) {
        loop {
            let now = self.shared.now();
            let Some(output) = self.shared.core().poll_output(now) else {
                return;
            };
            match output {
                Output::Connect { link, host, port } => self.connect(link, host, port),
                Output::Close(link) => drop(self.links.remove(&link)),
                Output::Control(question) => self.ask(question),
                Output::Read(request) => self.read(request),
                Output::Send(request) => self.send(request),
                Output::Progress(tp, next_offset) => {
                    self.progress.insert(tp, next_offset);
                }
                Output::Lost(tp, records) => self.lost.push((tp, records)),
                Output::DeadLetter {
                    tp,
                    number,
                    letters,
                } => self.dead_letter(tp, number, letters),
                Output::Note(note) => say(&note),
            }
        }
    }

    fn connect(&mut self, link: LinkId, host: String, port: u16) {
        let (requests, inbox) = bounded(LINK_REQUESTS_MAX);
        let (dialer, events) = (self.dialer.clone(), self.events.clone());
        let produce = producer::run(dialer, link, (host, port), inbox, events);
        let shared = self.shared.clone();
        let task = smol::spawn(async move { shared.guard("producer", produce).await });
        self.links.insert(
            link,
            Running {
                requests,
                _task: task,
            },
        );
    }

    fn send(&mut self, request: ProduceRequest) {
        let link = request.link;
        let sent = self
            .links
            .get(&link)
            .map(|running| running.requests.try_send(request));
        if !matches!(sent, Some(Ok(()))) {
            // The task has ended; its event is on the way and covers this request too.
            log::trace!("request for a link that has just ended");
        }
    }

    fn ask(&mut self, question: Control) {
        let (dialer, control, events) = (
            self.dialer.clone(),
            self.control.clone(),
            self.events.clone(),
        );
        self.spawn(async move {
            let answer = control.lock().await.ask(&dialer, &question).await;
            let _ = events.send(Event::Control(answer)).await;
        });
    }

    fn read(&mut self, request: ReadRequest) {
        let source = self.source(request.tp);
        let packing = Packing {
            compression: self.config.compression,
            source: source.filter(|_| self.config.source_headers),
            mends: Arc::default(),
        };
        let (site, events) = (self.site.clone(), self.events.clone());
        let packer = self.packer.clone();
        self.spawn(async move {
            let (tp, number) = (request.tp, request.number);
            let outcome = read_and_pack(&site, packer.as_ref(), request, packing).await;
            let _ = events
                .send(Event::Read {
                    tp,
                    number,
                    outcome,
                })
                .await;
        });
    }

    fn dead_letter(&mut self, tp: TopicPartition, number: u64, letters: Vec<(i64, String)>) {
        let source = self.source(tp).unwrap_or_default();
        let (site, events) = (self.site.clone(), self.events.clone());
        self.spawn(async move {
            let written = dead_letter::write(&site, &source, tp, &letters).await;
            let event = Event::DeadLettered {
                tp,
                number,
                written,
            };
            let _ = events.send(event).await;
        });
    }

    /// `site/topic` of a partition, for headers.
    fn source(&self, tp: TopicPartition) -> Option<String> {
        let topic = self.topics.as_ref()?.by_id(tp.topic)?;
        Some(format!("{}/{}", self.site_name, topic.name))
    }

    fn spawn(&mut self, work: impl Future<Output = ()> + Send + 'static) {
        self.tasks.retain(|task| !task.is_finished());
        let shared = self.shared.clone();
        let work = async move { shared.guard("forwarder's task", work).await };
        self.tasks.push(smol::spawn(work));
    }

    /// Losses first: a mark that is durable leaves none behind that is not counted.
    pub(super) async fn store_progress(&mut self) {
        for (tp, records) in std::mem::take(&mut self.lost) {
            self.site
                .shed(LossCause::Undecodable, Some(tp), records)
                .await;
        }
        let idle = self.progress.is_empty();
        if !idle {
            let progress = self.progress.drain().collect();
            self.site.record_progress(progress).await;
        }
        if !idle || self.link_told.elapsed() >= LINK_TOLD_EVERY {
            self.tell_link().await;
        }
    }

    /// Bytes on the link become durable together with progress, and now and then without.
    pub(super) async fn tell_link(&mut self) {
        self.link_told = Instant::now();
        if let Some(used) = self.shared.meter.take(wall_ms()) {
            self.site.record_link(used).await;
        }
    }
}

async fn read_and_pack(
    site: &Site,
    packer: Option<&PackThread>,
    request: ReadRequest,
    mut packing: Packing,
) -> ReadOutcome {
    let batches = match site.read(request.tp, request.from, request.bytes_max).await {
        Ok(batches) => batches,
        Err(ReadError::OffsetOutOfRange { start, end }) => {
            return ReadOutcome::OutOfRange { start, end };
        }
        Err(ReadError::UnknownTopic) => return ReadOutcome::Gone,
        Err(error) => return ReadOutcome::Failed(error.to_string()),
    };
    packing.mends = site.mends(request.tp);
    let Some(packer) = packer else {
        return ReadOutcome::Failed(NO_THREAD.into());
    };
    match packer.pack(batches, request, packing).await {
        Some(packed) => ReadOutcome::Packed(packed),
        None => ReadOutcome::Failed(THREAD_ENDED.into()),
    }
}
