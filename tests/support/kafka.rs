//! A real Apache Kafka in its own process (one node, KRaft), and kcat to read it back.
//!
//! `tests/run` fetches the jars from Maven Central. Leaves to the tests what should be in it. Used
//! by the group `peers`.

use std::fs;
use std::net::TcpListener;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::Duration;

use super::tools;

/// One Kafka on one folder; ports stay the same over restarts.
pub struct Kafka {
    dir: PathBuf,
    libs: PathBuf,
    port: u16,
    process: Option<Child>,
}

/// A record as kcat read it.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub struct Read {
    pub topic: String,
    pub partition: u64,
    pub offset: u64,
    pub timestamp_ms: i64,
    pub key: Option<String>,
    pub headers: Vec<(String, String)>,
    pub payload: String,
}

impl Kafka {
    /// Formats a folder and starts a Kafka on it. `version` names a folder of jars.
    pub fn start(dir: &Path, version: &str) -> Kafka {
        let libs = tools::folder().join(format!("kafka-{version}"));
        assert!(
            libs.is_dir(),
            "no {}: start this through tests/run",
            libs.display()
        );
        let (port, controller) = (free_port(), free_port());
        fs::create_dir_all(dir).unwrap();
        let dir = dir.canonicalize().unwrap();
        fs::write(
            dir.join("server.properties"),
            properties(&dir, port, controller),
        )
        .unwrap();
        let mut kafka = Kafka {
            dir,
            libs,
            port,
            process: None,
        };
        let id = kafka.java("kafka.tools.StorageTool", &["random-uuid"]);
        let id = id.lines().last().expect("an id").to_owned();
        let config = kafka.dir.join("server.properties");
        let config = config.to_str().unwrap();
        kafka.java(
            "kafka.tools.StorageTool",
            &["format", "-t", &id, "-c", config],
        );
        kafka.resume();
        kafka
    }

    /// Where clients go.
    pub fn address(&self) -> String {
        format!("127.0.0.1:{}", self.port)
    }

    /// Starts it again on the same folder and waits until it answers.
    pub fn resume(&mut self) {
        let log = fs::File::create(self.dir.join("kafka.log")).unwrap();
        let mut java = self.jvm("kafka.Kafka");
        java.arg(self.dir.join("server.properties"))
            .stdin(Stdio::null());
        java.stdout(log.try_clone().unwrap()).stderr(log);
        self.process = Some(java.spawn().expect("java; tests/run installs it"));
        let address = self.address();
        super::eventually("Kafka answers", Duration::from_secs(90), || {
            let out = tools::run("kcat", &["-L", "-b", &address, "-m", "2"]);
            out.status.success().then_some(())
        });
    }

    /// Kills it; its data stays.
    pub fn kill(&mut self) {
        if let Some(mut process) = self.process.take() {
            let _ = process.kill();
            let _ = process.wait();
        }
    }

    /// Makes a topic with settings.
    pub fn create_topic(&self, name: &str, partitions: u32, settings: &[&str]) {
        let (address, partitions) = (self.address(), partitions.to_string());
        let mut args = vec!["--bootstrap-server", &address, "--create", "--topic", name];
        args.extend(["--partitions", &partitions]);
        settings.iter().for_each(|s| args.extend(["--config", s]));
        self.java("org.apache.kafka.tools.TopicCommand", &args);
    }

    /// Makes many topics with the defaults, by one admin call each but one start of Java.
    pub fn create_topics(&self, names: &[String]) {
        let script = self.dir.join("Topics.java");
        fs::write(&script, CREATE_TOPICS).unwrap();
        let mut args = vec![self.address()];
        args.extend(names.iter().cloned());
        let mut java = Command::new("java");
        java.arg("-cp")
            .arg(self.class_path())
            .arg(script)
            .args(args);
        let out = java.output().expect("java");
        assert!(
            out.status.success(),
            "topics: {}",
            String::from_utf8_lossy(&out.stderr)
        );
    }

    /// Changes a setting of a topic.
    pub fn alter_topic(&self, name: &str, setting: &str) {
        let address = self.address();
        let args = [
            "--bootstrap-server",
            &address,
            "--alter",
            "--entity-type",
            "topics",
        ];
        let more = ["--entity-name", name, "--add-config", setting];
        self.java(
            "kafka.admin.ConfigCommand",
            &[&args[..], &more[..]].concat(),
        );
    }

