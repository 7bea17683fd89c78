//! Reads topics for `tail`: from a start, through what is there, and on as it commits.
//!
//! ```text
//!  cursors (one per partition) ─▶ Site::read ─▶ records that fit the filter ─▶ lines of JSON
//!        ▲                                                  nothing left: wait for a commit
//!        └────────── new partitions and topics ◀────────────┘
//! ```
//! Memory is one chunk per stream: the next one is read when the socket took the last.

mod damage;
mod newest;

use std::collections::BTreeSet;
use std::time::Instant;

use bytes::Bytes;
use edge_site::{
    CommitWatch, ReadError, Record, RecordBatch, Site, Topic, TopicPartition, read_up_to_damage,
};
use serde::{Deserialize, Serialize};

use super::filter::Filter;
use super::record::{Line, Streamed};
use damage::Damage;

/// Asked of the store at one time.
const READ_BYTES_MAX: usize = 256 << 10;

/// A chunk of lines ends behind the one that makes it as long as this.
const CHUNK_BYTES_MAX: usize = 256 << 10;

/// A batch may not grow beyond this when it is decompressed.
const DECOMPRESSED_BYTES_MAX: usize = 64 << 20;

/// What to read.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Query {
    /// One topic; none = all that devices or people made.
    pub topic: Option<String>,
    /// One partition of it.
    pub partition: Option<u32>,
    /// Where to begin.
    pub start: Start,
    /// Only messages whose MQTT topic fits.
    pub mqtt: Option<String>,
    /// Only this key.
    pub key: Option<String>,
    /// End after so many messages.
    pub count: Option<u64>,
    /// Go on when the end is reached.
    pub follow: bool,
}

/// Where to begin in each partition.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Start {
    /// With the oldest.
    Beginning,
    /// With what commits from now on.
    #[default]
    End,
    /// At this offset.
    Offset(i64),
    /// So many before the end, in each partition.
    Back(i64),
    /// With the newest so many that fit, over all partitions.
    Newest(u64),
    /// With the first that is not older than this wall clock.
    Timestamp(i64),
}

/// Where the stream is in one partition.
struct Cursor {
    topic: String,
    partition: TopicPartition,
    next: i64,
    /// Without `follow`: where the log ended when the stream began.
    end: i64,
    /// Not followed any more: its topic is gone.
    gone: bool,
    /// What is at `next` cannot be read for now.
    damage: Option<Damage>,
}

/// One `tail` under way.
pub struct Tail {
    site: Site,
    query: Query,
    filter: Option<Filter>,
    cursors: Vec<Cursor>,
    known: BTreeSet<TopicPartition>,
    watch: CommitWatch,
    left: u64,
    /// Notes about where it begins, to be said first.
    notes: Vec<u8>,
    /// The partition that is read next, so that all have their turn.
    turn: usize,
}

/// Why a tail cannot begin.
#[derive(Debug)]
pub enum TailError {
    /// No such topic.
    UnknownTopic(String),
    /// No such partition.
    UnknownPartition(u32),
    /// The filter is none.
    Filter(String),
    /// The store cannot be read.
    Read(ReadError),
}

impl Tail {
    /// Finds the partitions and where to begin in them.
    pub async fn open(site: Site, query: Query) -> Result<Tail, TailError> {
        let filter = query.mqtt.as_deref().map(Filter::parse).transpose();
        let filter = filter.map_err(TailError::Filter)?;
        let watch = site.watch();
        let left = query.count.unwrap_or(u64::MAX);
        let mut tail = Tail {
            site,
            query,
            filter,
            cursors: Vec::new(),
            known: BTreeSet::new(),
            watch,
            left,
            notes: Vec::new(),
            turn: 0,
        };
        tail.check_names()?;
        let start = tail.query.start;
        tail.find_partitions(start).await.map_err(TailError::Read)?;
        if let Start::Newest(count) = start {
            tail.seek_newest(count).await;
        }
        Ok(tail)
    }

    fn check_names(&self) -> Result<(), TailError> {
        let Some(name) = &self.query.topic else {
            return Ok(());
        };
        let topics = self.site.topics();
        let topic = topics
            .get(name)
            .ok_or_else(|| TailError::UnknownTopic(name.clone()))?;
        match self.query.partition {
            Some(number) if number >= topic.partitions => Err(TailError::UnknownPartition(number)),
            _ => Ok(()),
        }
    }

