//! House rules: what this project wants to stay true of its own source.
//!
//! Each rule says what to do instead. The lists at the top are meant to be read before they are
//! changed: an arrow between packages, a core module or an exception is a decision.

#![allow(clippy::unwrap_used, clippy::print_stdout)]

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

/// Which of our packages may depend on which. Think hard before changing this list.
const ARROWS: [(&str, &[&str]); 6] = [
    ("kafka-wire", &[]),
    ("edge-log", &["kafka-wire"]),
    ("edge-site", &["edge-log", "kafka-wire"]),
    ("bridge", &["edge-log", "edge-site", "kafka-wire"]),
    ("cloud-sync", &["edge-log", "edge-site", "kafka-wire"]),
    (
        "edge-broker",
        &[
            "bridge",
            "cloud-sync",
            "edge-log",
            "edge-site",
            "kafka-wire",
        ],
    ),
];

/// Modules that decide and never act: `now` and everything else is an argument.
const CORES: [&str; 14] = [
    "bridge/src/codec",
    "bridge/src/routes",
    "bridge/src/session",
    "bridge/src/trie",
    "cloud-sync/src/forwarder",
    "edge-broker/kafka-wire/src",
    "edge-broker/site/src/age",
    "edge-broker/site/src/core",
    "edge-broker/site/src/ledger",
    "edge-broker/site/src/retention",
    "edge-broker/site/src/state",
    "edge-broker/site/src/topics",
    "edge-broker/site/src/wear",
    "edge-broker/site/src/window",
];

/// What a core does not know, and what it uses instead.
const BANNED_IN_CORES: [(&str, &str); 10] = [
    ("Instant::now", "take `now: Now`"),
    ("SystemTime::now", "take `now: Now`"),
    ("std::fs", "answer with an output that the shell acts on"),
    ("std::net", "answer with an output that the shell acts on"),
    (
        "std::thread",
        "answer with an output that the shell acts on",
    ),
    ("smol::", "cores are not async; answer with an output"),
    ("async fn", "cores are not async; answer with an output"),
    ("Rng::new()", "take a seed as an argument"),
    (
        "fastrand::u64(",
        "take the random number, or a seed, as an argument",
    ),
    ("Uuid::new_v4", "take the id as an argument"),
];

/// A dependency and the only place that names it (design: each behind one module).
const ONLY_IN: [(&str, &str); 7] = [
    ("sled::", "edge-broker/log/src/sled_disk"),
    ("rumqttd::", "bridge/src/codec"),
    ("raft::", "edge-broker/site/src/"),
    ("kacrab_protocol::", "edge-broker/kafka-wire/src/protocol"),
    ("toml::", "edge-broker/src/config"),
    ("hyper::", "edge-broker/src/admin"),
    ("prometheus_client::", "edge-broker/src/admin/metrics"),
];

/// Words that may not stand in any source, and what to do instead.
const NOWHERE: [(&str, &str); 6] = [
    (concat!("dbg", "!("), "use the log"),
    (concat!("FIX", "ME"), "fix it or write an issue"),
    (concat!("XX", "X"), "fix it or write an issue"),
    (concat!("to", "do!("), "build it or return an error"),
    (
        concat!("unimple", "mented!("),
        "build it or return an error",
    ),
    (
        concat!("#[ig", "nore]"),
        "say what it needs, or put it into a group of tests/run",
    ),
];

/// Words that may not stand in what ships (tests may), and what to do instead.
const NOT_IN_SHIPPED: [(&str, &str); 4] = [
    (
        ".unwrap()",
        "return an error, or `expect` with why it cannot fail",
    ),
    (
        "channel::unbounded",
        "use a bounded channel: every queue has a number",
    ),
    (
        "mpsc::channel(",
        "use mpsc::sync_channel: every queue has a number",
    ),
    (
        "rustix::fs::fdatasync",
        "use File::sync_data, which the crash tests can see",
    ),
];

const COLUMNS_MAX: usize = 100;
/// The longest function, and how many may be longer than the house's 30 lines. Only downwards.
const FUNCTION_LINES_MAX: usize = 90;
const LONG_FUNCTIONS_MAX: usize = 105;
/// Past this somebody asks whether a file is one thing.
const FILE_LINES_MAX: usize = 1000;

struct Source {
    path: String,
    text: String,
}

