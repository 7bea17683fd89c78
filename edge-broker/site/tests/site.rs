//! The handle with its threads, on the disk in memory and on sled.
#![allow(clippy::unwrap_used)]

use std::cell::RefCell;
use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering::Relaxed};

use bytes::Bytes;
use edge_log::sim::MemDisk;
use edge_log::{Disk, Entry, EntryKind, Store};
use edge_site::{
    AckLevel, AppendRequest, Record, Refused, Site, SiteConfig, StoreConfig, Topic, TopicError,
    TopicPartition,
};

fn config() -> SiteConfig {
    let store = StoreConfig {
        slice_bytes: 1 << 20,
        bytes_max: 1 << 30,
        free_bytes_min: 1 << 20,
        ballast_bytes: 0,
        ..StoreConfig::default()
    };
    SiteConfig {
        store,
        ..SiteConfig::default()
    }
}

fn record(text: &str) -> Record {
    Record {
        timestamp_ms: 1_800_000_000_000,
        key: None,
        value: Some(Bytes::copy_from_slice(text.as_bytes())),
        headers: vec![],
    }
}

fn request(tp: TopicPartition, texts: &[&str]) -> AppendRequest {
    let items = texts.iter().map(|text| (tp, record(text))).collect();
    AppendRequest::records(items, AckLevel::Disk)
}

async fn append(site: &Site, tp: TopicPartition, texts: &[&str]) -> Vec<i64> {
    site.append(request(tp, texts))
        .await
        .unwrap()
        .await
        .unwrap()
        .offsets
}

async fn topic(site: &Site, name: &str) -> Arc<Topic> {
    site.ensure_topic(name).await.unwrap()
}

async fn texts(site: &Site, tp: TopicPartition, from: i64) -> Vec<(i64, String)> {
    let mut out = Vec::new();
    for batch in site.read(tp, from, 1 << 20).await.unwrap() {
        for record in batch.records(1 << 24).unwrap() {
            let (offset, record) = record.unwrap();
            out.push((
                offset,
                String::from_utf8(record.value.unwrap().to_vec()).unwrap(),
            ));
        }
    }
    out
}

#[test]
fn what_is_acknowledged_is_read_back_also_after_a_restart() {
    smol::block_on(async {
        let disk = MemDisk::new(1);
        let (site, report) = Site::open_on(disk.clone(), config()).unwrap();
        assert_eq!(report.last_index, 0);
        let tp = topic(&site, "a").await.partition(0);
        assert_eq!(append(&site, tp, &["one", "two"]).await, [0, 1]);
        assert_eq!(append(&site, tp, &["three"]).await, [2]);
        let expected = [(0, "one".into()), (1, "two".into()), (2, "three".into())];
        assert_eq!(texts(&site, tp, 0).await, expected);
        site.stop().await;
        assert_eq!(
            site.append(request(tp, &["late"])).await.err(),
            Some(Refused::Stopping)
        );

        let (site, report) = Site::open_on(disk.power_cut(), config()).unwrap();
        assert!(report.clean, "{report:?}");
        let marks = site.marks(topic(&site, "a").await.partition(0)).unwrap();
        assert_eq!((marks.start, marks.committed_end, marks.end), (0, 3, 3));
        assert_eq!(texts(&site, tp, 0).await, expected);
        assert_eq!(append(&site, tp, &["four"]).await, [3]);
        site.stop().await;
    });
}

#[test]
fn frames_come_in_log_order_from_memory_and_from_the_log() {
    smol::block_on(async {
        let disk = MemDisk::new(1);
        let (site, _) = Site::open_on(disk.clone(), config()).unwrap();
        let tp = topic(&site, "a").await.partition(0);
        let mut live = site.frames(None);
        for text in ["one", "two", "three"] {
            append(&site, tp, &[text]).await;
        }
        let mut bases = Vec::new();
        for _ in 0..3 {
            bases.push(live.next().await.unwrap().batches[0].1.base_offset());
        }
        assert_eq!(bases, [0, 1, 2]);
        assert!(live.try_next().is_none());
        site.stop().await;

        let (site, _) = Site::open_on(disk.restarted(), config()).unwrap();
        append(&site, tp, &["four"]).await;
        let mut all = site.frames(Some(1));
        let mut bases = Vec::new();
        for _ in 0..4 {
            bases.push(all.next().await.unwrap().batches[0].1.base_offset());
        }
        assert_eq!(bases, [0, 1, 2, 3]);
        let mut far = site.frames(Some(1));
        far.next().await.unwrap();
        assert!(far.held_bytes() > 0, "the next ones are read ahead");
        let mut near = site.frames(Some(1)).reading(1);
        near.next().await.unwrap();
        assert_eq!(near.held_bytes(), 0);
        assert_eq!(near.next().await.unwrap().batches[0].1.base_offset(), 1);
        site.stop().await;
        assert!(
            all.next().await.is_err(),
            "the end of the site is not a hang"
        );
    });
}

