//! The forwarder by its outputs: what it asks for, in which order, after which input.
//!
//! [`Bench`] plays a friendly cluster that answers questions and reads at once; a test says what
//! is committed, lets time pass and looks at the requests.
#![allow(clippy::unwrap_used)]

mod identity;
mod refusals;

use edge_site::{Compression, Record, TopicId, TopicPartition};
use kafka_wire::BatchBuilder;

use super::{
    Forwarder,
    tries::Tries,
    types::{
        Broker, Chunk, Class, Control, ControlAnswer, CreateAnswer, Identity, LinkId, LocalMarks,
        LocalTopic, Metadata, Ms, Note, Output, Packed, PartAnswer, ProduceRequest, ReadOutcome,
        ReadRequest, Settings, TopicMetadata, Unreadable,
    },
};
use crate::{
    config::OnRejected,
    error::{ConnectError, Stage},
    status::TopicState,
};

fn settings() -> Settings {
    Settings {
        in_flight_max: 5,
        request_bytes_max: 10_000,
        linger_ms: 500,
        linger_ms_high: 20,
        bytes_per_s_max: 0,
        drain_jitter_ms: 0,
        retry_ms_min: 100,
        retry_ms_max: 1_000,
        park_after_ms: 60_000,
        create_topics: true,
        on_rejected: OnRejected::DeadLetter,
        producer_idle_ms: 600_000,
        held_bytes_max: 1 << 20,
    }
}

struct Bench {
    core: Forwarder,
    now: Ms,
    /// Requests as they were sent, with their time.
    sent: Vec<(Ms, ProduceRequest)>,
    others: Vec<Output>,
    /// Answer of the metadata question for each topic; none = it has leaders.
    missing: Vec<&'static str>,
    leaderless: bool,
    records_per_read: i64,
    /// What is read was stamped by a clock that nobody set yet.
    clock_is_unset: bool,
    /// Central is away: every connection is refused.
    nobody_answers: bool,
    /// Record at which a batch of two begins that cannot be decoded.
    unreadable: Option<i64>,
    /// It is found out only where records are looked at.
    unreadable_inside: bool,
    /// A record that is larger than central takes.
    oversized: Option<i64>,
    ends: Vec<(TopicPartition, i64)>,
    /// Why there is no producer id; none = each question brings the next.
    no_producer: Option<i16>,
    producers: i64,
    /// Topics are there, and the broker that is asked does not know of them.
    unknown: bool,
    questions: u64,
    /// Another broker was asked.
    elsewhere: bool,
    /// What a read says: the topic was deleted.
    gone: bool,
}

fn tp(topic: u128, partition: u32) -> TopicPartition {
    TopicPartition {
        topic: TopicId::from_u128(topic),
        partition,
    }
}

fn topic(id: u128, name: &str, class: Class) -> LocalTopic {
    let central = Ok(name.to_owned());
    LocalTopic {
        id: TopicId::from_u128(id),
        name: name.into(),
        central,
        partitions: 2,
        class,
    }
}

impl Bench {
    fn with(settings: Settings) -> Self {
        let mut core = Forwarder::new(settings, 1, 0);
        core.handle_topics(
            vec![topic(1, "a", Class::Normal), topic(2, "h", Class::High)],
            0,
        );
        let mut bench = Self {
            core,
            now: 0,
            sent: Vec::new(),
            others: Vec::new(),
            missing: Vec::new(),
            leaderless: false,
            records_per_read: 1000,
            clock_is_unset: false,
            nobody_answers: false,
            unreadable: None,
            oversized: None,
            unreadable_inside: false,
            ends: Vec::new(),
            no_producer: None,
            producers: 0,
            unknown: false,
            questions: 0,
            elsewhere: false,
            gone: false,
        };
        for tp in [tp(1, 0), tp(1, 1), tp(2, 0), tp(2, 1)] {
            bench.commit(tp, 0);
        }
        bench.pass(1);
        bench
    }

    fn new() -> Self {
        Self::with(settings())
    }

    fn commit(&mut self, tp: TopicPartition, end: i64) {
        let marks = LocalMarks {
            start: 0,
            committed_end: end,
            forwarded: None,
        };
        self.core.handle_marks(tp, marks);
        self.ends.retain(|(other, _)| *other != tp);
        self.ends.push((tp, end));
        self.settle();
    }