impl Source {
    /// Tests, benches and stand-ins: not part of what ships.
    fn is_test(&self) -> bool {
        let parts = ["/tests/", "/tests.rs", "/benches/", "/fuzz/", "/examples/"];
        self.path.starts_with("tests/")
            || self.path.starts_with("examples/")
            || self.path.contains("/simulation")
            || parts.iter().any(|p| self.path.contains(p))
    }

    /// Lines with their numbers, without comments.
    fn code(&self) -> impl Iterator<Item = (usize, &str)> {
        let lines = self.text.lines().enumerate().map(|(i, line)| (i + 1, line));
        lines.filter(|(_, line)| !line.trim_start().starts_with("//"))
    }

    /// The same without the unit tests at the end of the file.
    fn shipped_code(&self) -> impl Iterator<Item = (usize, &str)> {
        self.code().take_while(|(_, line)| *line != "mod tests {")
    }
}

fn root() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR"))
        .join("..")
        .canonicalize()
        .unwrap()
}

/// Every Rust file of the repository.
fn sources() -> Vec<Source> {
    let mut found = Vec::new();
    collect(&root(), &mut found);
    let top = root();
    let read = |path: PathBuf| Source {
        text: fs::read_to_string(&path).unwrap(),
        path: path
            .strip_prefix(&top)
            .unwrap()
            .to_str()
            .unwrap()
            .to_owned(),
    };
    let all: Vec<Source> = found.into_iter().map(read).collect();
    assert!(all.len() > 20, "the sources were not found");
    all
}

fn collect(dir: &Path, out: &mut Vec<PathBuf>) {
    for entry in fs::read_dir(dir).unwrap().flatten() {
        let (path, name) = (entry.path(), entry.file_name());
        let name = name.to_string_lossy();
        if path.is_dir() && !name.starts_with('.') && name != "target" {
            collect(&path, out);
        } else if name.ends_with(".rs") {
            out.push(path);
        }
    }
}

/// Fails with every finding and how to mend it.
fn none(rule: &str, findings: &[String]) {
    assert!(findings.is_empty(), "{rule}:\n  {}", findings.join("\n  "));
}

fn words<'s>(
    banned: &[(&str, &str)],
    source: &Source,
    code: impl Iterator<Item = (usize, &'s str)>,
) -> Vec<String> {
    let mut out = Vec::new();
    for (number, line) in code {
        for (word, instead) in banned.iter().filter(|(word, _)| line.contains(word)) {
            out.push(format!("{}:{number}: {word}: {instead}", source.path));
        }
    }
    out
}

#[test]
fn every_file_says_what_it_is() {
    let bare: Vec<String> = sources()
        .iter()
        .filter(|s| !s.text.starts_with("//! "))
        .map(|s| {
            format!(
                "{}: begin with `//! what it is, what it leaves to others`",
                s.path
            )
        })
        .collect();
    none("a file without a head", &bare);
}

#[test]
fn lines_fit_the_page() {
    let mut long = Vec::new();
    for source in sources() {
        let lines = source.text.lines().enumerate();
        let wide = lines.filter(|(_, line)| line.chars().count() > COLUMNS_MAX);
        long.extend(wide.map(|(i, _)| format!("{}:{}", source.path, i + 1)));
    }
    none("lines over 100 columns", &long);
}

#[test]
fn nothing_is_left_behind() {
    let found: Vec<String> = sources()
        .iter()
        .flat_map(|s| words(&NOWHERE, s, s.code()))
        .collect();
    none("left in the code", &found);
}

#[test]
fn what_ships_does_not_unwrap_or_queue_without_bound() {
    let shipped = sources().into_iter().filter(|s| !s.is_test());
    let found: Vec<String> = shipped
        .flat_map(|s| words(&NOT_IN_SHIPPED, &s, s.shipped_code()))
        .collect();
    none("not in what ships", &found);
}

#[test]
fn cores_do_not_act() {
    let all = sources();
    let mut found = Vec::new();
    for core in CORES {
        let of_core = |s: &&Source| s.path.starts_with(core) && !s.is_test();
        let files: Vec<&Source> = all.iter().filter(of_core).collect();
        assert!(
            !files.is_empty(),
            "{core} is listed as a core and is not there"
        );
        found.extend(
            files
                .iter()
                .flat_map(|s| words(&BANNED_IN_CORES, s, s.shipped_code())),
        );
    }
    none("a core decides and never acts", &found);
}

