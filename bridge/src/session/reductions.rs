//! What the client asked for and did not get in full.

/// What the client asked for and did not get in full.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Reductions {
    pub(crate) session: bool,
    pub(crate) subscribe_qos: bool,
    pub(crate) will_qos: bool,
    pub(crate) will_delay: bool,
    pub(crate) shared: bool,
}

impl Reductions {
    /// In words, for one line of log.
    pub(crate) fn words(self) -> Vec<&'static str> {
        let all = [
            (self.session, "its session ends with the connection"),
            (self.subscribe_qos, "QoS 2 subscriptions are granted QoS 1"),
            (self.will_qos, "its will is sent at QoS 1"),
            (self.will_delay, "its will is sent without delay"),
            (self.shared, "shared subscriptions are refused"),
        ];
        all.into_iter()
            .filter(|(reduced, _)| *reduced)
            .map(|(_, words)| words)
            .collect()
    }
}
