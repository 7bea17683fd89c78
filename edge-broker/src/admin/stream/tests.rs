//! A tail over a real site: where it begins, what it lets through, where it ends.

#![allow(clippy::unwrap_used)]

use std::collections::BTreeMap;

use edge_site::{AckLevel, AppendRequest, SiteConfig};

use super::*;

/// A site with the topic `t`; the folder lives as long as this.
struct House {
    site: Site,
    _folder: tempfile::TempDir,
}

impl House {
    async fn with_partitions(partitions: u32) -> House {
        House::with(partitions, SiteConfig::default()).await
    }

    async fn with(partitions: u32, config: SiteConfig) -> House {
        let folder = tempfile::tempdir().unwrap();
        let (site, _) = Site::open(folder.path(), config).unwrap();
        site.create_topic("t", Some(partitions), &BTreeMap::new())
            .await
            .unwrap();
        House {
            site,
            _folder: folder,
        }
    }

    async fn append(&self, partition: u32, key: &'static str, value: &'static str) {
        self.append_at(5, partition, key, value).await;
    }

    async fn append_at(
        &self,
        timestamp_ms: i64,
        partition: u32,
        key: &'static str,
        value: &'static str,
    ) {
        let topic = self.site.topics().get("t").unwrap().partition(partition);
        let record = Record {
            timestamp_ms,
            key: Some(key.into()),
            value: Some(value.into()),
            headers: Vec::new(),
        };
        let request = AppendRequest::records(vec![(topic, record)], AckLevel::Disk);
        self.site.append(request).await.unwrap().await.unwrap();
    }

    /// The newest 8 MiB are read without the disk.
    async fn append_more_than_memory_keeps(&self) {
        for _ in 0..12 {
            let text: String = (0..900_000).map(|_| fastrand::alphanumeric()).collect();
            self.append(0, "k", Box::leak(text.into_boxed_str())).await;
        }
    }

    /// Values of a tail that ends by itself.
    async fn tail(&self, query: Query) -> Vec<String> {
        let mut tail = Tail::open(self.site.clone(), query).await.unwrap();
        let mut values = Vec::new();
        while let Some(chunk) = tail.next_chunk().await {
            values.extend(shown(&chunk));
        }
        values
    }
}

fn shown(chunk: &[u8]) -> Vec<String> {
    let lines = std::str::from_utf8(chunk).unwrap().lines();
    lines
        .map(|line| match serde_json::from_str(line).unwrap() {
            Streamed::Record(line) => line.value.unwrap().show().to_owned(),
            Streamed::Note { note, .. } => format!("note: {note}"),
        })
        .collect()
}

fn from(start: Start) -> Query {
    Query {
        topic: Some("t".into()),
        start,
        ..Query::default()
    }
}

#[test]
fn a_tail_begins_where_it_is_told() {
    smol::block_on(async {
        let house = House::with_partitions(1).await;
        for value in ["a", "b", "c"] {
            house.append(0, "k", value).await;
        }
        assert_eq!(house.tail(from(Start::Beginning)).await, ["a", "b", "c"]);
        assert_eq!(house.tail(from(Start::Offset(1))).await, ["b", "c"]);
        assert_eq!(house.tail(from(Start::Back(2))).await, ["b", "c"]);
        assert_eq!(house.tail(from(Start::Back(99))).await, ["a", "b", "c"]);
        assert_eq!(house.tail(from(Start::Timestamp(6))).await, [""; 0]);
        assert_eq!(house.tail(from(Start::Timestamp(5))).await, ["a", "b", "c"]);
        assert_eq!(house.tail(from(Start::End)).await, [""; 0]);
        let beyond = "note: t[0] ends at 3, there is no 99 yet";
        assert_eq!(house.tail(from(Start::Offset(99))).await, [beyond]);
        house.site.stop().await;
    });
}

#[test]
fn a_tail_that_does_not_follow_ends_where_the_log_ended() {
    smol::block_on(async {
        let house = House::with_partitions(1).await;
        house.append(0, "k", "a").await;
        let mut tail = Tail::open(house.site.clone(), from(Start::Beginning))
            .await
            .unwrap();
        house.append(0, "k", "later").await;
        assert_eq!(shown(&tail.next_chunk().await.unwrap()), ["a"]);
        assert!(tail.next_chunk().await.is_none());
        house.site.stop().await;
    });
}

#[test]
fn a_tail_that_follows_gets_what_commits_and_topics_that_are_made() {
    smol::block_on(async {
        let house = House::with_partitions(1).await;
        let query = Query {
            follow: true,
            ..Query::default()
        };
        let mut tail = Tail::open(house.site.clone(), query).await.unwrap();
        house.append(0, "k", "a").await;
        assert_eq!(shown(&tail.next_chunk().await.unwrap()), ["a"]);
        house
            .site
            .create_topic("u", None, &BTreeMap::new())
            .await
            .unwrap();
        let place = house.site.topics().get("u").unwrap().partition(0);
        let record = Record {
            value: Some("new".into()),
            ..Record::default()
        };
        let request = AppendRequest::records(vec![(place, record)], AckLevel::Disk);
        house.site.append(request).await.unwrap().await.unwrap();
        assert_eq!(shown(&tail.next_chunk().await.unwrap()), ["new"]);
        house.site.stop().await;
    });
}

