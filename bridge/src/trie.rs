//! Subscriptions by filter: which of them match a topic.
//!
//! A tree of levels in one arena. Matching walks it level by level and visits a node at most
//! once, so that it costs what matches, not what is subscribed. Nodes without subscriptions are
//! given back. Pure: what a subscription is, is the caller's business (`V`).

use std::collections::HashMap;

/// All subscriptions, each named by its filter and an id.
pub(crate) struct Trie<V> {
    nodes: Vec<Node<V>>,
    free: Vec<u32>,
    len: usize,
}

struct Node<V> {
    children: HashMap<Box<[u8]>, u32>,
    plus: Option<u32>,
    here: Vec<(u64, V)>,
    /// Subscriptions whose filter goes on with `#` from here.
    below: Vec<(u64, V)>,
}

impl<V> Default for Node<V> {
    fn default() -> Self {
        Node {
            children: HashMap::new(),
            plus: None,
            here: Vec::new(),
            below: Vec::new(),
        }
    }
}

impl<V> Node<V> {
    fn is_empty(&self) -> bool {
        self.children.is_empty()
            && self.plus.is_none()
            && self.here.is_empty()
            && self.below.is_empty()
    }

    fn child(&self, level: &[u8]) -> Option<u32> {
        match level {
            b"+" => self.plus,
            _ => self.children.get(level).copied(),
        }
    }
}

const ROOT: u32 = 0;

impl<V> Trie<V> {
    pub(crate) fn new() -> Self {
        Trie {
            nodes: vec![Node::default()],
            free: Vec::new(),
            len: 0,
        }
    }

    /// How many subscriptions there are.
    pub(crate) fn len(&self) -> usize {
        self.len
    }

    /// Adds a subscription; gives back what it replaces.
    pub(crate) fn insert(&mut self, filter: &[u8], id: u64, value: V) -> Option<V> {
        let (levels, below) = split(filter);
        let mut at = ROOT;
        if let Some(levels) = levels {
            for level in levels.split(|b| *b == b'/') {
                at = self.descend(at, level);
            }
        }
        let node = &mut self.nodes[at as usize];
        let list = if below {
            &mut node.below
        } else {
            &mut node.here
        };
        if let Some((_, old)) = list.iter_mut().find(|(other, _)| *other == id) {
            return Some(std::mem::replace(old, value));
        }
        if list.is_empty() {
            // Most filters have one subscriber, and a vector begins with four places.
            list.reserve_exact(1);
        }
        list.push((id, value));
        self.len += 1;
        None
    }

    /// Takes a subscription away; `None` = there was none.
    pub(crate) fn remove(&mut self, filter: &[u8], id: u64) -> Option<V> {
        let (levels, below) = split(filter);
        let mut path = vec![(ROOT, &b""[..])];
        if let Some(levels) = levels {
            for level in levels.split(|b| *b == b'/') {
                let (at, _) = *path.last()?;
                path.push((self.nodes[at as usize].child(level)?, level));
            }
        }
        let (at, _) = *path.last()?;
        let node = &mut self.nodes[at as usize];
        let list = if below {
            &mut node.below
        } else {
            &mut node.here
        };
        let place = list.iter().position(|(other, _)| *other == id)?;
        let (_, value) = list.swap_remove(place);
        if list.is_empty() {
            *list = Vec::new();
        }
        self.len -= 1;
        self.prune(&path);
        Some(value)
    }

    /// Calls `found` for each subscription that matches the topic.
    pub(crate) fn matches<'a>(&'a self, topic: &[u8], mut found: impl FnMut(u64, &'a V)) {
        if self.len == 0 {
            return;
        }
        // §4.7.2: a wildcard at the first level does not match topics that start with $.
        self.visit(ROOT, Some(topic), !topic.starts_with(b"$"), &mut found);
    }

    /// Whether `found` says yes to some filter. Walks the whole tree: for rare questions.
    pub(crate) fn any_filter(&self, mut found: impl FnMut(&[u8]) -> bool) -> bool {
        self.any_below(ROOT, &mut Vec::new(), true, &mut found)
    }