#[test]
fn dependencies_have_one_door() {
    let mut found = Vec::new();
    for source in sources().iter().filter(|s| !s.is_test()) {
        for (name, only) in ONLY_IN
            .iter()
            .filter(|(_, only)| !source.path.starts_with(only))
        {
            let named = |line: &str| {
                line.match_indices(name).any(|(i, _)| {
                    !line[..i].ends_with(|c: char| c.is_alphanumeric() || c == '_' || c == '"')
                })
            };
            let lines = source.code().filter(|(_, line)| named(line));
            found.extend(lines.map(|(n, _)| format!("{}:{n}: {name} only in {only}", source.path)));
        }
    }
    none("a dependency is named outside its module", &found);
}

#[test]
fn arrows_between_packages_are_as_listed() {
    let listed: BTreeMap<&str, BTreeSet<&str>> = ARROWS
        .iter()
        .map(|(name, to)| (*name, to.iter().copied().collect()))
        .collect();
    for manifest in manifests() {
        let text = fs::read_to_string(&manifest).unwrap();
        let name = section(&text, "package").into_iter().find_map(|l| {
            Some(
                l.strip_prefix("name = \"")?
                    .trim_end_matches('"')
                    .to_owned(),
            )
        });
        let name = name.unwrap();
        let allowed = listed.get(name.as_str());
        let allowed = allowed.unwrap_or_else(|| panic!("{name} is a new package: list its arrows"));
        for line in section(&text, "dependencies") {
            let to = line.split(['.', ' ', '=']).next().unwrap();
            let fine = !listed.contains_key(to) || allowed.contains(to);
            assert!(
                fine,
                "{name} → {to} is a new arrow: think, then list it in ARROWS"
            );
        }
    }
}

/// The manifests of the workspace's members.
fn manifests() -> Vec<PathBuf> {
    let text = fs::read_to_string(root().join("Cargo.toml")).unwrap();
    let members = text
        .split("members = [")
        .nth(1)
        .and_then(|t| t.split(']').next())
        .unwrap();
    let names = members.split('"').skip(1).step_by(2);
    names.map(|m| root().join(m).join("Cargo.toml")).collect()
}

fn section<'t>(toml: &'t str, name: &str) -> Vec<&'t str> {
    let head = format!("[{name}]");
    let lines = toml
        .lines()
        .map(str::trim)
        .skip_while(|l| *l != head)
        .skip(1);
    let lines = lines.take_while(|l| !l.starts_with('['));
    lines
        .filter(|l| !l.is_empty() && !l.starts_with('#'))
        .collect()
}

#[test]
fn no_file_is_outside_the_module_tree() {
    let all = sources();
    let texts: BTreeMap<PathBuf, &str> = all
        .iter()
        .map(|s| (root().join(&s.path), s.text.as_str()))
        .collect();
    let mut reached = BTreeSet::new();
    let mut next: Vec<PathBuf> = texts.keys().filter(|p| is_root(p)).cloned().collect();
    while let Some(path) = next.pop() {
        if reached.insert(path.clone()) {
            let text = texts
                .get(&path)
                .unwrap_or_else(|| panic!("{} is named", path.display()));
            next.extend(modules(&path, text, is_root(&path)));
        }
    }
    let lost = texts.keys().filter(|p| !reached.contains(*p));
    let lost: Vec<String> = lost
        .map(|p| format!("{}: nobody names it", p.display()))
        .collect();
    none("outside the module tree: delete it or name it", &lost);
}

/// Files that a manifest or cargo's conventions name.
fn is_root(path: &Path) -> bool {
    let name = path.file_name().unwrap().to_str().unwrap();
    let dir = path.parent().unwrap();
    let kind = dir.file_name().unwrap().to_str().unwrap();
    let of_package = |dir: Option<&Path>| dir.is_some_and(|d| d.join("Cargo.toml").is_file());
    let of_tests = |dir: &Path| ["tests", "benches"].iter().any(|t| dir.ends_with(t));
    let conventional = match kind {
        "src" => matches!(name, "lib.rs" | "main.rs") && of_package(dir.parent()),
        "tests" | "benches" | "examples" => of_package(dir.parent()),
        _ => name == "main.rs" && dir.parent().is_some_and(of_tests),
    };
    conventional || name == "build.rs" || is_named_by_a_manifest(path)
}

/// Whether a manifest above it, or the program's, gives its path.
fn is_named_by_a_manifest(path: &Path) -> bool {
    let program = Path::new(env!("CARGO_MANIFEST_DIR"))
        .canonicalize()
        .unwrap();
    let from_program = Path::new("..").join(path.strip_prefix(root()).unwrap());
    let names = |dir: &Path, relative: &Path| {
        let manifest = fs::read_to_string(dir.join("Cargo.toml")).unwrap_or_default();
        manifest.contains(&format!("\"{}\"", relative.display()))
    };
    names(&program, &from_program)
        || path
            .ancestors()
            .any(|dir| names(dir, path.strip_prefix(dir).unwrap()))
}

