//! What an error code of central means for the partition it came for.
//!
//! One table, so that nobody else compares codes. Names are Kafka's.

use super::types::PartAnswer;

const UNKNOWN_SERVER_ERROR: i16 = -1;
pub(crate) const NONE: i16 = 0;
const CORRUPT_MESSAGE: i16 = 2;
pub(crate) const UNKNOWN_TOPIC_OR_PARTITION: i16 = 3;
const LEADER_NOT_AVAILABLE: i16 = 5;
const NOT_LEADER_OR_FOLLOWER: i16 = 6;
const REQUEST_TIMED_OUT: i16 = 7;
const MESSAGE_TOO_LARGE: i16 = 10;
pub(crate) const INVALID_TOPIC_EXCEPTION: i16 = 17;
const RECORD_LIST_TOO_LARGE: i16 = 18;
const NOT_ENOUGH_REPLICAS: i16 = 19;
const NOT_ENOUGH_REPLICAS_AFTER_APPEND: i16 = 20;
pub(crate) const TOPIC_AUTHORIZATION_FAILED: i16 = 29;
pub(crate) const CLUSTER_AUTHORIZATION_FAILED: i16 = 31;
const INVALID_TIMESTAMP: i16 = 32;
pub(crate) const TOPIC_ALREADY_EXISTS: i16 = 36;
const INVALID_PARTITIONS: i16 = 37;
const INVALID_REPLICATION_FACTOR: i16 = 38;
const INVALID_CONFIG: i16 = 40;
const INVALID_REQUEST: i16 = 42;
const UNSUPPORTED_FOR_MESSAGE_FORMAT: i16 = 43;
const POLICY_VIOLATION: i16 = 44;
const OUT_OF_ORDER_SEQUENCE_NUMBER: i16 = 45;
const DUPLICATE_SEQUENCE_NUMBER: i16 = 46;
const INVALID_PRODUCER_EPOCH: i16 = 47;
const INVALID_TXN_STATE: i16 = 48;
const INVALID_PRODUCER_ID_MAPPING: i16 = 49;
const KAFKA_STORAGE_ERROR: i16 = 56;
const UNKNOWN_PRODUCER_ID: i16 = 59;
const FENCED_LEADER_EPOCH: i16 = 74;
const UNSUPPORTED_COMPRESSION_TYPE: i16 = 76;
const INVALID_RECORD: i16 = 87;
const PRODUCER_FENCED: i16 = 90;
const UNSUPPORTED_VERSION: i16 = 35;
const INVALID_REQUIRED_ACKS: i16 = 21;

/// Stands for a partition that an answer leaves out: perhaps appended.
pub(crate) const NO_ANSWER: i16 = REQUEST_TIMED_OUT;

/// What to do after an answer for one batch.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Outcome {
    /// It is there (or was already).
    Appended,
    /// Whoever answered does not lead now, but may have when it appended: ask who leads and send
    /// the very same again.
    Moved,
    /// Not appended; send again later.
    Retry,
    /// Perhaps appended; send the very same again later.
    Unknown,
    /// Central failed at it in a way it did not foresee, as it does where it cannot unpack a batch.
    Failed,
    /// The producer's state is gone there: start a new sequence under the next epoch.
    Resequence,
    /// The producer id itself is of no use any more: ask for a new one.
    NewProducer,
    /// The cluster does not let us be an idempotent producer.
    NoIdempotence,
    /// The batch is too large.
    TooLarge,
    /// Some records are refused for themselves; empty = it does not say which.
    Rejected(Vec<(u32, String)>),
    /// The topic is refused.
    Park(String),
}