    /// A backlog that is due at once, as after a start.
    fn backlog(settings: Settings, tp: TopicPartition, end: i64, per_read: i64) -> Self {
        let mut core = Forwarder::new(settings, 1, 0);
        core.handle_topics(
            vec![topic(1, "a", Class::Normal), topic(2, "h", Class::High)],
            0,
        );
        let mut bench = Self {
            core,
            records_per_read: per_read,
            ..Self::new()
        };
        bench.now = 0;
        bench.sent.clear();
        for (idle, _) in bench.ends.clone() {
            if idle != tp {
                bench.commit(idle, 0);
            }
        }
        bench.commit(tp, end);
        bench.pass(1);
        bench
    }

    /// Lets time pass, a millisecond at a time.
    fn pass(&mut self, ms: Ms) {
        for _ in 0..ms {
            self.now += 1;
            self.settle();
        }
    }

    fn settle(&mut self) {
        while let Some(output) = self.core.poll_output(self.now) {
            match output {
                Output::Control(question) => {
                    let answer = self.answer(&question);
                    self.core.handle_control_answer(answer, self.now);
                }
                Output::Connect { link, .. } if self.nobody_answers => {
                    let error = ConnectError::new(Stage::Tcp, "b", "refused");
                    self.core.handle_disconnected(link, Some(error), self.now);
                    self.others.push(output);
                }
                Output::Connect { link, .. } => self.core.handle_connected(link, self.now),
                Output::Read(request) if self.gone => {
                    let (tp, number) = (request.tp, request.number);
                    self.core
                        .handle_read(tp, number, ReadOutcome::Gone, self.now);
                }
                Output::Read(request) => {
                    let end = self
                        .ends
                        .iter()
                        .find(|(tp, _)| *tp == request.tp)
                        .unwrap()
                        .1;
                    let next = end.min(request.from + self.records_per_read);
                    let fits = (request.chunk_bytes_max.saturating_sub(61) / 17).max(1) as i64;
                    let limit = i64::from(request.chunk_records_max).min(fits);
                    let chunk = chunk(request.from, next.min(request.from.saturating_add(limit)));
                    let looks = |bad: &i64| request.from <= *bad && self.looks_at(&request, *bad);
                    if let Some(bad) = self.unreadable.filter(looks) {
                        let packed = with_a_hole(request.from, bad, next);
                        let outcome = ReadOutcome::Packed(packed);
                        let now = self.now;
                        self.core
                            .handle_read(request.tp, request.number, outcome, now);
                        continue;
                    }
                    if let Some(at) = self
                        .oversized
                        .filter(|at| (request.from..next).contains(at))
                    {
                        let packed = with_an_oversized(request.from, at, next);
                        let (tp, number) = (request.tp, request.number);
                        let outcome = ReadOutcome::Packed(packed);
                        self.core.handle_read(tp, number, outcome, self.now);
                        continue;
                    }
                    let packed = Packed {
                        stored_bytes: chunk.bytes(),
                        records: chunk.records().into(),
                        chunks: vec![chunk],
                        waits_for_clock: self.clock_is_unset,
                        ..Packed::default()
                    };
                    let outcome = ReadOutcome::Packed(packed);
                    self.core
                        .handle_read(request.tp, request.number, outcome, self.now);
                }
                Output::Send(request) => self.sent.push((self.now, request)),
                other => self.others.push(other),
            }
        }
    }

    fn looks_at(&self, request: &ReadRequest, offset: i64) -> bool {
        !self.unreadable_inside || offset < request.decode_before
    }

    fn producer_id(&mut self) -> ControlAnswer {
        if let Some(code) = self.no_producer {
            return ControlAnswer::ProducerId(Err(code));
        }
        self.producers += 1;
        ControlAnswer::ProducerId(Ok(Identity {
            producer_id: self.producers,
            epoch: 0,
        }))
    }