#[test]
fn topics_are_created_changed_deleted() {
    smol::block_on(async {
        let (site, _) = Site::open_on(MemDisk::new(1), config()).unwrap();
        let settings = BTreeMap::from([("retention.ms".to_owned(), "1000".to_owned())]);
        let created = site.create_topic("t", Some(3), &settings).await.unwrap();
        assert_eq!((created.partitions, created.config.retention_ms), (3, 1000));
        let again = site.create_topic("t", None, &settings).await.unwrap_err();
        assert_eq!(again, TopicError::Exists("t".into()));
        let fewer = site
            .alter_topic("t", Some(2), &BTreeMap::new())
            .await
            .unwrap_err();
        assert_eq!(
            fewer,
            TopicError::InvalidPartitions {
                partitions: 2,
                partitions_min: 3
            }
        );
        let more = site
            .alter_topic("t", Some(5), &BTreeMap::new())
            .await
            .unwrap();
        assert_eq!((more.id, more.partitions), (created.id, 5));
        site.delete_topic("t").await.unwrap();
        assert!(site.topics().get("t").is_none());
        let refused = site
            .append(request(created.partition(0), &["x"]))
            .await
            .unwrap()
            .await;
        assert_eq!(refused, Err(Refused::UnknownTopic));
        let retained = topic(&site, "_retained").await;
        assert!(!retained.config.forward && retained.config.retention_ms == -1);
        site.stop().await;
    });
}

/// The id outlives the name: whoever gets a used one reads, or loses, another topic's records.
#[test]
fn a_topic_id_is_never_used_twice_also_not_by_the_next_process_of_the_same_boot() {
    smol::block_on(async {
        let mut disk = MemDisk::new(1);
        let mut ids = Vec::new();
        for round in 0..3 {
            let (site, _) = Site::open_on(disk.clone(), config()).unwrap();
            for name in ["kept", "deleted"] {
                let name = format!("{name}{round}");
                let created = site.create_topic(&name, None, &BTreeMap::new()).await;
                let created = created.unwrap();
                assert_eq!(*created.name, name);
                ids.push(created.id);
            }
            site.delete_topic(&format!("deleted{round}")).await.unwrap();
            site.stop().await;
            disk = disk.restarted();
        }
        let mut unique = ids.clone();
        unique.sort_unstable();
        unique.dedup();
        assert_eq!(unique.len(), ids.len(), "{ids:?}");
    });
}

#[test]
fn many_ensure_one_topic_and_all_get_the_same() {
    smol::block_on(async {
        let (site, _) = Site::open_on(MemDisk::new(1), config()).unwrap();
        let tasks: Vec<_> = (0..20)
            .map(|_| {
                let site = site.clone();
                smol::spawn(async move { topic(&site, "a").await.id })
            })
            .collect();
        let mut ids = Vec::new();
        for task in tasks {
            ids.push(task.await);
        }
        ids.dedup();
        assert_eq!(ids.len(), 1);
        site.stop().await;
    });
}

#[test]
fn a_full_queue_makes_callers_wait_and_loses_nothing() {
    smol::block_on(async {
        let config = SiteConfig {
            queue_count_max: 3,
            ..config()
        };
        let (site, _) = Site::open_on(MemDisk::new(1), config).unwrap();
        let tp = topic(&site, "a").await.partition(0);
        let tasks: Vec<_> = (0..50)
            .map(|i| {
                let site = site.clone();
                smol::spawn(async move { append(&site, tp, &[&i.to_string()]).await[0] })
            })
            .collect();
        let mut offsets = Vec::new();
        for task in tasks {
            offsets.push(task.await);
        }
        offsets.sort_unstable();
        assert_eq!(offsets, (0..50).collect::<Vec<_>>());
        assert_eq!(site.status().await.queue.count, 0);
        site.stop().await;
    });
}