    /// Every record of a topic, in offset order per partition, read by kcat.
    pub fn read(&self, topic: &str) -> Vec<Read> {
        let address = self.address();
        let args = [
            "-C",
            "-b",
            &address,
            "-t",
            topic,
            "-o",
            "beginning",
            "-e",
            "-q",
            "-J",
        ];
        let text = tools::output_of("kcat", &args);
        let mut records: Vec<Read> = text.lines().map(Read::parse).collect();
        records.sort_by_key(|r| (r.partition, r.offset));
        records
    }

    /// The names of all topics.
    pub fn topics(&self) -> Vec<String> {
        let text = tools::output_of("kcat", &["-L", "-J", "-b", &self.address()]);
        let json: serde_json::Value = serde_json::from_str(&text).expect("kcat's JSON");
        let topics = json["topics"].as_array().expect("topics");
        topics
            .iter()
            .filter_map(|t| t["topic"].as_str().map(str::to_owned))
            .collect()
    }

    /// Runs one of Kafka's tools and gives what it printed.
    fn java(&self, class: &str, args: &[&str]) -> String {
        let out = self
            .jvm(class)
            .args(args)
            .output()
            .expect("java; tests/run installs it");
        let text = String::from_utf8_lossy(&out.stdout).into_owned();
        let errors = String::from_utf8_lossy(&out.stderr);
        assert!(out.status.success(), "{class} {args:?}: {text}{errors}");
        text
    }

    fn jvm(&self, class: &str) -> Command {
        let mut java = Command::new("java");
        java.args([
            "-Xms128m",
            "-Xmx384m",
            "-XX:+UseSerialGC",
            "-XX:TieredStopAtLevel=1",
        ]);
        java.arg("-cp")
            .arg(self.class_path())
            .arg(class)
            .current_dir(&self.dir);
        java
    }

    fn class_path(&self) -> String {
        format!("{}/*", self.libs.display())
    }
}

impl Drop for Kafka {
    fn drop(&mut self) {
        self.kill();
    }
}

impl Read {
    fn parse(line: &str) -> Read {
        let json: serde_json::Value = serde_json::from_str(line).expect("kcat's JSON");
        let text = |v: &serde_json::Value| v.as_str().map(str::to_owned);
        let flat: Vec<String> = json["headers"]
            .as_array()
            .into_iter()
            .flatten()
            .filter_map(text)
            .collect();
        Read {
            topic: text(&json["topic"]).unwrap_or_default(),
            partition: json["partition"].as_u64().unwrap_or_default(),
            offset: json["offset"].as_u64().unwrap_or_default(),
            timestamp_ms: json["ts"].as_i64().unwrap_or_default(),
            key: text(&json["key"]),
            headers: flat
                .chunks(2)
                .map(|h| (h[0].clone(), h[1].clone()))
                .collect(),
            payload: text(&json["payload"]).unwrap_or_default(),
        }
    }
}

fn free_port() -> u16 {
    let listener = TcpListener::bind("127.0.0.1:0").expect("a free port");
    listener.local_addr().expect("its address").port()
}

fn properties(dir: &Path, port: u16, controller: u16) -> String {
    format!(
        "process.roles=broker,controller\n\
         node.id=1\n\
         controller.quorum.voters=1@127.0.0.1:{controller}\n\
         listeners=PLAINTEXT://127.0.0.1:{port},CONTROLLER://127.0.0.1:{controller}\n\
         advertised.listeners=PLAINTEXT://127.0.0.1:{port}\n\
         controller.listener.names=CONTROLLER\n\
         listener.security.protocol.map=CONTROLLER:PLAINTEXT,PLAINTEXT:PLAINTEXT\n\
         inter.broker.listener.name=PLAINTEXT\n\
         log.dirs={}/data\n\
         auto.create.topics.enable=false\n\
         offsets.topic.replication.factor=1\n\
         transaction.state.log.replication.factor=1\n\
         transaction.state.log.min.isr=1\n\
         group.initial.rebalance.delay.ms=0\n\
         offsets.topic.num.partitions=4\n\
         transaction.state.log.num.partitions=4\n",
        dir.display()
    )
}

const CREATE_TOPICS: &str = r#"
import java.util.*;
import org.apache.kafka.clients.admin.*;
public class Topics {
  public static void main(String[] a) throws Exception {
    Properties p = new Properties();
    p.put("bootstrap.servers", a[0]);
    List<NewTopic> topics = new ArrayList<>();
    for (int i = 1; i < a.length; i++) topics.add(new NewTopic(a[i], 1, (short) 1));
    try (Admin admin = Admin.create(p)) { admin.createTopics(topics).all().get(); }
  }
}
"#;
