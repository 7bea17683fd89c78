//! The line of acknowledgements: they leave in the order in which the publishes came.
//!
//! One append carries many publishes, and a read may need more than one append (levels differ).
//! Each publish stands in line with the number of its append; the head leaves once that is spent.
//! A publish of two appends waits for both, and is refused with either.
//!
//! ```text
//! line      p1→7  p2→7  p3→8  p4→7     appends  7: spent   8: waiting
//! leaves    p1 p2                      p4 waits behind p3
//! ```

use std::collections::VecDeque;
use std::sync::Arc;

use edge_site::{Appended, Refused};

use crate::codec::packet::{QoS, Reason};

/// How an append ended.
pub(crate) type Outcome = Result<Appended, Refused>;

/// Where a message went, for the acknowledgement of MQTT 5.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Place {
    pub(crate) topic: Arc<str>,
    pub(crate) partition: u32,
}

/// What is to be said about the publish at the head of the line.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Spent {
    /// It is where it should be.
    Ack {
        pkid: u16,
        qos: QoS,
        user: Vec<(String, String)>,
    },
    /// It was refused before it was appended.
    Refused { pkid: u16, qos: QoS, reason: Reason },
    /// There is no room now.
    Later { pkid: u16, qos: QoS },
    /// It will not be taken later either.
    Never {
        pkid: u16,
        qos: QoS,
        reason: Reason,
        what: &'static str,
    },
    /// Nobody knows; the client has to send it again.
    Lost { reason: Reason, what: &'static str },
}

struct Waiting {
    pkid: u16,
    qos: QoS,
    item: u32,
    request: u64,
    /// An append before it that has its other record.
    other: Option<u64>,
    place: Option<Place>,
    refused: Option<Reason>,
}

struct Request {
    waiting: u32,
    outcome: Option<Outcome>,
}

/// The line.
#[derive(Default)]
pub(super) struct AckQueue {
    line: VecDeque<Waiting>,
    requests: VecDeque<Request>,
    /// Number of the first of `requests`.
    first_request: u64,
}

impl AckQueue {
    pub(super) fn len(&self) -> usize {
        self.line.len()
    }

    pub(super) fn requests(&self) -> usize {
        self.requests.len()
    }

    /// Gives memory back that an empty line does not need.
    pub(super) fn rest(&mut self) {
        if self.line.is_empty() {
            self.line = VecDeque::new();
        }
        if self.requests.is_empty() {
            self.requests = VecDeque::new();
        }
    }

    /// A new append; each number has to be spent once.
    pub(super) fn open(&mut self) -> u64 {
        self.requests.push_back(Request {
            waiting: 0,
            outcome: None,
        });
        self.first_request + self.requests.len() as u64 - 1
    }

    pub(super) fn push(
        &mut self,
        pkid: u16,
        qos: QoS,
        request: u64,
        item: u32,
        place: Option<Place>,
    ) {
        if let Some(request) = self.request(request) {
            request.waiting += 1;
        }
        self.line.push_back(Waiting {
            pkid,
            qos,
            item,
            request,
            other: None,
            place,
            refused: None,
        });
    }

    /// The publish that was pushed last has a record in this append, too.
    pub(super) fn push_other(&mut self, other: u64) {
        if let Some(request) = self.request(other) {
            request.waiting += 1;
        }
        if let Some(last) = self.line.back_mut() {
            last.other = Some(other);
        }
    }

    pub(super) fn push_refused(&mut self, pkid: u16, qos: QoS, reason: Reason) {
        let refused = Some(reason);
        self.line.push_back(Waiting {
            pkid,
            qos,
            item: 0,
            request: 0,
            other: None,
            place: None,
            refused,
        });
    }

    pub(super) fn spend(&mut self, request: u64, outcome: Outcome) {
        if let Some(request) = self.request(request) {
            request.outcome = Some(outcome);
        }
        self.forget_spent();
    }

    /// Takes the head off the line if there is something to say about it.
    pub(super) fn next_spent(&mut self) -> Option<Spent> {
        let head = self.line.front()?;
        let (pkid, qos) = (head.pkid, head.qos);
        if let Some(reason) = head.refused {
            self.line.pop_front();
            return Some(Spent::Refused { pkid, qos, reason });
        }
        let numbers = [head.other, Some(head.request)];
        let outcome = self.outcome_of(numbers.into_iter().flatten())?;
        // Its append was taken, but perhaps without it.
        let alone = outcome.and_then(|appended| {
            let refused = appended.refusal_of(head.item as usize);
            refused.map_or(Ok(appended), Err)
        });
        let spent = match alone {
            Ok(appended) => Spent::Ack {
                pkid,
                qos,
                user: user_properties(head, appended),
            },
            Err(refused) => said(pkid, qos, refused),
        };
        self.line.pop_front();
        for number in numbers.into_iter().flatten() {
            if let Some(request) = self.request(number) {
                request.waiting -= 1;
            }
        }
        self.forget_spent();
        Some(spent)
    }

    /// That of the last of these appends, or the first refusal; `None` = not known yet.
    fn outcome_of(
        &self,
        numbers: impl Iterator<Item = u64>,
    ) -> Option<Result<&Appended, &Refused>> {
        let mut appended = None;
        for number in numbers {
            let at = number.checked_sub(self.first_request)? as usize;
            match self.requests.get(at)?.outcome.as_ref()? {
                Ok(done) => appended = Some(Ok(done)),
                Err(refused) => return Some(Err(refused)),
            }
        }
        appended
    }

    fn request(&mut self, number: u64) -> Option<&mut Request> {
        self.requests
            .get_mut(number.checked_sub(self.first_request)? as usize)
    }

    fn forget_spent(&mut self) {
        while let Some(Request {
            waiting: 0,
            outcome: Some(_),
        }) = self.requests.front()
        {
            self.requests.pop_front();
            self.first_request += 1;
        }
    }
}

fn user_properties(waiting: &Waiting, appended: &Appended) -> Vec<(String, String)> {
    let Some(place) = &waiting.place else {
        return Vec::new();
    };
    let mut user = vec![
        ("edge-ack".to_owned(), appended.level.as_str().to_owned()),
        ("edge-topic".to_owned(), place.topic.to_string()),
        ("edge-partition".to_owned(), place.partition.to_string()),
    ];
    if let Some(offset) = appended.offsets.get(waiting.item as usize) {
        user.push(("edge-offset".to_owned(), offset.to_string()));
    }
    user
}

/// Full and poisoned are for now, too large and not permitted are for ever (README of the door).
fn said(pkid: u16, qos: QoS, refused: &Refused) -> Spent {
    match refused {
        Refused::Full { .. } | Refused::Poisoned { .. } | Refused::ReadOnly => {
            Spent::Later { pkid, qos }
        }
        Refused::TooLarge { .. } => Spent::Never {
            pkid,
            qos,
            reason: Reason::PACKET_TOO_LARGE,
            what: "the message is larger than max.message.bytes of its topic",
        },
        Refused::UnknownTopic => Spent::Never {
            pkid,
            qos,
            reason: Reason::NOT_AUTHORIZED,
            what: "the topic it is routed to does not exist and may not be created",
        },
        Refused::Stopping => Spent::Lost {
            reason: Reason::SERVER_SHUTTING_DOWN,
            what: "the gateway is stopping",
        },
        Refused::NotLeader | Refused::Unknown => Spent::Lost {
            reason: Reason::SERVER_BUSY,
            what: "another gateway leads the site",
        },
    }
}
