//! A filesystem that fills up under the gateway, by somebody else's file: publishes are refused,
//! reads go on, and room that comes back is used without a restart. Nothing acked is lost.

use std::fs::{self, File};
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use crate::support::gateway::{Gateway, Setup};
use crate::support::load;
use crate::support::mqtt::{Client, End, Hello, Packet};
use crate::support::{proved, scratch, tools};

const PAYLOAD_BYTES: usize = 4000;

/// A small filesystem of its own, unmounted with its value.
struct SmallDisk {
    at: PathBuf,
    _scratch: tempfile::TempDir,
}

impl SmallDisk {
    /// ext4 in a file where the machine has loop devices, memory otherwise.
    fn mount(mib: u64) -> SmallDisk {
        assert!(
            tools::may_mount(),
            "needs root to mount a filesystem; start it through tests/run"
        );
        let scratch = scratch();
        let (at, image) = (scratch.path().join("disk"), scratch.path().join("image"));
        fs::create_dir(&at).unwrap();
        File::create(&image).unwrap().set_len(mib << 20).unwrap();
        let (at_text, image_text) = (at.to_str().unwrap(), image.to_str().unwrap());
        let made = tools::run("mkfs.ext4", &["-q", "-m", "0", image_text])
            .status
            .success();
        let options = ["-o", "loop", image_text, at_text];
        if !(made && tools::run("mount", &options).status.success()) {
            let size = format!("size={mib}m");
            tools::output_of("mount", &["-t", "tmpfs", "-o", &size, "tmpfs", at_text]);
        }
        SmallDisk {
            at,
            _scratch: scratch,
        }
    }

    /// Takes all room but so much.
    fn fill_up_to(&self, left_bytes: u64) -> PathBuf {
        let path = self.at.join("somebody-elses-file");
        let free = self.free();
        let file = File::create(&path).unwrap();
        let taken = free.saturating_sub(left_bytes);
        rustix::fs::fallocate(&file, rustix::fs::FallocateFlags::empty(), 0, taken).unwrap();
        path
    }

    fn free(&self) -> u64 {
        let stat = rustix::fs::statvfs(&self.at).unwrap();
        stat.f_bavail * stat.f_frsize
    }
}

impl Drop for SmallDisk {
    fn drop(&mut self) {
        tools::run("umount", &["-l", self.at.to_str().unwrap()]);
    }
}

/// Publishes numbered messages until one is refused or so many are stored.
fn publish_until_refused(device: &mut Client, from: u32, most: u32) -> (u32, Option<u8>) {
    for number in from..from + most {
        let value = load::value(1, number, PAYLOAD_BYTES);
        let id = device.publish("fill", value.as_bytes(), 1, false);
        match device.try_wait(
            Duration::from_secs(10),
            |p| matches!(p, Packet::Puback { id: i, .. } if *i == id),
        ) {
            Ok(Packet::Puback {
                reason: 0 | 0x10, ..
            }) => {}
            Ok(Packet::Puback { reason, .. }) => return (number, Some(reason)),
            other => panic!("message {number}: {other:?}"),
        }
    }
    (from + most, None)
}

fn start(dir: &Path) -> Gateway {
    let config = "[storage]\nslice_bytes = \"1MiB\"\nslices_open_max = 2\nbytes_max = \"1GiB\"\n\
                  free_bytes_min = \"2MiB\"\ncompression = \"none\"\nwear_gb_per_day = 0\n";
    Setup::on(dir).config(config).start()
}

#[test]
fn a_full_filesystem_refuses_serves_and_resumes() {
    let disk = SmallDisk::mount(96);
    let dir = disk.at.join("data");
    let mut gateway = start(&dir);
    let mut device = Client::connect(gateway.mqtt(), &Hello::v5("device"));
    let (before, refused) = publish_until_refused(&mut device, 0, 1500);
    assert_eq!(refused, None, "there was room for 6 MB on 96 MiB");

    let foreign = disk.fill_up_to(1 << 20);
    let (stored, reason) = publish_until_refused(&mut device, before, 5000);
    assert_eq!(reason, Some(0x97), "quota exceeded");
    let mut live = Client::connect(gateway.mqtt(), &Hello::v3("live"));
    live.subscribe(&[("live", 0)]);
    device.publish("live", b"x", 0, false);
    assert_eq!(live.receive().1, b"x", "QoS 0 stays live");
    let log = gateway.log("mqtt");
    let acked = (0..stored).map(|n| (1, n));
    let fill = |log: &[_]| {
        let of_fill = |r: &&crate::support::gateway::Stored| r.key == "fill";
        log.iter().filter(of_fill).cloned().collect::<Vec<_>>()
    };
    let nobody = Default::default();
    load::check(&fill(&log), acked.clone(), &nobody, PAYLOAD_BYTES).insist("while full");
    let state = gateway.status().to_string();
    assert!(state.contains("storage.full"), "{state}");
    assert!(gateway.is_running());

    gateway.kill9();
    let mut gateway = start(&dir);
    let log = gateway.log("mqtt");
    load::check(&fill(&log), acked.clone(), &nobody, PAYLOAD_BYTES).insist("restarted while full");

    fs::remove_file(foreign).unwrap();
    let mut device = Client::connect(gateway.mqtt(), &Hello::v5("device"));
    let begun = Instant::now();
    // What was refused may be in the log or not; a fresh number is asked from here on.
    let mut next = stored + 10;
    loop {
        let (reached, refused) = publish_until_refused(&mut device, next, 1);
        if refused.is_none() {
            next = reached;
            break;
        }
        assert!(
            begun.elapsed() < Duration::from_secs(30),
            "it does not resume: {refused:?}"
        );
        next += 1;
        std::thread::sleep(Duration::from_millis(200));
    }
    let resumed = begun.elapsed().as_millis();
    let (end, refused) = publish_until_refused(&mut device, next, 300);
    assert_eq!((end, refused), (next + 300, None));
    assert!(gateway.is_running() && device.next(Duration::ZERO) == Err(End::Silent));
    let log = gateway.log("mqtt");
    load::check(
        &fill(&log),
        acked.chain((next..end).map(|n| (1, n))),
        &nobody,
        PAYLOAD_BYTES,
    )
    .insist("after room came back");
    proved(
        "fast",
        &format!(
            "a full filesystem: {stored} acked, 0 lost, all readable meanwhile and after kill -9, \
         resumed {resumed} ms after room came back"
        ),
    );
}