    /// The next lines; none at the end. Dropped midway, the lines of this call are read again.
    pub async fn next_chunk(&mut self) -> Option<Bytes> {
        if !self.notes.is_empty() {
            return Some(Bytes::from(std::mem::take(&mut self.notes)));
        }
        loop {
            if self.left == 0 {
                return None;
            }
            let lines = self.read_round().await;
            if !lines.is_empty() {
                return Some(Bytes::from(lines));
            }
            let Some(retry_at) = self.next_read_at() else {
                if !self.query.follow {
                    return None;
                }
                self.wait(None).await;
                continue;
            };
            if retry_at > Instant::now() {
                self.wait(Some(retry_at)).await;
            }
        }
    }

    /// When something is left to read: now, or when damage is looked at again.
    fn next_read_at(&self) -> Option<Instant> {
        let now = Instant::now();
        let left = self.cursors.iter().filter(|cursor| !cursor.gone);
        let left = left.filter(|cursor| match self.query.follow {
            true => self
                .site
                .marks(cursor.partition)
                .is_some_and(|marks| cursor.next < marks.committed_end),
            false => cursor.next < cursor.end,
        });
        left.map(|cursor| cursor.damage.map_or(now, |damage| damage.retry_at))
            .min()
    }

    /// Until something commits, or until that moment.
    async fn wait(&mut self, until: Option<Instant>) {
        let timer = async {
            match until {
                Some(at) => drop(smol::Timer::at(at).await),
                None => smol::future::pending().await,
            }
        };
        smol::future::or(self.watch.changed(), timer).await;
        if self.query.follow
            && let Err(error) = self.find_partitions(Start::Beginning).await
        {
            log::warn!("tail: {error}");
        }
    }

    /// One read of each partition that has something, until a chunk is full.
    async fn read_round(&mut self) -> Vec<u8> {
        let mut out = Vec::new();
        let partitions = self.cursors.len();
        for turn in self.turn..self.turn + partitions {
            if out.len() >= CHUNK_BYTES_MAX {
                break;
            }
            let position = turn % partitions;
            self.turn = (position + 1) % partitions;
            let cursor = &self.cursors[position];
            let Some(end) = self.end_of(cursor) else {
                self.cursors[position].gone = true;
                continue;
            };
            if cursor.next >= end || cursor.gone || self.left == 0 {
                continue;
            }
            if cursor.damage.is_some_and(|damage| damage.is_left_alone()) {
                continue;
            }
            let (partition, next, site) = (cursor.partition, cursor.next, &self.site);
            let read = |at, bytes_max| site.read(partition, at, bytes_max);
            let batches = read_up_to_damage(&read, next, READ_BYTES_MAX).await;
            match batches {
                Err(ReadError::Storage(_)) => self.meet_damage(position, end, &mut out).await,
                batches => self.take(position, end, batches, &mut out),
            }
        }
        out
    }

    /// Up to where a partition is read now; none once it is gone.
    fn end_of(&self, cursor: &Cursor) -> Option<i64> {
        let marks = self.site.marks(cursor.partition)?;
        Some(match self.query.follow {
            true => marks.committed_end,
            false => cursor.end,
        })
    }

    fn take(
        &mut self,
        position: usize,
        end: i64,
        read: Result<Vec<RecordBatch>, ReadError>,
        out: &mut Vec<u8>,
    ) {
        if let Ok(batches) = &read {
            let found = batches.first().map_or(end, RecordBatch::base_offset);
            self.leave_damage(position, found, out);
        }
        match read {
            // Nothing below the committed end: what was there is gone.
            Ok(batches) if batches.is_empty() => self.cursors[position].next = end,
            Ok(batches) => {
                for batch in batches {
                    if out.len() >= CHUNK_BYTES_MAX {
                        break;
                    }
                    self.take_batch(position, &batch, out);
                }
            }
            Err(ReadError::OffsetOutOfRange { start, .. }) => {
                self.skip_to(position, start, end, out)
            }
            Err(error) => {
                let name = self.cursors[position].name();
                failure(out, format!("{name} ends here: {error}"));
                self.cursors[position].gone = true;
            }
        }
    }

    fn skip_to(&mut self, position: usize, start: i64, end: i64, out: &mut Vec<u8>) {
        let cursor = &mut self.cursors[position];
        if start > cursor.next {
            note(
                out,
                format!("{} {}..{start} are gone", cursor.name(), cursor.next),
            );
            cursor.next = start;
        } else {
            cursor.next = end;
        }
    }

