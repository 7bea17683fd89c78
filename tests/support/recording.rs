//! What a process did to its folder, read back from the shim's recording.
//!
//! Gives [`Recording`]: the folder before, and every change, sync and send in order. Which images a
//! power cut could have left of it is for [`super::image`]. Called by the crash tests.

use std::collections::BTreeMap;
use std::fs;
use std::ops::Range;
use std::os::unix::fs::MetadataExt;
use std::path::Path;

/// One step of the process, at its place in the order.
#[derive(Debug)]
pub struct Event {
    /// Its number; numbers only grow.
    pub order: u64,
    /// What happened.
    pub step: Step,
}

/// What can happen. Inodes are the kernel's numbers, paths are below the folder.
#[derive(Debug)]
pub enum Step {
    Create {
        inode: u64,
        path: String,
    },
    Open {
        inode: u64,
        path: String,
    },
    Write {
        inode: u64,
        offset: u64,
        data: Range<usize>,
    },
    Truncate {
        inode: u64,
        len: u64,
    },
    /// Room asked for: the file is at least so long.
    Extend {
        inode: u64,
        len: u64,
    },
    Rename {
        from: String,
        to: String,
    },
    Unlink {
        path: String,
    },
    Mkdir {
        inode: u64,
        path: String,
    },
    Rmdir {
        path: String,
    },
    SyncBegin,
    /// `begin` is the order of its beginning: what was written before is covered by it.
    SyncEnd {
        inode: u64,
        begin: u64,
        data_only: bool,
        failed: bool,
    },
    /// `sync_file_range`: promises nothing about a power cut.
    Range,
    /// Bytes on their way to the TCP peer with this port; `len` of them left.
    Send {
        port: u16,
        data: Range<usize>,
        len: usize,
    },
}

/// The folder before the process started: everything in it counts as durable.
#[derive(Debug, Default, Clone)]
pub struct Folder {
    /// The inode of the folder itself.
    pub root: u64,
    /// The names in each folder.
    pub names: BTreeMap<u64, BTreeMap<String, u64>>,
    /// The bytes of each file.
    pub files: BTreeMap<u64, Vec<u8>>,
}

impl Folder {
    /// Reads a folder as it is now. Sockets and other special files are left out.
    pub fn read(dir: &Path) -> Folder {
        let root = fs::metadata(dir).expect("the folder").ino();
        let mut folder = Folder {
            root,
            ..Folder::default()
        };
        folder.read_below(dir, root);
        folder
    }

    fn read_below(&mut self, dir: &Path, inode: u64) {
        let mut names = BTreeMap::new();
        for entry in fs::read_dir(dir).expect("a folder").flatten() {
            let meta = entry.metadata().expect("an entry's metadata");
            let name = entry.file_name().into_string().expect("a name in UTF-8");
            if meta.is_dir() {
                self.read_below(&entry.path(), meta.ino());
            } else if meta.is_file() {
                self.files
                    .insert(meta.ino(), fs::read(entry.path()).expect("a file"));
            } else {
                continue;
            }
            names.insert(name, meta.ino());
        }
        self.names.insert(inode, names);
    }

    /// Every file with its path, for comparing folders.
    pub fn by_path(&self) -> BTreeMap<String, &Vec<u8>> {
        let mut out = BTreeMap::new();
        self.collect(self.root, "", &mut out);
        out
    }

    fn collect<'a>(&'a self, dir: u64, prefix: &str, out: &mut BTreeMap<String, &'a Vec<u8>>) {
        for (name, inode) in self.names.get(&dir).into_iter().flatten() {
            let path = format!("{prefix}{name}");
            match self.files.get(inode) {
                Some(bytes) => drop(out.insert(path, bytes)),
                None => self.collect(*inode, &format!("{path}/"), out),
            }
        }
    }

    /// The inode a path names.
    pub fn find(&self, path: &str) -> Option<u64> {
        path.split('/')
            .filter(|part| !part.is_empty())
            .try_fold(self.root, |dir, name| {
                self.names.get(&dir)?.get(name).copied()
            })
    }

    /// The folder and the last name of a path.
    pub fn parent<'p>(&self, path: &'p str) -> Option<(u64, &'p str)> {
        let (dir, name) = path.rsplit_once('/').unwrap_or(("", path));
        Some((self.find(dir)?, name))
    }

    /// Writes the folder out at `dir`.
    pub fn write(&self, dir: &Path) {
        self.write_below(self.root, dir);
    }

    fn write_below(&self, inode: u64, dir: &Path) {
        fs::create_dir_all(dir).expect("a folder for the image");
        for (name, child) in self.names.get(&inode).into_iter().flatten() {
            match self.files.get(child) {
                Some(bytes) => fs::write(dir.join(name), bytes).expect("a file of the image"),
                None => self.write_below(*child, &dir.join(name)),
            }
        }
    }
}

/// A folder and what one process then did to it.
pub struct Recording {
    /// The folder before.
    pub before: Folder,
    /// What happened, in order.
    pub events: Vec<Event>,
    /// The paths of the change the process was killed in: made or not, it is no event.
    pub cut_short: Vec<String>,
    bytes: Vec<u8>,
}

const HEAD: usize = 48;

