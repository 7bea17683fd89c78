//! Apache Kafka from Maven Central: one broker in KRaft mode, and its own producer test.

use std::io;
use std::net::SocketAddr;
use std::path::Path;
use std::process::Command;
use std::time::Duration;

use super::Folder;
use crate::Options;
use crate::process::{self, Server, Syncs};

const VERSION: &str = "4.3.1";
const START_MAX: Duration = Duration::from_secs(60);

/// A running Kafka.
#[derive(Debug)]
pub struct Kafka {
    /// Its usual door.
    pub address: SocketAddr,
    /// A second door, whose clients are sent to `relay_port`.
    pub behind_relay: SocketAddr,
    /// Where a relay to that door is to listen.
    pub relay_port: u16,
    classpath: String,
    _server: Server,
    _folder: Folder,
}

/// Starts an empty one.
pub fn start(options: &Options) -> io::Result<Kafka> {
    let classpath = install(options)?;
    let folder = Folder::create(options, "kafka")?;
    let port = process::free_port;
    let (plain, relayed, relay_port, controller) = (port()?, port()?, port()?, port()?);
    let properties = folder.join("server.properties");
    let data = folder.join("data");
    let text = format!(
        "process.roles=broker,controller\nnode.id=1\n\
         controller.quorum.voters=1@127.0.0.1:{controller}\n\
         listeners=PLAINTEXT://127.0.0.1:{plain},RELAY://127.0.0.1:{relayed},\
         CONTROLLER://127.0.0.1:{controller}\n\
         advertised.listeners=PLAINTEXT://127.0.0.1:{plain},RELAY://127.0.0.1:{relay_port}\n\
         controller.listener.names=CONTROLLER\n\
         listener.security.protocol.map=CONTROLLER:PLAINTEXT,PLAINTEXT:PLAINTEXT,RELAY:PLAINTEXT\n\
         inter.broker.listener.name=PLAINTEXT\nlog.dirs={}\n\
         offsets.topic.replication.factor=1\ntransaction.state.log.replication.factor=1\n\
         transaction.state.log.min.isr=1\nshare.coordinator.state.topic.replication.factor=1\n\
         share.coordinator.state.topic.min.isr=1\ngroup.initial.rebalance.delay.ms=0\n\
         offsets.topic.num.partitions=4\ntransaction.state.log.num.partitions=4\n",
        data.display()
    );
    std::fs::write(&properties, text)?;
    let properties = properties.display().to_string();
    let id = process::run(java(&classpath, 256).args(["kafka.tools.StorageTool", "random-uuid"]))?;
    let id = id.lines().last().unwrap_or_default().to_owned();
    let format = [
        "kafka.tools.StorageTool",
        "format",
        "-t",
        &id,
        "-c",
        &properties,
    ];
    process::run(java(&classpath, 256).args(format))?;
    let args = [
        "-Xms256m",
        "-Xmx1g",
        "-cp",
        &classpath,
        "kafka.Kafka",
        &properties,
    ];
    let args = args.map(str::to_owned);
    let java = super::debian("java", "default-jre-headless")?;
    let server = Server::start(&java, &args, &folder.join("log"), &Syncs::Plain)?;
    let loopback = |port| SocketAddr::from(([127, 0, 0, 1], port));
    let kafka = Kafka {
        address: loopback(plain),
        behind_relay: loopback(relayed),
        relay_port,
        classpath,
        _server: server,
        _folder: folder,
    };
    // Answering a tool is being ready; an open port is not.
    process::wait_for("Kafka", START_MAX, || kafka.topics(&["--list"]).is_ok())?;
    Ok(kafka)
}

impl Kafka {
    /// Runs `kafka-topics`.
    pub fn topics(&self, args: &[&str]) -> io::Result<String> {
        let address = self.address.to_string();
        let tool = [
            "org.apache.kafka.tools.TopicCommand",
            "--bootstrap-server",
            &address,
        ];
        process::run(java(&self.classpath, 128).args(tool).args(args))
    }

    /// A new topic with so many partitions.
    pub fn create(&self, topic: &str, partitions: u32) -> io::Result<()> {
        let partitions = partitions.to_string();
        let args = ["--create", "--topic", topic, "--partitions", &partitions];
        self.topics(&args).map(drop)
    }

    /// Records in a topic, by the ends of its partitions.
    pub fn records(&self, topic: &str) -> io::Result<u64> {
        let address = self.address.to_string();
        let tool = [
            "org.apache.kafka.tools.GetOffsetShell",
            "--bootstrap-server",
            &address,
        ];
        let mut command = java(&self.classpath, 128);
        let text = process::run(command.args(tool).args(["--topic", topic]))?;
        let end = |line: &str| line.rsplit(':').next()?.trim().parse::<u64>().ok();
        Ok(text.lines().filter_map(end).sum())
    }

    /// Records a second of Kafka's own producer at acks=all, through that door.
    pub fn producer_perf(
        &self,
        bootstrap: SocketAddr,
        topic: &str,
        records: u64,
        bytes: usize,
    ) -> io::Result<f64> {
        let (records, bytes) = (records.to_string(), bytes.to_string());
        let bootstrap = format!("bootstrap.servers={bootstrap}");
        let args = [
            "--topic",
            topic,
            "--num-records",
            &records,
            "--record-size",
            &bytes,
        ];
        let more = [
            "--throughput",
            "-1",
            "--producer-props",
            "acks=all",
            &bootstrap,
        ];
        let mut command = java(&self.classpath, 512);
        command
            .arg("org.apache.kafka.tools.ProducerPerformance")
            .args(args)
            .args(more);
        let text = process::run(&mut command)?;
        let line = text.lines().rev().find(|line| line.contains("records/sec"));
        let rate = line.and_then(|line| {
            let word = line.split("records sent, ").nth(1)?.split(' ').next()?;
            word.parse().ok()
        });
        rate.ok_or_else(|| io::Error::other(format!("not understood: {text}")))
    }
}

fn java(classpath: &str, heap_mb: u32) -> Command {
    let mut command = Command::new("java");
    command.args([&format!("-Xmx{heap_mb}m"), "-cp", classpath]);
    command
}

/// The jars, from Maven Central when they are missing; the class path.
fn install(options: &Options) -> io::Result<String> {
    let folder = options.peers.join(format!("kafka-{VERSION}"));
    let libs = folder.join("libs");
    let classpath = format!("{}/*", libs.display());
    if complete(&libs) {
        return Ok(classpath);
    }
    super::debian("java", "default-jre-headless")?;
    super::debian("mvn", "maven")?;
    std::fs::create_dir_all(&folder)?;
    std::fs::write(folder.join("pom.xml"), POM)?;
    eprintln!(
        "   fetching Kafka {VERSION} from Maven Central into {}",
        libs.display()
    );
    let goal = [
        "-q",
        "-B",
        "dependency:copy-dependencies",
        "-DincludeScope=runtime",
    ];
    let to = format!("-DoutputDirectory={}", libs.display());
    process::run(Command::new("mvn").args(goal).arg(to).current_dir(&folder))?;
    Ok(classpath)
}

fn complete(libs: &Path) -> bool {
    let jar = format!("kafka-tools-{VERSION}.jar");
    libs.join(jar).exists()
}

const POM: &str = include_str!("../../peers/kafka.xml");