/// The files that a file's `mod` lines name.
fn modules(path: &Path, text: &str, is_root: bool) -> Vec<PathBuf> {
    let dir = path.parent().unwrap();
    let stem = path.file_stem().unwrap().to_str().unwrap();
    let home = if is_root || stem == "mod" {
        dir.to_path_buf()
    } else {
        dir.join(stem)
    };
    let mut out = Vec::new();
    let mut given: Option<&str> = None;
    for line in text.lines().map(str::trim) {
        if let Some(rest) = line.strip_prefix("#[path = \"") {
            given = rest.strip_suffix("\"]");
            continue;
        }
        let declared = line
            .trim_start_matches("pub")
            .trim_start_matches("(crate)")
            .trim_start();
        let name = declared
            .strip_prefix("mod ")
            .and_then(|m| m.strip_suffix(';'));
        if let Some(name) = name {
            out.push(match given.take() {
                Some(relative) => dir.join(relative).canonicalize().unwrap(),
                None if home.join(name).with_extension("rs").is_file() => {
                    home.join(name).with_extension("rs")
                }
                None => home.join(name).join("mod.rs"),
            });
        } else if !line.starts_with("#[") && !line.is_empty() {
            given = None;
        }
    }
    out
}

#[test]
fn functions_and_files_stay_small() {
    let mut long = Vec::new();
    let mut too_long = Vec::new();
    for source in sources().iter().filter(|s| !s.is_test()) {
        let lines = source.text.lines().count();
        if lines > FILE_LINES_MAX {
            too_long.push(format!("{}: {lines} lines; is it one thing?", source.path));
        }
        for (name, line, len) in functions(&source.text) {
            let place = format!("{}:{line}: {name}: {len} lines", source.path);
            if len > FUNCTION_LINES_MAX {
                too_long.push(place);
            } else if len > 30 {
                long.push(place);
            }
        }
    }
    none("too long", &too_long);
    let count = long.len();
    assert!(
        count <= LONG_FUNCTIONS_MAX,
        "{count} functions over 30 lines, {LONG_FUNCTIONS_MAX} allowed; shorten one:\n  {}",
        long.join("\n  ")
    );
    assert!(
        count + 20 > LONG_FUNCTIONS_MAX,
        "only {count} functions over 30 lines are left: lower LONG_FUNCTIONS_MAX to that"
    );
}

/// Name, line and length of each function with a body, by rustfmt's indentation.
fn functions(text: &str) -> Vec<(String, usize, usize)> {
    let lines: Vec<&str> = text.lines().collect();
    let mut out = Vec::new();
    for (start, line) in lines.iter().enumerate() {
        let code = line.trim_start();
        let head = code.split("fn ").next().unwrap_or_default();
        let modifiers = [
            "pub",
            "const",
            "async",
            "unsafe",
            "pub(crate)",
            "pub(super)",
            "extern",
        ];
        let is_function =
            code.contains("fn ") && head.split_whitespace().all(|w| modifiers.contains(&w));
        if !is_function || code.ends_with(['}', ';']) {
            continue;
        }
        let indent = &line[..line.len() - code.len()];
        let end = format!("{indent}}}");
        let none = format!("{indent});");
        let rest = lines[start + 1..].iter();
        let len = rest.take_while(|l| **l != end && **l != none).count();
        let name = code.split("fn ").nth(1).unwrap_or_default();
        let name = name.split(['(', '<']).next().unwrap_or_default();
        out.push((name.to_owned(), start + 1, len));
    }
    out
}

#[test]
fn every_configuration_that_ships_is_accepted() {
    let folder = root().join("configs");
    let files: Vec<PathBuf> = fs::read_dir(&folder)
        .unwrap()
        .flatten()
        .map(|e| e.path())
        .filter(|p| p.extension().is_some_and(|e| e == "toml"))
        .collect();
    assert!(
        !files.is_empty(),
        "no configuration in {}",
        folder.display()
    );
    for file in files {
        let mut check = Command::new(env!("CARGO_BIN_EXE_edge-broker"));
        let out = check.arg("check-config").arg(&file).output().unwrap();
        let said = String::from_utf8_lossy(&out.stderr).into_owned();
        assert!(out.status.success(), "{}: {said}", file.display());
    }
}
