//! Reading the log back: a fresh gateway without devices, and `tail` beside it.
//!
//! Both are this program in child processes, used as a person would use them, so what is compared
//! went through the disk and through nothing that was there before.

use std::io;
use std::path::Path;
use std::process::Stdio;

use smol::io::{AsyncBufReadExt, AsyncReadExt, BufReader};
use smol::process::Command;

use super::book::Sighting;
use crate::failure::Exit;

const FORMAT: &str = r"%p %s\n";

/// Every record of a topic in the log of a running gateway, partition by partition.
pub async fn read_log(data: &Path, topic: &str) -> io::Result<Vec<Vec<Sighting>>> {
    let mut child = Command::new(std::env::current_exe()?)
        .args(["tail", topic, "--from-beginning", "-e", "--format", FORMAT])
        .arg("--data")
        .arg(data)
        .stdin(Stdio::null())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .kill_on_drop(true)
        .spawn()?;
    let (Some(out), Some(mut err)) = (child.stdout.take(), child.stderr.take()) else {
        return Err(io::Error::other("tail has no output"));
    };
    let mut partitions = Vec::new();
    let mut lines = BufReader::new(out);
    let mut line = Vec::new();
    while lines.read_until(b'\n', &mut line).await? > 0 {
        take(&line, &mut partitions)?;
        line.clear();
    }
    let mut said = String::new();
    err.read_to_string(&mut said).await?;
    let status = child.status().await?;
    // Records that cannot be read are missing, and it is told which.
    let unread = status.code() == Some(i32::from(Exit::IO));
    if status.success() || unread {
        Ok(partitions)
    } else {
        Err(io::Error::other(format!("tail: {status}: {}", said.trim())))
    }
}

fn take(line: &[u8], partitions: &mut Vec<Vec<Sighting>>) -> io::Result<()> {
    let unexpected = || {
        let text = String::from_utf8_lossy(line).into_owned();
        io::Error::new(
            io::ErrorKind::InvalidData,
            format!("not a line of tail: {text}"),
        )
    };
    let space = line
        .iter()
        .position(|byte| *byte == b' ')
        .ok_or_else(unexpected)?;
    let (number, payload) = line.split_at(space);
    let number: Option<usize> = std::str::from_utf8(number)
        .ok()
        .and_then(|n| n.parse().ok());
    let number = number
        .filter(|number| *number < 1_000)
        .ok_or_else(unexpected)?;
    if partitions.len() <= number {
        partitions.resize(number + 1, Vec::new());
    }
    let payload = payload[1..].strip_suffix(b"\n").unwrap_or(&payload[1..]);
    partitions[number].push(Sighting::of(payload));
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::take;
    use crate::demo::book::{Sighting, payload};

    #[test]
    fn a_line_is_a_partition_and_a_payload() {
        let payload = payload(3, 4, 5);
        let line = [b"1 ".as_slice(), &payload, b"\n"].concat();
        let mut partitions = Vec::new();
        take(&line, &mut partitions).unwrap();
        assert_eq!(partitions, [vec![], vec![Sighting::of(&payload)]]);
        assert_eq!(partitions[1][0].id, 5);
        assert!(take(b"error\n", &mut partitions).is_err());
    }
}