#[test]
fn progress_and_shed_counts_are_kept() {
    smol::block_on(async {
        let disk = MemDisk::new(1);
        let (site, _) = Site::open_on(disk.clone(), config()).unwrap();
        let tp = topic(&site, "a").await.partition(0);
        append(&site, tp, &["one", "two", "three"]).await;
        site.record_progress(vec![(tp, 2)]).await;
        site.shed(edge_site::LossCause::QosZeroOverload, Some(tp), 7)
            .await;
        append(&site, tp, &["four"]).await;
        site.stop().await;
        let (site, _) = Site::open_on(disk.restarted(), config()).unwrap();
        topic(&site, "a").await;
        assert_eq!(site.marks(tp).unwrap().forwarded, Some(2));
        let status = site.status().await;
        assert_eq!(
            (status.ledger[0].count, status.ledger[0].topic_name.as_str()),
            (7, "a")
        );
        assert_eq!(status.topics[0].waiting, 2);
        site.stop().await;
    });
}

#[test]
fn it_works_on_sled() {
    smol::block_on(async {
        let dir = tempfile::tempdir().unwrap();
        let (site, _) = Site::open(dir.path(), config()).unwrap();
        let tp = topic(&site, "a").await.partition(0);
        let begun = std::time::Instant::now();
        assert_eq!(append(&site, tp, &["one"]).await, [0]);
        assert!(begun.elapsed().as_secs() < 1);
        drop(site.status().await);
        site.stop().await;
        let (site, report) = Site::open(dir.path(), config()).unwrap();
        assert!(report.clean);
        assert_eq!(texts(&site, tp, 0).await, [(0, "one".into())]);
        site.stop().await;
    });
}

/// Slices so small that a test fills many, and retention may take all but the newest.
fn small() -> SiteConfig {
    let store = StoreConfig {
        slice_bytes: 64 << 10,
        raft_window_bytes: 64 << 10,
        ..config().store
    };
    SiteConfig {
        store,
        compression: edge_site::Compression::None,
        ..config()
    }
}

/// Raises or lowers the version byte of the newest checkpoint's state.
fn change_version(disk: &MemDisk, change: impl Fn(u8) -> u8) -> MemDisk {
    let disk = disk.restarted();
    let (mut store, recovery) = Store::open(disk.clone(), small().store).unwrap();
    let mut checkpoint = recovery.checkpoint.unwrap();
    let mut data = checkpoint.data.to_vec();
    data[0] = change(data[0]);
    checkpoint.data = data.into();
    store.save_checkpoint(&checkpoint).unwrap();
    store.close();
    disk.restarted()
}

async fn sleep_ms(ms: u64) {
    smol::Timer::after(std::time::Duration::from_millis(ms)).await;
}

#[test]
fn a_newer_programs_checkpoint_costs_nothing_until_that_program_is_back() {
    smol::block_on(async {
        let disk = MemDisk::new(1);
        let (site, _) = Site::open_on(disk.clone(), small()).unwrap();
        let tp = topic(&site, "a").await.partition(0);
        let text = "x".repeat(10_000);
        for _ in 0..60 {
            append(&site, tp, &[&text]).await;
        }
        site.stop().await;

        let disk = change_version(&disk, |version| version + 1);
        let (site, _) = Site::open_on(disk.clone(), small()).unwrap();
        let refused = site.ensure_topic("b").await.unwrap_err();
        assert_eq!(refused, TopicError::Refused(Refused::ReadOnly));
        let status = site.status().await;
        assert!(!status.ready);
        assert_eq!(status.alarms[0].code, "storage.readonly", "{status:?}");
        // Long enough for upkeep to take what it believes to be dead.
        sleep_ms(500).await;
        site.stop().await;

        let disk = change_version(&disk, |version| version - 1);
        let (site, _) = Site::open_on(disk, small()).unwrap();
        let marks = site.marks(tp).unwrap();
        assert_eq!((marks.start, marks.committed_end), (0, 60));
        let (mut next, mut found) = (0, 0);
        while next < 60 {
            let some = texts(&site, tp, next).await;
            found += some.len();
            next = some.last().unwrap().0 + 1;
        }
        assert_eq!(found, 60, "every record is still there");
        site.stop().await;
    });
}