    fn answer(&mut self, question: &Control) -> ControlAnswer {
        self.questions += 1;
        self.elsewhere |= matches!(question, Control::Metadata { elsewhere, .. } if *elsewhere);
        match question {
            _ if self.nobody_answers => {
                ControlAnswer::Failed(ConnectError::new(Stage::Tcp, "b", "refused"))
            }
            Control::Metadata { topics, .. } => {
                let leader = if self.leaderless { None } else { Some(1) };
                let topic = |name: &String| TopicMetadata {
                    name: name.clone(),
                    error_code: if self.unknown {
                        3
                    } else if self.missing.contains(&name.as_str()) {
                        29
                    } else {
                        0
                    },
                    leaders: vec![(0, leader), (1, leader)],
                };
                ControlAnswer::Metadata(Metadata {
                    brokers: vec![Broker {
                        node: 1,
                        host: "b".into(),
                        port: 9,
                    }],
                    topics: topics.iter().map(topic).collect(),
                })
            }
            Control::InitProducerId => self.producer_id(),
            Control::CreateTopics { topics } => {
                let exists = topics.iter().map(|(name, _)| CreateAnswer {
                    name: name.clone(),
                    error_code: 36,
                    error_message: None,
                });
                ControlAnswer::Created(exists.collect())
            }
            Control::DescribeConfigs { topics } => {
                let known = topics.iter().map(|name| (name.clone(), Some(1 << 20)));
                ControlAnswer::Configs(known.collect())
            }
        }
    }

    /// Answers the oldest request with this code for all its parts.
    fn answer_next(&mut self, error_code: i16) {
        let (_, request) = self.sent.remove(0);
        let answer = PartAnswer {
            error_code,
            ..PartAnswer::default()
        };
        let answers = vec![answer; request.parts.len()];
        self.core
            .handle_produce_response(request.link, request.number, &answers, 0, self.now);
        self.settle();
    }

    fn break_link(&mut self) {
        let error = ConnectError::new(Stage::Broken, "b", "gone");
        let link = LinkId {
            class: Class::Normal,
            node: 1,
        };
        self.sent.clear();
        self.core.handle_disconnected(link, Some(error), self.now);
        self.settle();
    }

    /// (topic-partition, sequence, epoch, records) of what is under way.
    fn under_way(&self) -> Vec<(u32, i32, i16, u32)> {
        let parts = self.sent.iter().flat_map(|(_, request)| &request.parts);
        parts
            .map(|part| {
                let epoch = part.identity.unwrap().epoch;
                (
                    part.tp.partition,
                    part.base_sequence,
                    epoch,
                    part.batch.record_count(),
                )
            })
            .collect()
    }

    fn progress(&self) -> Vec<i64> {
        let marks = self.others.iter().filter_map(|output| match output {
            Output::Progress(_, next) => Some(*next),
            _ => None,
        });
        marks.collect()
    }

    fn state(&self, name: &str) -> (TopicState, Option<Ms>) {
        let list = self.core.topic_status(self.now);
        let topic = list.into_iter().find(|topic| topic.topic == name).unwrap();
        (topic.state, topic.retry_in_ms)
    }
}

fn chunk(from: i64, next: i64) -> Chunk {
    let mut builder = BatchBuilder::new(Compression::None);
    for offset in from..next {
        builder.push(&Record {
            timestamp_ms: offset,
            key: None,
            value: Some(vec![b'x'; 10].into()),
            headers: Vec::new(),
        });
    }
    let batch = builder.build(0, -1);
    Chunk {
        from,
        next,
        runs: vec![(from, (next - from) as u32)],
        batch: Some(batch),
        unreadable: 0,
    }
}

/// Chunks of `from..next` where the two records from `bad` on cannot be decoded.
fn with_a_hole(from: i64, bad: i64, next: i64) -> Packed {
    let hole = Chunk {
        from: bad,
        next: bad + 2,
        runs: Vec::new(),
        batch: None,
        unreadable: 2,
    };
    let before = (from < bad).then(|| chunk(from, bad));
    let after = (bad + 2 < next).then(|| chunk(bad + 2, next));
    Packed {
        chunks: before.into_iter().chain([hole]).chain(after).collect(),
        unreadable: vec![Unreadable {
            from: bad,
            next: bad + 2,
            reason: "garbage".into(),
        }],
        ..Packed::default()
    }
}

/// Chunks of `from..next` where the record at `at` is left out as too large.
fn with_an_oversized(from: i64, at: i64, next: i64) -> Packed {
    let hole = Chunk {
        from: at,
        next: at + 1,
        runs: Vec::new(),
        batch: None,
        unreadable: 0,
    };
    let before = (from < at).then(|| chunk(from, at));
    let after = (at + 1 < next).then(|| chunk(at + 1, next));
    Packed {
        chunks: before.into_iter().chain([hole]).chain(after).collect(),
        oversized: vec![(at, 2_000_000)],
        ..Packed::default()
    }
}