    fn any_below(
        &self,
        at: u32,
        path: &mut Vec<u8>,
        is_root: bool,
        found: &mut impl FnMut(&[u8]) -> bool,
    ) -> bool {
        let node = &self.nodes[at as usize];
        if !node.here.is_empty() && found(path) {
            return true;
        }
        let length = path.len();
        let step = |path: &mut Vec<u8>, level: &[u8]| {
            path.truncate(length);
            if !is_root {
                path.push(b'/');
            }
            path.extend_from_slice(level);
        };
        if !node.below.is_empty() {
            step(path, b"#");
            if found(path) {
                return true;
            }
        }
        let plus = node.plus.map(|child| (&b"+"[..], child));
        let children = node
            .children
            .iter()
            .map(|(level, child)| (&level[..], *child));
        for (level, child) in children.chain(plus) {
            step(path, level);
            if self.any_below(child, path, false, found) {
                return true;
            }
        }
        path.truncate(length);
        false
    }

    fn visit<'a>(
        &'a self,
        at: u32,
        rest: Option<&[u8]>,
        wildcards: bool,
        found: &mut impl FnMut(u64, &'a V),
    ) {
        let node = &self.nodes[at as usize];
        if wildcards {
            node.below.iter().for_each(|(id, value)| found(*id, value));
        }
        let Some(rest) = rest else {
            return node.here.iter().for_each(|(id, value)| found(*id, value));
        };
        let (level, rest) = match rest.iter().position(|b| *b == b'/') {
            Some(slash) => (&rest[..slash], Some(&rest[slash + 1..])),
            None => (rest, None),
        };
        if let Some(child) = node.children.get(level) {
            self.visit(*child, rest, true, found);
        }
        if let (Some(plus), true) = (node.plus, wildcards) {
            self.visit(plus, rest, true, found);
        }
    }

    fn descend(&mut self, at: u32, level: &[u8]) -> u32 {
        if let Some(child) = self.nodes[at as usize].child(level) {
            return child;
        }
        let child = match self.free.pop() {
            Some(free) => free,
            None => {
                self.nodes.push(Node::default());
                (self.nodes.len() - 1) as u32
            }
        };
        let node = &mut self.nodes[at as usize];
        match level {
            b"+" => node.plus = Some(child),
            _ => drop(node.children.insert(level.into(), child)),
        }
        child
    }

    fn prune(&mut self, path: &[(u32, &[u8])]) {
        for pair in path.windows(2).rev() {
            let [(parent, _), (child, level)] = pair else {
                return;
            };
            if !self.nodes[*child as usize].is_empty() {
                return;
            }
            let parent = &mut self.nodes[*parent as usize];
            match *level {
                b"+" => parent.plus = None,
                _ => drop(parent.children.remove(*level)),
            }
            if parent.children.is_empty() {
                parent.children = HashMap::new();
            }
            self.nodes[*child as usize] = Node::default();
            self.free.push(*child);
        }
    }

    #[cfg(test)]
    fn nodes_in_use(&self) -> usize {
        self.nodes.len() - self.free.len()
    }
}

/// The levels before a trailing `#`, and whether there is one; no levels for `#` alone.
fn split(filter: &[u8]) -> (Option<&[u8]>, bool) {
    match filter {
        b"#" => (None, true),
        _ => match filter.strip_suffix(b"/#") {
            Some(levels) => (Some(levels), true),
            None => (Some(filter), false),
        },
    }
}

/// Whether one filter matches one topic, `$` rule included.
pub(crate) fn filter_matches(filter: &[u8], topic: &[u8]) -> bool {
    if topic.starts_with(b"$") && matches!(filter.first(), Some(b'+' | b'#')) {
        return false;
    }
    let mut topics = topic.split(|b| *b == b'/');
    for level in filter.split(|b| *b == b'/') {
        if level == b"#" {
            return true;
        }
        match topics.next() {
            Some(other) if level == b"+" || level == other => {}
            _ => return false,
        }
    }
    topics.next().is_none()
}

/// Whether some topic could match both filters; errs on the side of yes for `$` topics.
pub(crate) fn filters_overlap(one: &[u8], other: &[u8]) -> bool {
    let mut ones = one.split(|b| *b == b'/');
    let mut others = other.split(|b| *b == b'/');
    loop {
        match (ones.next(), others.next()) {
            (Some(b"#"), _) | (_, Some(b"#")) => return true,
            (Some(a), Some(b)) if a == b || a == b"+" || b == b"+" => {}
            (None, None) => return true,
            _ => return false,
        }
    }
}

#[cfg(test)]
mod tests;
