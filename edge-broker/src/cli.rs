//! The command line: every command, flag and default, as clap types.
//!
//! Leaves to others: what a command does. Called by `main`.

use std::path::PathBuf;
use std::process::ExitCode;

use clap::{Args, Parser, Subcommand};

use crate::demo::DemoArgs;
use crate::failure::Exit;

/// An MQTT broker for gateways that lose power and lose their uplink.
#[derive(Debug, Parser)]
#[command(name = "edge-broker", version, max_term_width = 100)]
pub struct Cli {
    /// What to do.
    #[command(subcommand)]
    pub command: Command,
}

/// The commands.
#[derive(Debug, Subcommand)]
pub enum Command {
    /// Run the gateway: take devices, store, serve, forward.
    Serve(ServeArgs),
    /// Show on this machine that nothing acknowledged is lost, by killing a gateway under load.
    Demo(DemoArgs),
    /// Check a configuration file.
    CheckConfig(CheckConfigArgs),
    /// List, create, describe, change or delete topics.
    #[command(subcommand)]
    Topic(TopicCommand),
    /// Print the messages of a topic, and follow it.
    Tail(TailArgs),
    /// Store one message, as a device would.
    Publish(PublishArgs),
    /// What waits, how long there is room, what is wrong.
    Status(StatusArgs),
    /// The link to the central cluster.
    #[command(subcommand)]
    Central(CentralCommand),
}

/// What every command takes.
#[derive(Debug, Clone, Default, Args)]
pub struct Common {
    /// Data folder of the gateway [default: storage.dir of its configuration]
    #[arg(long, value_name = "DIR")]
    pub data: Option<PathBuf>,
    /// Answer in JSON
    #[arg(long)]
    pub json: bool,
}

/// Flags of `serve`. They win over the configuration file.
#[derive(Debug, Clone, Default, Args)]
pub struct ServeArgs {
    /// What every command takes.
    #[command(flatten)]
    pub common: Common,
    /// Configuration [default: $EDGE_BROKER_CONFIG, /etc/edge-broker/edge-broker.toml, built in]
    #[arg(long, value_name = "FILE")]
    pub config: Option<PathBuf>,
    /// Address of the MQTT door, e.g. localhost:1883, :1883, 192.168.1.5:0
    #[arg(long, value_name = "ADDR")]
    pub mqtt: Option<String>,
    /// Address of the read-only HTTP door; "" = off
    #[arg(long, value_name = "ADDR")]
    pub admin: Option<String>,
    /// Kafka bootstrap servers of the central cluster
    #[arg(long, value_name = "HOST:PORT", value_delimiter = ',')]
    pub central: Vec<String>,
    /// Let devices in without a user name, from any address
    #[arg(long)]
    pub allow_anonymous: bool,
}

/// Flags of `check-config`.
#[derive(Debug, Clone, Args)]
pub struct CheckConfigArgs {
    /// What every command takes.
    #[command(flatten)]
    pub common: Common,
    /// The file [default: the one that serve would read]
    pub file: Option<PathBuf>,
    /// Print every key with the value that rules, explained
    #[arg(long)]
    pub effective: bool,
}

/// Commands about topics.
#[derive(Debug, Clone, Subcommand)]
pub enum TopicCommand {
    /// All topics with what they hold and what waits.
    List {
        /// What every command takes.
        #[command(flatten)]
        common: Common,
        /// Internal topics too (their names start with _)
        #[arg(long)]
        all: bool,
    },
    /// Create a topic.
    Create {
        /// What every command takes.
        #[command(flatten)]
        common: Common,
        /// Name, as in Kafka: letters, digits, '.', '_' and '-', at most 249
        name: String,
        /// How many partitions [default: topics.partitions]
        #[arg(long, value_name = "N")]
        partitions: Option<u32>,
        /// Settings, e.g. retention.ms=86400000
        #[arg(value_name = "KEY=VALUE")]
        settings: Vec<String>,
    },
    /// Partitions, marks and settings of one topic.
    Describe {
        /// What every command takes.
        #[command(flatten)]
        common: Common,
        /// Name of the topic
        name: String,
    },
    /// Change settings of a topic.
    Set {
        /// What every command takes.
        #[command(flatten)]
        common: Common,
        /// Name of the topic
        name: String,
        /// Settings, e.g. retention.ms=86400000
        #[arg(value_name = "KEY=VALUE", required = true)]
        settings: Vec<String>,
    },
    /// Delete a topic and what it holds.
    Delete {
        /// What every command takes.
        #[command(flatten)]
        common: Common,
        /// Name of the topic
        name: String,
    },
}