/// A bench that has sent and seen acknowledged one record, so that it is connected and proven.
fn live() -> Bench {
    let mut bench = Bench::backlog(settings(), tp(1, 0), 1, 1000);
    bench.answer_next(0);
    bench.pass(5);
    bench
}

#[test]
fn records_wait_for_company_and_then_go_in_one_request() {
    let mut bench = live();
    let begin = bench.now;
    bench.commit(tp(1, 0), 2);
    bench.pass(300);
    bench.commit(tp(1, 1), 3);
    assert!(bench.sent.is_empty());
    bench.pass(300);
    let (at, request) = &bench.sent[0];
    assert_eq!(*at - begin, 500);
    assert_eq!(
        request.parts.len(),
        2,
        "all partitions of a broker together"
    );
    assert_eq!(bench.sent.len(), 1);
}

#[test]
fn as_much_as_a_request_takes_does_not_wait() {
    let mut bench = live();
    bench.commit(tp(1, 0), 500);
    assert_eq!(bench.sent.len(), 1, "500 records are more than 10 kB");
}

#[test]
fn a_high_topic_has_its_own_link_and_its_own_wait() {
    let mut bench = live();
    bench.commit(tp(2, 0), 1);
    bench.pass(21);
    let (_, request) = &bench.sent[0];
    assert_eq!(request.link.class, Class::High);
}

#[test]
fn one_batch_goes_first_and_five_follow_once_it_is_taken() {
    let mut bench = Bench::backlog(settings(), tp(1, 0), 1000, 100);
    bench
        .core
        .links
        .values_mut()
        .for_each(|link| link.window_bytes = 1 << 20);
    bench.pass(50);
    assert_eq!(bench.under_way(), [(0, 0, 0, 100)]);
    bench.answer_next(0);
    bench.pass(50);
    let sequences: Vec<_> = bench
        .under_way()
        .iter()
        .map(|(_, sequence, ..)| *sequence)
        .collect();
    assert_eq!(sequences, [100, 200, 300, 400, 500]);
}

#[test]
fn a_lost_answer_is_repeated_as_it_was() {
    let mut bench = Bench::backlog(settings(), tp(1, 0), 300, 100);
    bench.answer_next(0);
    bench.pass(50);
    let before = bench.under_way();
    assert_eq!(before.len(), 2);
    bench.break_link();
    bench.pass(1_000);
    assert_eq!(
        bench.under_way(),
        before[..1],
        "the first alone, under its number"
    );
    bench.answer_next(0);
    bench.pass(50);
    assert_eq!(bench.under_way(), before[1..]);
}

#[test]
fn a_forgotten_producer_begins_the_next_epoch_at_sequence_zero() {
    let mut bench = Bench::backlog(settings(), tp(1, 0), 300, 100);
    bench.answer_next(0);
    bench.pass(50);
    bench.answer_next(45);
    bench.answer_next(45);
    bench.pass(1_000);
    assert_eq!(bench.under_way(), [(0, 0, 1, 100)]);
    bench.answer_next(0);
    bench.pass(50);
    assert_eq!(bench.under_way(), [(0, 100, 1, 100)]);
    assert_eq!(bench.progress(), [100, 200]);
}

#[test]
fn what_is_refused_behind_a_refusal_is_sent_again_in_order() {
    let mut bench = Bench::backlog(settings(), tp(1, 0), 300, 100);
    bench.answer_next(0);
    bench.pass(50);
    bench.answer_next(19);
    assert_eq!(
        bench.under_way().len(),
        1,
        "nothing new while something is in flight"
    );
    bench.answer_next(45);
    bench.pass(1_000);
    assert_eq!(bench.under_way(), [(0, 100, 0, 100)]);
}