/// Nobody knows any more which topics there were: their records are put aside, and named.
#[test]
fn without_any_checkpoint_a_trimmed_log_is_put_aside_and_the_site_goes_on() {
    smol::block_on(async {
        let disk = MemDisk::new(1);
        let (site, _) = Site::open_on(disk.clone(), small()).unwrap();
        let old = topic(&site, "a").await.partition(0);
        let text = "x".repeat(10_000);
        for _ in 0..60 {
            append(&site, old, &[&text]).await;
        }
        site.stop().await;
        let disk = disk.restarted();
        let (mut store, _) = Store::open(disk.clone(), small().store).unwrap();
        store.set_starts(&BTreeMap::from([(old, 50)]));
        (0..50).for_each(|_| drop(store.maintain()));
        assert!(store.first_index() > 1);
        store.close();
        for name in disk.list_files("checkpoint").unwrap() {
            assert!(disk.damage_file(&name, true));
        }

        for life in 0..2 {
            let disk = disk.restarted();
            let (site, report) = Site::open_on(disk.clone(), small()).unwrap();
            assert_eq!(report.lost.is_empty(), life > 0, "{report:?}");
            let tp = topic(&site, "a").await.partition(0);
            assert_ne!(tp, old, "no offset of the old topic is given twice");
            append(&site, tp, &["goes on"]).await;
            sleep_ms(1500).await;
            let status = site.status().await;
            let alarm = status
                .alarms
                .iter()
                .find(|alarm| alarm.code == "storage.quarantined");
            assert!(alarm.unwrap().fix.contains("quarantine"), "{status:?}");
            assert!(disk.quarantined() > 0, "nothing was deleted");
            site.stop().await;
        }
    });
}

/// Keeps the site thread busy.
static BUSY: AtomicBool = AtomicBool::new(false);

#[test]
fn a_status_keeps_no_other_task_waiting() {
    let config = SiteConfig {
        clock_trust: |_| {
            while BUSY.load(Relaxed) {
                std::thread::yield_now();
            }
            edge_site::ClockTrust::Right
        },
        ..config()
    };
    let (site, _) = Site::open_on(MemDisk::new(1), config).unwrap();
    smol::block_on(async {
        BUSY.store(true, Relaxed);
        // The site thread asks for the clock once a second.
        sleep_ms(1100).await;
        let done = RefCell::new(Vec::new());
        let status = async {
            site.status().await;
            done.borrow_mut().push("status");
        };
        let other = async {
            sleep_ms(1).await;
            done.borrow_mut().push("other");
        };
        smol::future::zip(status, other).await;
        BUSY.store(false, Relaxed);
        assert_eq!(done.into_inner(), ["other", "status"]);
        site.stop().await;
    });
}

#[test]
fn a_status_has_what_was_answered_before() {
    smol::block_on(async {
        let (site, _) = Site::open_on(MemDisk::new(1), config()).unwrap();
        for count in 1..=100 {
            let tp = topic(&site, "a").await.partition(0);
            append(&site, tp, &["one"]).await;
            assert_eq!(site.status().await.topics[0].records, count);
        }
        site.stop().await;
        assert!(!site.status().await.ready, "and it ends when the site does");
    });
}

/// The bell of commits also rings when both threads have ended.
fn threads_end(disk: &MemDisk, break_disk: impl FnOnce(&MemDisk)) -> bool {
    smol::block_on(async {
        let (site, _) = Site::open_on(disk.clone(), config()).unwrap();
        let tp = topic(&site, "a").await.partition(0);
        append(&site, tp, &["one"]).await;
        break_disk(disk);
        let mut watch = site.watch();
        drop(site);
        let ended = async {
            watch.changed().await;
            true
        };
        let patience = async {
            smol::Timer::after(std::time::Duration::from_secs(10)).await;
            false
        };
        smol::future::or(ended, patience).await
    })
}

#[test]
fn dropping_the_last_handle_ends_the_threads() {
    assert!(threads_end(&MemDisk::new(1), |_| ()));
}