/// Reads one answer.
pub(crate) fn classify(answer: &PartAnswer, central_topic: &str) -> Outcome {
    match answer.error_code {
        NONE | DUPLICATE_SEQUENCE_NUMBER => Outcome::Appended,
        UNKNOWN_TOPIC_OR_PARTITION
        | LEADER_NOT_AVAILABLE
        | NOT_LEADER_OR_FOLLOWER
        | KAFKA_STORAGE_ERROR
        | FENCED_LEADER_EPOCH => Outcome::Moved,
        NOT_ENOUGH_REPLICAS => Outcome::Retry,
        UNKNOWN_SERVER_ERROR => Outcome::Failed,
        REQUEST_TIMED_OUT | NOT_ENOUGH_REPLICAS_AFTER_APPEND => Outcome::Unknown,
        OUT_OF_ORDER_SEQUENCE_NUMBER | UNKNOWN_PRODUCER_ID => Outcome::Resequence,
        INVALID_PRODUCER_EPOCH | INVALID_PRODUCER_ID_MAPPING | PRODUCER_FENCED => {
            Outcome::NewProducer
        }
        CLUSTER_AUTHORIZATION_FAILED => Outcome::NoIdempotence,
        MESSAGE_TOO_LARGE | RECORD_LIST_TOO_LARGE => Outcome::TooLarge,
        INVALID_RECORD | INVALID_TIMESTAMP | CORRUPT_MESSAGE | INVALID_TXN_STATE => {
            Outcome::Rejected(rejected(answer))
        }
        code if parks(code) => Outcome::Park(refusal(
            code,
            answer.error_message.as_deref(),
            central_topic,
        )),
        // Nobody knows what became of it.
        _ => Outcome::Unknown,
    }
}

impl Outcome {
    /// Whether the batch may be there all the same: a leader that is deposed while it waits for
    /// its replicas says "not leader", and the next leader has the batch.
    pub fn is_perhaps_appended(&self) -> bool {
        matches!(self, Self::Moved | Self::Unknown | Self::Failed)
    }
}

fn parks(code: i16) -> bool {
    matches!(
        code,
        INVALID_TOPIC_EXCEPTION
            | TOPIC_AUTHORIZATION_FAILED
            | INVALID_REQUEST
            | UNSUPPORTED_FOR_MESSAGE_FORMAT
            | POLICY_VIOLATION
            | UNSUPPORTED_COMPRESSION_TYPE
            | INVALID_REQUIRED_ACKS
            | UNSUPPORTED_VERSION
    )
}

fn rejected(answer: &PartAnswer) -> Vec<(u32, String)> {
    let why = |message: &Option<String>| {
        let text = message.as_ref().or(answer.error_message.as_ref());
        text.cloned().unwrap_or_else(|| name(answer.error_code))
    };
    let errors = answer.record_errors.iter();
    errors
        .filter_map(|(i, message)| Some((u32::try_from(*i).ok()?, why(message))))
        .collect()
}

/// Whether the cluster will never give us a producer id.
pub(crate) fn forbids_idempotence(code: i16) -> bool {
    matches!(
        code,
        CLUSTER_AUTHORIZATION_FAILED | UNSUPPORTED_VERSION | INVALID_REQUEST
    )
}

/// Whether `CreateTopics` can never work as it is, and why.
pub(crate) fn creation_refused(code: i16, message: Option<&str>, topic: &str) -> Option<String> {
    let for_good = parks(code)
        || matches!(
            code,
            CLUSTER_AUTHORIZATION_FAILED
                | INVALID_PARTITIONS
                | INVALID_REPLICATION_FACTOR
                | INVALID_CONFIG
        );
    let said = message.map(|text| format!(" ({text})")).unwrap_or_default();
    for_good.then(|| format!("central refuses to create {topic}: {}{said}", name(code)))
}

/// A refusal of a topic in words.
pub(crate) fn refusal(code: i16, message: Option<&str>, topic: &str) -> String {
    let said = message.map(|text| format!(" ({text})")).unwrap_or_default();
    match code {
        TOPIC_AUTHORIZATION_FAILED => format!("central refuses Write or Describe on {topic}{said}"),
        INVALID_TOPIC_EXCEPTION => format!("central refuses the name {topic}{said}"),
        POLICY_VIOLATION => format!("a policy of central refuses {topic}{said}"),
        UNSUPPORTED_COMPRESSION_TYPE => {
            format!(
                "central does not know this compression, set central.compression: {topic}{said}"
            )
        }
        _ => format!("central refuses {topic}: {}{said}", name(code)),
    }
}

/// A code with Kafka's name for it.
pub(crate) fn name(code: i16) -> String {
    kafka_wire::protocol::ErrorCode(code).to_string()
}
