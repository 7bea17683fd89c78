//! The preload shim seen from a test: compiled once, loaded into a gateway, and steered.
//!
//! `../shim/shim.c` does the work inside the gateway's process; [`super::recording`] reads what it
//! wrote. Called by the crash tests. Leaves to the caller what to do with the process.

use std::fs::{self, File};
use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::OnceLock;

/// Compiles the shim into the build folder and says where it is.
pub fn library() -> &'static Path {
    static LIBRARY: OnceLock<PathBuf> = OnceLock::new();
    LIBRARY.get_or_init(|| compiled("shim"))
}

/// A preload library made of `../shim/NAME.c`.
pub fn compiled(name: &str) -> PathBuf {
    let sources = Path::new(env!("CARGO_MANIFEST_DIR")).join("../tests/shim");
    let out = super::scratch_root().join(format!("{name}-{}.so", std::process::id()));
    let mut cc = Command::new("cc");
    cc.args(["-O2", "-Wall", "-Wextra", "-shared", "-fPIC", "-o"]);
    let done = cc
        .arg(&out)
        .arg(sources.join(format!("{name}.c")))
        .args(["-ldl", "-lpthread"])
        .status();
    assert!(
        done.expect("a C compiler").success(),
        "{name}.c does not compile"
    );
    out
}

/// What the shim in one process is told to do. Turns into environment variables.
pub struct Shim {
    dir: PathBuf,
    trace: Option<PathBuf>,
    control: Option<PathBuf>,
    kill: Option<String>,
}

impl Shim {
    /// Watches `dir`, which must exist.
    pub fn watching(dir: &Path) -> Shim {
        let dir = dir.canonicalize().expect("the watched folder exists");
        Shim {
            dir,
            trace: None,
            control: None,
            kill: None,
        }
    }

    /// Writes down every change and every send.
    pub fn recording_to(mut self, trace: &Path) -> Shim {
        self.trace = Some(trace.to_path_buf());
        self
    }

    /// Kills the process just before the `n`-th `op` on a path that contains `part`.
    pub fn killing_before(mut self, op: &str, part: &str, n: u32) -> Shim {
        self.kill = Some(format!("{op}:{part}:{n}"));
        self
    }

    /// Lets [`SyncFaults`] fail syncs while the process runs.
    pub fn steered_by(mut self, faults: &SyncFaults) -> Shim {
        self.control = Some(faults.path.clone());
        self
    }

    /// The environment that loads and steers the shim.
    pub fn environment(&self) -> Vec<(String, String)> {
        let text = |p: &Path| p.to_str().expect("a path in UTF-8").to_owned();
        let mut vars = vec![
            ("LD_PRELOAD".to_owned(), text(library())),
            ("EDGE_SHIM_DIR".to_owned(), text(&self.dir)),
        ];
        vars.extend(
            self.trace
                .iter()
                .map(|p| ("EDGE_SHIM_TRACE".to_owned(), text(p))),
        );
        vars.extend(
            self.control
                .iter()
                .map(|p| ("EDGE_SHIM_CONTROL".to_owned(), text(p))),
        );
        vars.extend(
            self.kill
                .iter()
                .map(|k| ("EDGE_SHIM_KILL".to_owned(), k.clone())),
        );
        vars
    }
}

/// The page shared with the shim: fails syncs on demand and counts them.
pub struct SyncFaults {
    path: PathBuf,
    page: File,
}

impl SyncFaults {
    /// Makes the page at `path`.
    pub fn new(path: &Path) -> SyncFaults {
        fs::write(path, [0_u8; 4096]).expect("a file for the control page");
        let page = File::options()
            .read(true)
            .write(true)
            .open(path)
            .expect("the control page");
        SyncFaults {
            path: path.to_path_buf(),
            page,
        }
    }

    /// The `n`-th sync from now fails with EIO (1 = the next one).
    pub fn fail_after(&self, n: u64) {
        self.page
            .write_all_at(&n.to_le_bytes(), 0)
            .expect("the control page");
    }

    /// How many syncs were failed so far.
    pub fn failed(&self) -> u64 {
        self.number(8)
    }

    /// How many syncs were asked for so far.
    pub fn syncs(&self) -> u64 {
        self.number(16)
    }

    /// The file whose sync was failed last, below the watched folder.
    pub fn failed_path(&self) -> String {
        let mut bytes = [0_u8; 256];
        self.page
            .read_exact_at(&mut bytes, 24)
            .expect("the control page");
        let end = bytes.iter().position(|b| *b == 0).unwrap_or(bytes.len());
        String::from_utf8_lossy(&bytes[..end]).into_owned()
    }

    fn number(&self, at: u64) -> u64 {
        let mut bytes = [0_u8; 8];
        self.page
            .read_exact_at(&mut bytes, at)
            .expect("the control page");
        u64::from_le_bytes(bytes)
    }
}