#[test]
fn a_refused_topic_is_parked_and_tried_again_after_thirty_seconds_then_a_minute() {
    let mut bench = Bench::backlog(settings(), tp(1, 0), 10, 100);
    bench.answer_next(29);
    assert_eq!(bench.state("a"), (TopicState::Parked, Some(30_000)));
    bench.commit(tp(2, 0), 1);
    bench.pass(30);
    assert_eq!(bench.sent.len(), 1, "others go on");
    bench.answer_next(0);
    bench.pass(30_000);
    bench.answer_next(29);
    let (state, retry_in_ms) = bench.state("a");
    assert_eq!(state, TopicState::Parked);
    assert!(retry_in_ms.unwrap() > 59_000);
    assert!(bench.core.handle_retry("a", bench.now));
    bench.pass(2);
    bench.answer_next(0);
    assert_eq!(bench.state("a").0, TopicState::Idle);
    assert_eq!(bench.progress().last(), Some(&10));
}

#[test]
fn a_topic_that_may_not_be_seen_is_parked_by_its_metadata() {
    let mut bench = Bench::new();
    bench.missing = vec!["a"];
    bench.commit(tp(1, 0), 5);
    bench.pass(1_000);
    assert_eq!(bench.state("a").0, TopicState::Parked);
    assert!(bench.sent.is_empty());
}

#[test]
fn a_partition_without_leader_parks_its_topic_after_a_minute() {
    let mut bench = Bench::new();
    bench.leaderless = true;
    bench.commit(tp(1, 0), 5);
    bench.pass(50_000);
    assert_eq!(bench.state("a").0, TopicState::Waiting);
    bench.pass(20_000);
    assert_eq!(bench.state("a").0, TopicState::Parked);
}

#[test]
fn a_mark_waits_for_the_dead_letter_of_the_record_before_it() {
    let mut bench = Bench::backlog(settings(), tp(1, 0), 10, 100);
    let (_, request) = bench.sent.remove(0);
    let record_errors = vec![(3, Some("bad".to_owned()))];
    let answer = PartAnswer {
        error_code: 87,
        record_errors,
        error_message: None,
    };
    bench
        .core
        .handle_produce_response(request.link, request.number, &[answer], 0, bench.now);
    bench.pass(100);
    let asked = bench.others.iter().find_map(|output| match output {
        Output::DeadLetter {
            number, letters, ..
        } => Some((*number, letters.clone())),
        _ => None,
    });
    let (number, letters) = asked.unwrap();
    assert_eq!(letters, [(3, "INVALID_RECORD (87): bad".to_owned())]);
    assert!(bench.sent.is_empty() && bench.progress().is_empty());
    bench
        .core
        .handle_dead_lettered(tp(1, 0), number, Ok(()), bench.now);
    bench.pass(100);
    bench.answer_next(0);
    assert_eq!(bench.progress(), [10]);
}

#[test]
fn a_batch_too_large_is_halved_down_to_the_record() {
    let mut bench = Bench::backlog(settings(), tp(1, 0), 40, 100);
    let mut sizes = Vec::new();
    for _ in 0..4 {
        sizes.push(bench.under_way()[0].3);
        bench.answer_next(10);
        bench.pass(10);
    }
    assert_eq!(sizes, [40, 18, 7, 1]);
    assert!(
        bench
            .others
            .iter()
            .any(|output| matches!(output, Output::DeadLetter { .. }))
    );
}

#[test]
fn a_link_held_to_a_rate_is_held_to_it() {
    let limited = Settings {
        bytes_per_s_max: 20_000,
        ..settings()
    };
    let mut bench = Bench::backlog(limited, tp(1, 0), 20_000, 400);
    let mut bytes = 0;
    while bench.now < 10_000 {
        for (_, request) in std::mem::take(&mut bench.sent) {
            bytes += request
                .parts
                .iter()
                .map(|p| p.batch.bytes().len())
                .sum::<usize>();
            let answers = [PartAnswer::default()];
            bench.core.handle_produce_response(
                request.link,
                request.number,
                &answers,
                0,
                bench.now,
            );
        }
        bench.pass(1);
    }
    assert!(
        (180_000..=230_000).contains(&bytes),
        "{bytes} bytes in 10 s at 20 kB/s"
    );
}

#[test]
fn with_nothing_to_send_nothing_is_sent() {
    let mut bench = live();
    bench.others.clear();
    bench.pass(600_000);
    assert!(bench.others.is_empty() && bench.sent.is_empty());
    assert_eq!(bench.core.deadline_ms(), None, "not even a timer");
}