    fn take_batch(&mut self, position: usize, batch: &RecordBatch, out: &mut Vec<u8>) {
        let cursor = &mut self.cursors[position];
        match batch.records(DECOMPRESSED_BYTES_MAX) {
            Ok(records) => {
                for record in records {
                    if out.len() >= CHUNK_BYTES_MAX {
                        // The rest of the batch is read again.
                        return;
                    }
                    let Ok((offset, record)) = record else {
                        let cursor = &self.cursors[position];
                        failure(
                            out,
                            format!("{}@{}: damaged batch", cursor.name(), cursor.next),
                        );
                        break;
                    };
                    self.take_record(position, offset, &record, out);
                }
            }
            Err(error) => {
                failure(
                    out,
                    format!("{}@{}: {error}", cursor.name(), batch.base_offset()),
                );
            }
        }
        if self.left > 0 {
            self.cursors[position].next = batch.next_offset();
        }
    }

    /// Writes one record, unless it is before the cursor, behind the end or filtered out.
    fn take_record(&mut self, position: usize, offset: i64, record: &Record, out: &mut Vec<u8>) {
        let cursor = &mut self.cursors[position];
        let behind_end = !self.query.follow && offset >= cursor.end;
        if offset < cursor.next || behind_end || self.left == 0 {
            return;
        }
        cursor.next = offset + 1;
        let line = Line::new(&cursor.topic, cursor.partition.partition, offset, record);
        if self.fits(&line, record) {
            write_line(out, &Streamed::Record(line));
            self.left -= 1;
        }
    }

    /// Whether key and MQTT topic are what is asked for.
    fn fits(&self, line: &Line, record: &Record) -> bool {
        let fits_key = |key: &String| record.key.as_deref() == Some(key.as_bytes());
        let fits_topic = |filter: &Filter| {
            let topic = line.header("mqtt.topic");
            topic.is_some_and(|topic| filter.fits(topic))
        };
        self.query.key.as_ref().is_none_or(fits_key) && self.filter.as_ref().is_none_or(fits_topic)
    }

    /// Adds cursors for partitions that are not followed yet.
    async fn find_partitions(&mut self, start: Start) -> Result<(), ReadError> {
        let topics = self.site.topics();
        let wanted: Vec<_> = topics
            .iter()
            .filter(|topic| self.wants(topic))
            .cloned()
            .collect();
        for topic in wanted {
            for number in 0..topic.partitions {
                let partition = topic.partition(number);
                let chosen = self.query.partition.is_none_or(|only| only == number);
                if chosen && self.known.insert(partition) {
                    self.follow(&topic, partition, start).await?;
                }
            }
        }
        Ok(())
    }

    fn wants(&self, topic: &Topic) -> bool {
        match &self.query.topic {
            Some(name) => *topic.name == **name,
            None => !topic.is_internal(),
        }
    }

    async fn follow(
        &mut self,
        topic: &Topic,
        partition: TopicPartition,
        start: Start,
    ) -> Result<(), ReadError> {
        let Some(marks) = self.site.marks(partition) else {
            return Ok(());
        };
        let (first, end) = (marks.start, marks.committed_end);
        let next = self.place(partition, start, first, end).await?;
        let cursor = Cursor {
            topic: topic.name.to_string(),
            partition,
            next,
            end,
            gone: false,
            damage: None,
        };
        if next > end {
            let text = format!("{} ends at {end}, there is no {next} yet", cursor.name());
            note(&mut self.notes, text);
        }
        self.cursors.push(cursor);
        Ok(())
    }

    /// Where to begin in a partition that has `first..end`.
    async fn place(
        &self,
        partition: TopicPartition,
        start: Start,
        first: i64,
        end: i64,
    ) -> Result<i64, ReadError> {
        Ok(match start {
            Start::Beginning => first,
            Start::End => end,
            Start::Offset(offset) => offset,
            Start::Back(count) => end.saturating_sub(count).max(first),
            Start::Newest(_) => end,
            Start::Timestamp(ms) => self
                .site
                .offset_for_timestamp(partition, ms)
                .await?
                .unwrap_or(end),
        })
    }
}

impl Cursor {
    fn name(&self) -> String {
        format!("{}[{}]", self.topic, self.partition.partition)
    }
}

/// What is gone by retention, and known to be.
fn note(out: &mut Vec<u8>, note: String) {
    write_line(
        out,
        &Streamed::Note {
            note,
            failed: false,
        },
    );
}

/// What should be there and cannot be read.
fn failure(out: &mut Vec<u8>, note: String) {
    write_line(out, &Streamed::Note { note, failed: true });
}

fn write_line(out: &mut Vec<u8>, line: &Streamed) {
    // Plain data: it cannot fail to be JSON.
    if serde_json::to_writer(&mut *out, line).is_ok() {
        out.push(b'\n');
    }
}

#[cfg(test)]
mod tests;