/// Flags of `tail`.
#[derive(Debug, Clone, Args)]
pub struct TailArgs {
    /// What every command takes.
    #[command(flatten)]
    pub common: Common,
    /// Name of the topic [default with --mqtt: every topic]
    #[arg(required_unless_present = "mqtt")]
    pub topic: Option<String>,
    /// Only messages whose MQTT topic matches this filter
    #[arg(long, value_name = "FILTER")]
    pub mqtt: Option<String>,
    /// Only this partition
    #[arg(short, long, value_name = "N", requires = "topic")]
    pub partition: Option<u32>,
    /// Start with the oldest message
    #[arg(long, conflicts_with_all = ["offset", "since"])]
    pub from_beginning: bool,
    /// Start at this offset; negative = that many before the end
    #[arg(
        short,
        long,
        value_name = "N",
        conflicts_with = "since",
        allow_hyphen_values = true
    )]
    pub offset: Option<i64>,
    /// Start this long ago, e.g. 30s, 10m, 2h, 1d
    #[arg(long, value_name = "TIME")]
    pub since: Option<String>,
    /// Stop after this many messages
    #[arg(short = 'n', value_name = "COUNT")]
    pub count: Option<u64>,
    /// Stop at the end of the log instead of following it
    #[arg(short = 'e', long = "exit")]
    pub exit_at_end: bool,
    /// Only messages with this key
    #[arg(long, value_name = "KEY")]
    pub key: Option<String>,
    /// %t topic, %p partition, %o offset, %k key, %s payload, %T timestamp in ms, %h headers,
    /// %m MQTT topic, \n, \t
    #[arg(short, long, value_name = "FORMAT", conflicts_with = "json")]
    pub format: Option<String>,
}

/// Flags of `publish`.
#[derive(Debug, Clone, Args)]
pub struct PublishArgs {
    /// What every command takes.
    #[command(flatten)]
    pub common: Common,
    /// Name of a topic, or an MQTT topic (it has a '/', or --mqtt is given) that the routes map
    pub topic: String,
    /// The payload; - reads it from standard input
    #[arg(allow_hyphen_values = true)]
    pub payload: String,
    /// Take TOPIC as an MQTT topic even without a '/'
    #[arg(long)]
    pub mqtt: bool,
    /// Keep it as the last message of its MQTT topic; an empty payload clears it
    #[arg(long)]
    pub retain: bool,
    /// Key of the record
    #[arg(short, long)]
    pub key: Option<String>,
    /// Header of the record; may be repeated
    #[arg(short = 'H', long = "header", value_name = "NAME=VALUE")]
    pub headers: Vec<String>,
    /// Partition [default: by the key]
    #[arg(short, long, value_name = "N")]
    pub partition: Option<u32>,
}

/// Flags of `status`.
#[derive(Debug, Clone, Args)]
pub struct StatusArgs {
    /// What every command takes.
    #[command(flatten)]
    pub common: Common,
    /// Again every two seconds, until Ctrl-C
    #[arg(short, long)]
    pub watch: bool,
}

/// Commands about the central cluster.
#[derive(Debug, Clone, Subcommand)]
pub enum CentralCommand {
    /// Try a parked topic again now.
    Retry {
        /// What every command takes.
        #[command(flatten)]
        common: Common,
        /// Its local name
        topic: String,
    },
}

/// Prints what clap has to say; wrong usage is 64, help and version are 0.
pub fn wrong_usage(error: &clap::Error) -> ExitCode {
    // A closed terminal leaves nobody to tell.
    let _ = error.print();
    if error.use_stderr() {
        ExitCode::from(Exit::USAGE)
    } else {
        ExitCode::SUCCESS
    }
}