#[test]
fn records_of_1970_wait_for_the_clock_but_not_for_ever() {
    let mut bench = live();
    bench.clock_is_unset = true;
    bench.commit(tp(1, 0), 5);
    bench.pass(60_000);
    assert!(bench.sent.is_empty());
    bench.clock_is_unset = false;
    bench.pass(1_001);
    assert_eq!(bench.sent.len(), 1, "the clock was set");
    bench.answer_next(0);

    bench.clock_is_unset = true;
    bench.commit(tp(1, 0), 6);
    bench.pass(58_000);
    assert!(bench.sent.is_empty());
    bench.pass(4_000);
    assert_eq!(
        bench.sent.len(),
        1,
        "two minutes after the first could have gone"
    );
}

#[test]
fn refused_connections_are_tried_often_and_count_nothing_against_what_follows() {
    let mut core = Forwarder::new(settings(), 1, 0);
    core.settings.retry_ms_min = 250;
    core.settings.retry_ms_max = 30_000;
    let mut tries = Tries::default();
    for _ in 0..100 {
        tries.failed(true);
        assert!(core.wait_after(tries, true) <= 5_000);
    }
    tries.failed(false);
    assert!(core.wait_after(tries, false) <= 250);
    (0..20).for_each(|_| tries.failed(false));
    let waits: Vec<Ms> = (0..50).map(|_| core.wait_after(tries, false)).collect();
    assert!(waits.iter().all(|ms| (15_000..=30_000).contains(ms)));
}

#[test]
fn while_no_address_answers_only_the_question_probes() {
    let mut bench = live();
    bench.nobody_answers = true;
    bench.break_link();
    bench.commit(tp(1, 0), 5);
    bench.pass(60_000);
    let dials = |output: &&Output| matches!(output, Output::Connect { .. });
    let dialled = bench.others.iter().filter(dials).count();
    assert!(dialled <= 1, "{dialled} times");
    bench.nobody_answers = false;
    bench.pass(200);
    assert_eq!(
        bench.sent.len(),
        1,
        "what the question found is dialled at once"
    );
}

#[test]
fn a_connection_that_broke_while_idle_does_not_leave_central_unreachable() {
    let mut bench = live();
    bench.break_link();
    bench.pass(2_000);
    let (reachable, ..) = bench.core.reachability(bench.now);
    assert!(reachable, "its brokers answer, and nothing waits for it");
}

fn lost(bench: &Bench) -> Vec<Output> {
    let lost = |output: &&Output| matches!(output, Output::Lost(..) | Output::Progress(..));
    bench.others.iter().filter(lost).cloned().collect()
}

#[test]
fn what_cannot_be_decoded_counts_as_lost_and_holds_nothing_up() {
    let mut bench = live();
    bench.others.clear();
    bench.unreadable = Some(4);
    bench.commit(tp(1, 0), 10);
    bench.pass(600);
    assert_eq!(bench.under_way(), [(0, 1, 0, 3), (0, 4, 0, 4)]);
    assert!(
        lost(&bench).is_empty(),
        "not before what is ahead of it is there"
    );
    bench.answer_next(0);
    bench.answer_next(0);
    let told = lost(&bench);
    assert!(matches!(told[0], Output::Lost(_, 2)), "{told:?}");
    assert!(
        matches!(told.last(), Some(Output::Progress(_, 10))),
        "{told:?}"
    );
    bench.pass(60_000);
    assert_eq!(lost(&bench).len(), told.len(), "once");
}

#[test]
fn it_parks_its_topic_with_the_offsets_where_the_operator_wants_that() {
    let parking = Settings {
        on_rejected: OnRejected::Park,
        ..settings()
    };
    let mut bench = Bench::backlog(parking, tp(1, 0), 1, 1000);
    bench.answer_next(0);
    bench.unreadable = Some(4);
    bench.commit(tp(1, 0), 10);
    bench.pass(600);
    assert_eq!(
        bench.under_way(),
        [(0, 1, 0, 3)],
        "what is before it goes first"
    );
    bench.answer_next(0);
    bench.pass(600);
    let status = bench.core.topic_status(bench.now);
    let reason = status[0].reason.clone().unwrap();
    assert!(
        reason.contains("partition 0: records 4 to 5 cannot be decoded: garbage"),
        "{reason}"
    );
    assert_eq!(bench.state("a").0, TopicState::Parked);
    assert_eq!(bench.progress().last(), Some(&4));
    assert!(!lost(&bench).iter().any(|o| matches!(o, Output::Lost(..))));
}