impl Recording {
    /// Reads the shim's file. Panics on a step that the replayer does not know.
    pub fn read(before: Folder, trace: &Path) -> Recording {
        let bytes = fs::read(trace).expect("the shim's recording");
        let mut recording = Recording {
            before,
            events: Vec::new(),
            cut_short: Vec::new(),
            bytes,
        };
        let mut sends = BTreeMap::new();
        let mut syncs = BTreeMap::new();
        let mut at = 0;
        while let Some(raw) = Raw::at(&recording.bytes, at) {
            at = raw.data.end;
            let order = raw.order;
            match raw.op {
                10 => drop(syncs.insert(order, raw.a == 1)),
                14 => drop(sends.insert(order, recording.events.len())),
                15 => {
                    recording.sent(sends.remove(&raw.a), raw.b as usize);
                    continue;
                }
                17 => {
                    let paths = [raw.path, raw.path2].map(|r| text(&recording.bytes, &r));
                    recording.cut_short = paths.into();
                    continue;
                }
                18 => {
                    recording.cut_short.clear();
                    continue;
                }
                _ => {}
            }
            if let Some(step) = raw.step(&recording.bytes, &syncs) {
                recording.events.push(Event { order, step });
            }
        }
        recording
    }

    /// A send ended: only so many of its bytes left. One that never ended counts whole.
    fn sent(&mut self, event: Option<usize>, bytes: usize) {
        let step = event
            .and_then(|i| self.events.get_mut(i))
            .map(|e| &mut e.step);
        if let Some(Step::Send { len, .. }) = step {
            *len = bytes;
        }
    }

    /// The bytes of a write or a send.
    pub fn data(&self, range: &Range<usize>) -> &[u8] {
        &self.bytes[range.clone()]
    }

    /// (port, packet id) of every PUBACK that left before the `cut`-th event.
    pub fn acked_before(&self, cut: usize) -> Vec<(u16, u16)> {
        let mut streams: BTreeMap<u16, Vec<u8>> = BTreeMap::new();
        for event in &self.events[..cut] {
            if let Step::Send { port, data, len } = &event.step {
                let stream = streams.entry(*port).or_default();
                stream.extend_from_slice(&self.data(data)[..*len]);
            }
        }
        streams
            .iter()
            .flat_map(|(port, stream)| pubacks(stream).into_iter().map(|id| (*port, id)))
            .collect()
    }
}

/// The packet ids of the PUBACKs in what a server sent.
fn pubacks(stream: &[u8]) -> Vec<u16> {
    let mut out = Vec::new();
    let mut rest = stream;
    while let Some((first, body, after)) = super::mqtt::split_frame(rest) {
        if first >> 4 == 4 {
            out.push(u16::from_be_bytes([body[0], body[1]]));
        }
        rest = after;
    }
    out
}

fn text(bytes: &[u8], range: &Range<usize>) -> String {
    String::from_utf8_lossy(&bytes[range.clone()]).into_owned()
}

/// One line of the shim's file as it stands there.
struct Raw {
    order: u64,
    inode: u64,
    a: u64,
    b: u64,
    op: u32,
    path: Range<usize>,
    path2: Range<usize>,
    data: Range<usize>,
}

impl Raw {
    /// The line at `at`; nothing when the process was killed in the middle of it.
    fn at(bytes: &[u8], at: usize) -> Option<Raw> {
        let head = bytes.get(at..at + HEAD)?;
        let long = |i: usize| u64::from_le_bytes(head[i..i + 8].try_into().unwrap());
        let short = |i: usize| u32::from_le_bytes(head[i..i + 4].try_into().unwrap());
        let path = at + HEAD..at + HEAD + short(36) as usize;
        let path2 = path.end..path.end + short(40) as usize;
        let data = path2.end..path2.end + short(44) as usize;
        bytes.get(data.clone())?;
        let (order, inode, a, b, op) = (long(0), long(8), long(16), long(24), short(32));
        Some(Raw {
            order,
            inode,
            a,
            b,
            op,
            path,
            path2,
            data,
        })
    }

    fn step(&self, bytes: &[u8], syncs: &BTreeMap<u64, bool>) -> Option<Step> {
        let path = text(bytes, &self.path);
        let (inode, data) = (self.inode, self.data.clone());
        Some(match self.op {
            1 => return None,
            2 => Step::Create { inode, path },
            3 => Step::Open { inode, path },
            4 => Step::Write {
                inode,
                offset: self.a,
                data,
            },
            5 => Step::Truncate { inode, len: self.a },
            6 => Step::Rename {
                from: path,
                to: text(bytes, &self.path2),
            },
            7 => Step::Unlink { path },
            8 => Step::Mkdir { inode, path },
            9 => Step::Rmdir { path },
            10 => Step::SyncBegin,
            11 => {
                let data_only = syncs.get(&self.a).copied().unwrap_or(true);
                Step::SyncEnd {
                    inode,
                    begin: self.a,
                    data_only,
                    failed: self.b != 0,
                }
            }
            12 => Step::Range,
            13 => Step::Extend {
                inode,
                len: self.a + self.b,
            },
            14 => Step::Send {
                port: self.a as u16,
                len: data.len(),
                data,
            },
            op => panic!("the replayer does not know step {op} ({path}): teach both sides"),
        })
    }
}
