//! What the client asked for and did not get in full.

/// What the client asked for and did not get in full.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Reductions {
    pub(crate) session: bool,
    pub(crate) subscribe_qos: bool,
    pub(crate) will_qos: bool,
    pub(crate) will_delay: bool,
    pub(crate) shared: bool,
    pub(crate) publish_qos: bool,
}

impl Reductions {
    /// In words, for the log.
    pub(crate) fn words(self) -> Vec<&'static str> {
        let all = [
            (self.session, "its session ends with the connection"),
            (self.subscribe_qos, "QoS 2 subscriptions are granted QoS 1"),
            (self.will_qos, "its will is sent at QoS 1"),
            (self.will_delay, "its will is sent without delay"),
            (self.shared, "shared subscriptions are refused"),
            (
                self.publish_qos,
                "its QoS 2 publishes are stored once per connection, not over a reconnect",
            ),
        ];
        all.into_iter()
            .filter(|(reduced, _)| *reduced)
            .map(|(_, words)| words)
            .collect()
    }
}