#[test]
fn count_and_key_hold_over_partitions() {
    smol::block_on(async {
        let house = House::with_partitions(2).await;
        for (partition, key, value) in [(0, "x", "a"), (1, "y", "b"), (0, "y", "c"), (1, "x", "d")]
        {
            house.append(partition, key, value).await;
        }
        let keyed = Query {
            key: Some("y".into()),
            ..from(Start::Beginning)
        };
        assert_eq!(house.tail(keyed).await, ["c", "b"]);
        let two = Query {
            count: Some(2),
            ..from(Start::Beginning)
        };
        assert_eq!(house.tail(two).await.len(), 2);
        let one = Query {
            partition: Some(1),
            ..from(Start::Beginning)
        };
        assert_eq!(house.tail(one).await, ["b", "d"]);
        house.site.stop().await;
    });
}

#[test]
fn what_does_not_exist_is_refused_before_anything_is_read() {
    smol::block_on(async {
        let house = House::with_partitions(1).await;
        let open = |query| Tail::open(house.site.clone(), query);
        let unknown = Query {
            topic: Some("nope".into()),
            ..Query::default()
        };
        assert!(matches!(
            open(unknown).await,
            Err(TailError::UnknownTopic(_))
        ));
        let partition = Query {
            partition: Some(7),
            ..from(Start::End)
        };
        assert!(matches!(
            open(partition).await,
            Err(TailError::UnknownPartition(7))
        ));
        let filter = Query {
            mqtt: Some("a/#/b".into()),
            ..Query::default()
        };
        assert!(matches!(open(filter).await, Err(TailError::Filter(_))));
        house.site.stop().await;
    });
}

#[test]
fn the_newest_are_found_behind_a_filter_and_over_all_partitions() {
    smol::block_on(async {
        let house = House::with_partitions(4).await;
        let mut expected = Vec::new();
        for number in 0..400_u32 {
            // The one key in 50 that is asked for, and many that are not.
            let key = if number % 50 == 7 { "seldom" } else { "often" };
            let value = &*Box::leak(number.to_string().into_boxed_str());
            house
                .append_at(i64::from(number), number % 4, key, value)
                .await;
            if key == "seldom" {
                expected.push(value.to_owned());
            }
        }
        let newest = |count, key: Option<&str>| Query {
            count: Some(count),
            key: key.map(str::to_owned),
            ..from(Start::Newest(count))
        };
        let mut shown = house.tail(newest(5, None)).await;
        shown.sort();
        assert_eq!(shown, ["395", "396", "397", "398", "399"]);
        let mut shown = house.tail(newest(3, Some("seldom"))).await;
        shown.sort();
        assert_eq!(shown, expected[expected.len() - 3..]);
        assert_eq!(
            house.tail(newest(99, Some("seldom"))).await.len(),
            expected.len()
        );
        house.site.stop().await;
    });
}

#[test]
fn a_chunk_is_bounded_however_many_partitions_there_are() {
    smol::block_on(async {
        let house = House::with_partitions(40).await;
        let value = &*Box::leak("x".repeat(100_000).into_boxed_str());
        for partition in 0..40 {
            house.append(partition, "k", value).await;
        }
        let mut tail = Tail::open(house.site.clone(), from(Start::Beginning))
            .await
            .unwrap();
        let mut seen = 0;
        while let Some(chunk) = tail.next_chunk().await {
            assert!(chunk.len() < CHUNK_BYTES_MAX + 200_000, "{}", chunk.len());
            seen += shown(&chunk).len();
        }
        assert_eq!(seen, 40);
        house.site.stop().await;
    });
}

/// Flips the bytes of a value wherever a file of the store has them.
fn damage(dir: &std::path::Path, value: &[u8]) -> usize {
    let mut damaged = 0;
    for entry in std::fs::read_dir(dir).unwrap().flatten() {
        let path = entry.path();
        if path.is_dir() {
            damaged += damage(&path, value);
            continue;
        }
        let mut bytes = std::fs::read(&path).unwrap();
        let places = bytes.windows(value.len()).enumerate();
        let places = places.filter(|(_, found)| *found == value);
        let places: Vec<usize> = places.map(|(at, _)| at).collect();
        for at in &places {
            bytes[*at..*at + value.len()]
                .iter_mut()
                .for_each(|b| *b ^= 0x5a);
        }
        if !places.is_empty() {
            std::fs::write(&path, bytes).unwrap();
        }
        damaged += places.len();
    }
    damaged
}

/// It went silent for ever after one damaged slice, and with `-e` ended early.
#[test]
fn a_tail_goes_past_what_is_damaged_and_says_what_it_left_out() {
    smol::block_on(async {
        // Slices so small that the first one is closed: the newest is read from memory, too.
        let mut config = SiteConfig::default();
        config.store.slice_bytes = 1 << 20;
        let house = House::with(1, config).await;
        for value in ["a", "b", "damaged-damaged", "c"] {
            house.append(0, "k", value).await;
        }
        house.append_more_than_memory_keeps().await;
        house.append(0, "k", "d").await;
        assert!(damage(house._folder.path(), b"damaged-damaged") > 0);
        let query = Query {
            follow: true,
            ..from(Start::Beginning)
        };
        let mut tail = Tail::open(house.site.clone(), query).await.unwrap();
        let mut seen = Vec::new();
        while seen.last().is_none_or(|last| last != "d") {
            seen.extend(shown(&tail.next_chunk().await.unwrap()));
        }
        seen.retain(|value| value.len() < 1000);
        let note = "note: t[0]@2 is left out: damaged on the disk, it cannot be read";
        assert_eq!(seen, ["a", "b", note, "c", "d"]);
        house.append(0, "k", "e").await;
        assert_eq!(shown(&tail.next_chunk().await.unwrap()), ["e"]);
        house.site.stop().await;
    });
}
