//! The log without any door: a program of yours that must not lose what it was told.
//!
//! Opens a site in a folder, appends at level `disk`, reads back. Run it twice: the second run
//! finds what the first one stored. `cargo run --example embed_log -- /tmp/embedded`

use std::io::Write;
use std::path::PathBuf;
use std::time::{SystemTime, UNIX_EPOCH};

use edge_site::{AckLevel, AppendRequest, Record, Site, SiteConfig};

/// A batch may not become larger than this when it is decompressed.
const DECOMPRESSED_BYTES_MAX: usize = 1 << 20;

fn record(text: &str) -> Record {
    let now = SystemTime::now()
        .duration_since(UNIX_EPOCH)
        .unwrap_or_default();
    Record {
        timestamp_ms: now.as_millis() as i64,
        key: None,
        value: Some(text.to_owned().into()),
        headers: Vec::new(),
    }
}

async fn run(site: &Site) -> Result<(), Box<dyn std::error::Error>> {
    let mut out = std::io::stdout();
    let topic = site.ensure_topic("notes").await?;
    let place = topic.partition(0);

    // Three records, one frame, one sync. The ticket is spent when they are on disk.
    let records = ["one", "two", "three"].map(|text| (place, record(text)));
    let ticket = site
        .append(AppendRequest::records(records.into(), AckLevel::Disk))
        .await?;
    let appended = ticket.await?;
    writeln!(
        out,
        "acked {} at offsets {:?}",
        appended.level, appended.offsets
    )?;

    let mut from = site.marks(place).map_or(0, |marks| marks.start);
    loop {
        let batches = site.read(place, from, 64 << 10).await?;
        let Some(last) = batches.last() else {
            return Ok(());
        };
        from = last.next_offset();
        for batch in &batches {
            for record in batch.records(DECOMPRESSED_BYTES_MAX)? {
                let (offset, record) = record?;
                let text = String::from_utf8_lossy(record.value.as_deref().unwrap_or_default());
                writeln!(out, "notes[0]@{offset} {text}")?;
            }
        }
    }
}

fn main() -> Result<(), Box<dyn std::error::Error>> {
    let folder = std::env::args()
        .nth(1)
        .map_or_else(|| std::env::temp_dir().join("embedded"), PathBuf::from);
    let (site, opened) = Site::open(&folder, SiteConfig::default())?;
    let mut out = std::io::stdout();
    writeln!(
        out,
        "opened {} in {} ms",
        folder.display(),
        opened.opened_in_ms
    )?;
    smol::block_on(async {
        let done = run(&site).await;
        site.stop().await;
        done
    })
}
