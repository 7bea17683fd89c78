//! What no single key can be wrong about: keys that do not fit each other.
//!
//! Finds all that is wrong, each with its line. What another mistake may only make look wrong is
//! left out by the caller.

use std::net::{IpAddr, SocketAddr};
use std::path::Path;

use bridge::{BridgeConfig, RouteConfig, StartError};

use super::units::parse_address;
use super::{Config, Disk, Place, Problem, site_config};
use crate::admin::resolve;

impl Config {
    /// Every contradiction; empty is good.
    pub(super) fn across(&self, place: &Place<'_>) -> Vec<Problem> {
        let mut problems = Vec::new();
        for error in self.central.problems() {
            let text = format!("{} {}", error.key, error.reason);
            problems.push(place.problem(&error.key, text));
        }
        problems.extend(self.routes(place));
        problems.extend(self.listeners(place));
        problems.extend(self.stores(place));
        problems
    }

    /// Each route by itself, then all together.
    fn routes(&self, place: &Place<'_>) -> Vec<Problem> {
        let problems: Vec<Problem> = (0..self.bridge.routes.len())
            .flat_map(|at| self.route_alone(at).map(move |error| (at, error)))
            .map(|(at, error)| self.route_problem(&error, at, place))
            .collect();
        if !problems.is_empty() {
            return problems;
        }
        let error = self.bridge.check().err();
        let problem = error.map(|error| self.route_problem(&error, 0, place));
        problem.into_iter().collect()
    }

    /// Its topic and its key each by themselves; with a filter that is none, only that.
    fn route_alone(&self, at: usize) -> impl Iterator<Item = StartError> + use<> {
        let route = &self.bridge.routes[at];
        let plain = RouteConfig {
            topic: "mqtt".into(),
            key: String::new(),
            ..route.clone()
        };
        let topic = RouteConfig {
            topic: route.topic.clone(),
            ..plain.clone()
        };
        let key = RouteConfig {
            key: route.key.clone(),
            ..plain.clone()
        };
        let check = |route| {
            let alone = BridgeConfig {
                routes: vec![route],
                ..self.bridge.clone()
            };
            alone.check().err()
        };
        let errors = match check(plain) {
            Some(error) => [Some(error), None],
            None => [check(topic), check(key)],
        };
        errors.into_iter().flatten()
    }

    /// `at`: the route that was checked alone.
    fn route_problem(&self, error: &StartError, at: usize, place: &Place<'_>) -> Problem {
        let number = |filter: &str| {
            let routes = &self.bridge.routes;
            routes.iter().rposition(|route| route.filter == filter)
        };
        let key = match error {
            StartError::Config { key, .. } => key.replacen("route[0]", &format!("route[{at}]"), 1),
            StartError::RouteConflict { second, .. } => {
                format!("route[{}].filter", number(&second.0).unwrap_or(at))
            }
            StartError::Bind { .. } => "mqtt.listener".into(),
        };
        let text = error.to_string();
        let text = text.replacen("route[0]", &format!("route[{at}]"), 1);
        place.problem(&key, text)
    }

    /// Two doors cannot share an address, however it is written.
    fn listeners(&self, place: &Place<'_>) -> Vec<Problem> {
        let listeners = self.bridge.mqtt.listener.iter().enumerate();
        let listeners = listeners.map(|(at, one)| {
            let key = format!("mqtt.listener[{at}].address");
            (key, bound_by(&one.address))
        });
        let http = ("admin.http".to_owned(), bound_by(&self.admin.http));
        let doors: Vec<(String, Vec<SocketAddr>)> = listeners.chain([http]).collect();
        let taken = |(at, (key, addresses)): (usize, &(String, Vec<SocketAddr>))| {
            let clash = |other: &&(String, Vec<SocketAddr>)| {
                let pairs = other
                    .1
                    .iter()
                    .flat_map(|a| addresses.iter().map(move |b| (a, b)));
                pairs.into_iter().any(|(a, b)| exclude_each_other(a, b))
            };
            let (earlier, _) = doors[..at].iter().find(clash)?;
            let text = format!("{key} is the address of {earlier}: give it a port of its own");
            Some(place.problem(key, text))
        };
        doors.iter().enumerate().filter_map(taken).collect()
    }

    fn stores(&self, place: &Place<'_>) -> Vec<Problem> {
        let storage = &self.storage;
        let mut problems = Vec::new();
        if storage.dir == Path::new("") {
            let text = "storage.dir is empty: name a folder, or \"auto\"";
            problems.push(place.problem("storage.dir", text.into()));
        }
        if storage.commit_interval_ms_relaxed < storage.commit_interval_ms_max {
            let text = "storage.commit_interval_ms_relaxed is below commit_interval_ms_max: QoS 0 \
                        would be committed before QoS 1";
            problems.push(place.problem("storage.commit_interval_ms_relaxed", text.into()));
        }
        if storage
            .bytes_max
            .is_some_and(|bytes| bytes < 4 * storage.slice_bytes)
        {
            let text = "storage.bytes_max is too small: it must hold four slices \
                        (storage.slice_bytes) at least";
            problems.push(place.problem("storage.bytes_max", text.into()));
        }
        // How large the disk is makes no difference to memory.
        let site = site_config(self, &Disk { bytes: 0 });
        if let Some(shortage) = site.ok().and_then(|site| site.memory_shares().err()) {
            problems.push(place.problem("memory.bytes_max", shortage.to_string()));
        }
        problems
    }
}

/// What an address binds; nothing for names, which only a resolver knows, and for port 0, which
/// is another port each time.
fn bound_by(address: &str) -> Vec<SocketAddr> {
    match parse_address(address) {
        Ok((host, port)) if port > 0 && (is_plain(&host)) => resolve(&host, port),
        _ => Vec::new(),
    }
}

fn is_plain(host: &str) -> bool {
    host.is_empty() || host == "localhost" || host.parse::<IpAddr>().is_ok()
}

/// Linux: the IPv6 wildcard takes IPv4's addresses as well.
fn exclude_each_other(one: &SocketAddr, other: &SocketAddr) -> bool {
    let takes = |a: IpAddr, b: IpAddr| a.is_unspecified() && (a.is_ipv6() || b.is_ipv4());
    let (a, b) = (one.ip(), other.ip());
    one.port() == other.port() && (a == b || takes(a, b) || takes(b, a))
}