#[test]
fn a_disk_that_is_gone_does_not_keep_the_threads_of_a_dropped_handle() {
    // Every write of a checkpoint fails at once: repeated without end, it kept both threads busy.
    assert!(threads_end(&MemDisk::new(1), |disk| disk.crash_after(0)));
}

/// A gateway one of whose parts is gone would look alive; its program ends with it instead.
#[test]
fn a_panic_in_what_the_site_spawned_ends_it() {
    smol::block_on(async {
        let (site, _) = Site::open_on(MemDisk::new(1), config()).unwrap();
        let tp = topic(&site, "a").await.partition(0);
        site.spawn("part that works", async {}).await;
        assert_eq!(site.fatal(), None);
        let part = site.spawn("part", async { panic!("why") });
        let what = site.failed().await;
        assert_eq!(what, "the part ended: why");
        assert!(!part.is_finished(), "nobody goes on as if it were done");
        let refused = site.append(request(tp, &["one"])).await.err();
        assert_eq!(refused, Some(Refused::Stopping));
    });
}

/// `forward` of a topic was switched on and nothing of it moved until the next record came.
#[test]
fn who_watches_commits_hears_of_changed_settings() {
    let dir = tempfile::tempdir().unwrap();
    smol::block_on(async {
        let (site, _) = Site::open(dir.path(), config()).unwrap();
        site.create_topic("t", Some(1), &BTreeMap::new())
            .await
            .unwrap();
        smol::Timer::after(std::time::Duration::from_millis(200)).await;
        let mut watch = site.watch();
        let off = BTreeMap::from([("edge.forward".to_owned(), "false".to_owned())]);
        site.alter_topic("t", None, &off).await.unwrap();
        let heard = async {
            watch.changed().await;
            true
        };
        let late = async {
            smol::Timer::after(std::time::Duration::from_secs(5)).await;
            false
        };
        assert!(smol::future::or(heard, late).await);
        site.stop().await;
    });
}

/// Goes on in a new slice; the number of the one before.
fn close_newest_slice(disk: &MemDisk, config: &SiteConfig) -> u64 {
    let mut config = config.store.clone();
    config.slice_bytes = 64 << 10;
    let (mut store, found) = Store::open(disk.clone(), config).unwrap();
    let entry = Entry {
        index: found.last_index + 1,
        term: found.hard_state.term,
        kind: EntryKind::Normal,
        data: Bytes::new(),
    };
    store.persist(&[entry], None, false).unwrap();
    loop {
        store.maintain();
        let sealed = store.usage().slices.into_iter().find(|slice| slice.sealed);
        if let Some(slice) = sealed {
            store.close();
            return slice.number;
        }
    }
}

/// One bad frame behind the checkpoint, in a slice that was closed: once the gateway refused each
/// start, since the replay came before the salvage.
#[test]
fn a_bad_frame_behind_the_checkpoint_is_told_and_the_gateway_starts() {
    smol::block_on(async {
        let disk = MemDisk::new(1);
        let config = config();
        let (site, first) = Site::open_on(disk.clone(), config.clone()).unwrap();
        let tp = topic(&site, "a").await.partition(0);
        let mut rng = fastrand::Rng::with_seed(1);
        for _ in 0..30 {
            let text: String = (0..5000).map(|_| rng.alphanumeric()).collect();
            append(&site, tp, &[&text]).await;
        }
        // Killed: no checkpoint is written.
        let disk = disk.restarted();
        drop(site);
        let number = close_newest_slice(&disk, &config);
        assert!(disk.spoil_value(number, 6, 0));

        let (site, report) = Site::open_on(disk, config).unwrap();
        assert_eq!(
            (report.lost.len(), report.quarantined.len()),
            (1, 1),
            "{report:?}"
        );
        assert_ne!(report.store_id, first.store_id);
        let tp = topic(&site, "a").await.partition(0);
        assert_eq!(texts(&site, tp, 0).await.len(), 29);
        // No offset is given twice.
        assert!(append(&site, tp, &["more"]).await[0] >= 1 << 32);
        let status = site.status().await;
        let alarmed = status
            .alarms
            .iter()
            .any(|alarm| alarm.code == "storage.quarantined");
        assert!(alarmed, "{:?}", status.alarms);
        let lost: u64 = status.ledger.iter().map(|entry| entry.count).sum();
        assert!(lost > 0, "{:?}", status.ledger);
        site.stop().await;
    });
}
