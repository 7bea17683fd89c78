//! What a file says, what is wrong with it, and that the sample file is the code's truth.

#![allow(clippy::unwrap_used)]

use std::path::{Path, PathBuf};

use cloud_sync::CentralConfig;

use super::check::check;
use super::*;

const SAMPLE: &str = include_str!("../../../configs/edge-broker.toml");

fn defaults() -> Table {
    check("", "").values
}

/// Reads a text as the file `gateway.toml` without flags.
fn read(text: &str) -> Result<Config, Refused> {
    read_with(text, &ServeArgs::default())
}

fn read_with(text: &str, args: &ServeArgs) -> Result<Config, Refused> {
    Config::from_text(text, &Source::File(PathBuf::from("gateway.toml")), args)
}

/// The only problem of a text, as the operator sees it.
fn problem(text: &str) -> String {
    let refused = read(text).unwrap_err();
    assert_eq!(refused.problems.len(), 1, "{:#?}", refused.problems);
    refused.problems[0].to_string()
}

#[test]
fn the_sample_file_is_the_defaults_explained() {
    let rendered = render::render(&defaults());
    let file = SAMPLE.split_once("\n\n").map_or("", |(_, body)| body);
    assert_eq!(
        file, rendered,
        "configs/edge-broker.toml must be its two head lines, then what \
         `edge-broker check-config --effective` prints with built-in defaults"
    );
}

#[test]
fn the_sample_file_reads_back_as_the_defaults() {
    let checked = check(SAMPLE, "sample");
    assert_eq!(checked.problems, []);
    assert_eq!(checked.values, defaults());
}

#[test]
fn every_default_is_allowed_and_every_key_explained() {
    for section in SECTIONS {
        for key in section.keys {
            let value = check::default_of(key);
            let name = format!("{}.{}", section.name, key.name);
            assert_eq!(key.kind.check(&value), Ok(()), "{name} = {}", key.default);
            assert!(key.about.len() >= 5, "{name} needs a word of explanation");
            let unit = ["_ms", "_s", "_bytes", "bytes_max", "bytes_min", "_day"];
            let counted = matches!(key.kind, Kind::Bytes(..) | Kind::BytesAuto(..));
            let named = unit.iter().any(|unit| name.contains(unit));
            assert!(
                !counted || named,
                "{name} is a size: its name must say bytes"
            );
        }
    }
}

#[test]
fn the_table_and_the_packages_have_the_same_defaults() {
    let config = read("").unwrap();
    assert_eq!(config.central, CentralConfig::default());
    assert_eq!(config.bridge.mqtt, bridge::MqttConfig::default());
    assert_eq!(config.bridge.routes, [bridge::RouteConfig::default()]);
    let disk = Disk { bytes: 32 << 30 };
    let site = site_config(&config, &disk).unwrap();
    let theirs = edge_site::SiteConfig::default();
    assert_eq!(site.topic_defaults, theirs.topic_defaults);
    assert_eq!(site.commit_bytes_max, theirs.commit_bytes_max);
    assert_eq!(site.commit_interval_ms_max, theirs.commit_interval_ms_max);
    assert_eq!(
        site.commit_interval_ms_relaxed,
        theirs.commit_interval_ms_relaxed
    );
    assert_eq!(site.wear_gb_per_day, theirs.wear_gb_per_day);
    assert_eq!(site.queue_bytes_max, theirs.queue_bytes_max);
    assert_eq!(site.raft_memory_bytes_max, theirs.raft_memory_bytes_max);
    assert_eq!(site.memory_bytes_max, theirs.memory_bytes_max);
    assert_eq!(site.compression, theirs.compression);
    assert_eq!(site.topics_count_max, theirs.topics_count_max);
    assert_eq!(site.store.slice_bytes, theirs.store.slice_bytes);
    assert_eq!(site.store.bytes_max, 8 << 30);
    assert_eq!(site.store.free_bytes_min, 512 << 20);
}

/// `topic set` took what the configuration refuses.
#[test]
fn one_rule_says_how_large_a_batch_may_be() {
    let bytes = edge_site::MESSAGE_BYTES;
    let range = Kind::Int((*bytes.start()).into(), (*bytes.end()).into());
    let key = schema::key_named("topics.max.message.bytes");
    assert_eq!(key.map(|key| key.kind.allowed()), Some(range.allowed()));
}

#[test]
fn an_unknown_key_names_line_and_nearest_key() {
    let text = problem("[storage]\ndir = \"/data\"\nslize_bytes = \"8MiB\"\n");
    assert!(
        text.starts_with("gateway.toml:3: unknown key storage.slize_bytes\n"),
        "{text}"
    );
    assert!(text.contains("did you mean storage.slice_bytes?"), "{text}");
    assert!(text.contains("in [storage]: dir, bytes_max"), "{text}");
}

#[test]
fn a_memory_that_cannot_hold_its_parts_is_refused() {
    let text = problem("[memory]\nbytes_max = \"40MiB\"\n");
    assert!(
        text.starts_with("gateway.toml:2: memory.bytes_max is less than its parts"),
        "{text}"
    );
    assert!(text.contains("need 48 MiB"), "{text}");
}

#[test]
fn a_key_in_the_wrong_section_is_sent_home() {
    let text = problem("linger_ms = 5\n");
    assert!(text.contains("did you mean central.linger_ms?"), "{text}");
    let text = problem("[storage]\nbootstrap = []\n");
    assert!(text.contains("did you mean central.bootstrap?"), "{text}");
}

#[test]
fn an_unknown_section_names_the_sections() {
    let text = problem("[storrage]\ndir = \"x\"\n");
    assert!(
        text.starts_with("gateway.toml:1: unknown key storrage"),
        "{text}"
    );
    assert!(text.contains("did you mean storage?"), "{text}");
}

#[test]
fn kafka_names_without_quotes_are_understood() {
    let text = problem("[topics]\nretention.ms = 5\n");
    assert!(text.contains("needs quotes: \"retention.ms\""), "{text}");
}

#[test]
fn a_wrong_type_says_what_is_allowed() {
    let text = problem("[mqtt]\n\nconnections_max = \"many\"\n");
    assert_eq!(
        text,
        "gateway.toml:3: mqtt.connections_max cannot be \"many\"\n  allowed: a whole number from 1 \
         to 1000000"
    );
}

#[test]
fn an_impossible_value_says_what_is_allowed() {
    let text = problem("[storage]\nslice_bytes = \"128MiB\"\n");
    assert!(text.contains("1MiB to 64MiB"), "{text}");
    let text = problem("[[mqtt.listener]]\naddress = \"1883\"\n");
    assert!(
        text.contains("gateway.toml:2: mqtt.listener[0].address cannot be \"1883\""),
        "{text}"
    );
    assert!(text.contains("needs a port"), "{text}");
    let text = problem("[site]\nname = \"Plant North\"\n");
    assert!(text.contains("a-z, 0-9 and -"), "{text}");
}

#[test]
fn everything_wrong_is_told_at_once() {
    let refused = read("[storage]\ndri = 1\nwhen_full = \"stop\"\n[mqt]\n").unwrap_err();
    assert_eq!(refused.problems.len(), 3);
}

/// They came in three rounds: first what no key can be, then what does not fit, one each.
#[test]
fn what_does_not_fit_is_told_with_what_cannot_be_in_the_order_of_the_lines() {
    let refused = read(
        "[central]\nretry_ms_min = 60_000\nretry_ms_max = 500\n[central.sasl]\nuser = \"me\"\n\
         [[route]]\nfilter = \"a\"\ntopic = \"no name\"\nkey = \"{nothing}\"\n\
         [storage]\nwhen_full = \"stop\"\nbytes_max = \"32MiB\"\n",
    );
    let problems = refused.unwrap_err().problems;
    let lines: Vec<usize> = problems.iter().map(|problem| problem.line).collect();
    // Line 12 is no news before line 11 is mended: a value that cannot be may be its cause.
    assert_eq!(lines, [0, 3, 8, 9, 11], "{problems:#?}");
}

#[test]
fn what_is_no_toml_names_its_line() {
    let text = problem("[storage]\ndir = \"x\nwhen_full = 1\n");
    assert!(
        text.starts_with("gateway.toml:2: not valid TOML: "),
        "{text}"
    );
}

#[test]
fn keys_that_exclude_each_other_name_a_line() {
    let text = problem("[central.sasl]\nuser = \"edge\"\n");
    assert!(text.contains("central.sasl.mechanism"), "{text}");
    let text = problem("[central]\nretry_ms_min = 60_000\nretry_ms_max = 500\n");
    assert!(text.starts_with("gateway.toml:3: "), "{text}");
    let text = problem("[storage]\nbytes_max = \"32MiB\"\nslice_bytes = \"16MiB\"\n");
    assert!(
        text.starts_with("gateway.toml:2: storage.bytes_max is too small"),
        "{text}"
    );
}

#[test]
fn sizes_may_be_texts_or_numbers() {
    let config = read("[storage]\nslice_bytes = 8_388_608\nbytes_max = \"2GiB\"\n").unwrap();
    assert_eq!(config.storage.slice_bytes, 8 << 20);
    assert_eq!(config.storage.bytes_max, Some(2 << 30));
    assert_eq!(config.storage.free_bytes_min, None);
}

#[test]
fn flags_win_over_the_file() {
    let mut args = ServeArgs {
        mqtt: Some("127.0.0.1:0".into()),
        ..ServeArgs::default()
    };
    args.common.data = Some("/tmp/edge".into());
    args.admin = Some(String::new());
    args.central = vec!["a:9092".into(), "b:9092".into()];
    args.allow_anonymous = true;
    let text = "[storage]\ndir = \"/data\"\n[central]\nbootstrap = [\"x:1\"]\n\
                [[mqtt.listener]]\naddress = \":1\"\n[[mqtt.listener]]\naddress = \":2\"\n";
    let config = read_with(text, &args).unwrap();
    assert_eq!(config.storage.dir, Path::new("/tmp/edge"));
    assert_eq!(config.admin.http, "");
    assert_eq!(config.central.bootstrap, ["a:9092", "b:9092"]);
    let listeners = config.values["mqtt"]["listener"].as_array().unwrap();
    assert_eq!(listeners.len(), 1);
    assert_eq!(listeners[0]["address"].as_str(), Some("127.0.0.1:0"));
    assert_eq!(listeners[0]["allow_anonymous"].as_str(), Some("yes"));
}

#[test]
fn a_wrong_flag_is_named_as_a_flag() {
    let args = ServeArgs {
        mqtt: Some("1883".into()),
        ..ServeArgs::default()
    };
    let refused = read_with("", &args).unwrap_err();
    assert!(
        refused.problems[0]
            .to_string()
            .starts_with("--mqtt: mqtt.listener.address")
    );
    assert_eq!(Failure::from(refused).code, Exit::USAGE);
    let both = read_with("[storage]\ndri = 1\n", &args).unwrap_err();
    assert_eq!(both.problems.len(), 2);
    assert_eq!(Failure::from(both).code, Exit::CONFIG);
    let nobody = ServeArgs {
        central: vec![String::new()],
        ..ServeArgs::default()
    };
    let failure = Failure::from(read_with("", &nobody).unwrap_err());
    assert_eq!(failure.code, Exit::USAGE, "{failure}");
    assert!(
        failure.message.contains("kafka-1.example.com:9092"),
        "{failure}"
    );
}

/// The gateway found its own port in use and said to kill itself.
#[test]
fn two_doors_at_one_address_are_refused_however_it_is_written() {
    let args = |mqtt: &str, admin: &str| ServeArgs {
        mqtt: Some(mqtt.into()),
        admin: Some(admin.into()),
        ..ServeArgs::default()
    };
    for (mqtt, admin) in [
        ("localhost:1883", "localhost:1883"),
        ("localhost:1883", "127.0.0.1:1883"),
        (":1883", "[::1]:1883"),
        ("0.0.0.0:1883", "127.0.0.1:1883"),
    ] {
        let refused = read_with("", &args(mqtt, admin)).unwrap_err();
        let said = refused.problems[0].to_string();
        let door = "admin.http is the address of mqtt.listener[0].address";
        assert!(said.contains(door), "{said}");
        assert_eq!(Failure::from(refused).code, Exit::CONFIG);
    }
    for (mqtt, admin) in [
        ("localhost:1883", "localhost:9883"),
        ("localhost:0", "localhost:0"),
        ("127.0.0.1:1883", "[::1]:1883"),
        ("localhost:1883", ""),
    ] {
        assert!(read_with("", &args(mqtt, admin)).is_ok(), "{mqtt} {admin}");
    }
}

#[test]
fn an_address_with_a_scheme_is_told_so() {
    let text = problem("[central]\nbootstrap = [\"http://k:9092\"]\n");
    assert!(text.contains("without a scheme or a path"), "{text}");
    let text = problem("[admin]\nhttp = \"9883\"\n");
    assert!(text.contains("as in localhost:9883"), "{text}");
}

#[test]
fn a_module_that_nothing_logs_under_is_refused() {
    let refused = read("[log]\nmodules = { brigde = \"debug\" }\n").unwrap_err();
    let said = refused.problems[0].to_string();
    assert!(said.contains("no module brigde logs anything"), "{said}");
    assert!(said.ends_with("did you mean bridge?"), "{said}");
    for known in ["edge-site", "bridge::session", "rustls"] {
        let text = format!("[log]\nmodules = {{ \"{known}\" = \"debug\" }}\n");
        assert!(read(&text).is_ok(), "{known}");
    }
}

#[test]
fn the_effective_configuration_reads_back_as_itself() {
    let text = "[site]\nname = \"plant-north\"\n[log]\nmodules = { bridge = \"debug\" }\n\
                [[route]]\nfilter = \"a/+\"\ntopic = \"a\"\n[[route]]\nfilter = \"b\"\n";
    let config = read(text).unwrap();
    let again = read(&config.effective()).unwrap();
    assert_eq!(config.values, again.values);
    assert_eq!(config.values["route"].as_array().map(Vec::len), Some(2));
}

/// A route that leaves them out lets the topic decide, so that `topic set` is not undone.
#[test]
fn what_routes_say_about_topics_is_not_filled_in() {
    let config = read("[[route]]\nfilter = \"a\"\ntopic = \"a\"\nforward = true\n").unwrap();
    let route = &config.bridge.routes[0];
    assert_eq!(
        (route.forward, route.priority, route.when_full),
        (Some(true), None, None)
    );
    let effective = config.effective();
    assert!(effective.contains("\nforward = true "), "{effective}");
    assert!(
        effective.contains("\n# priority = \"normal\" "),
        "{effective}"
    );
}

#[test]
fn every_file_in_configs_is_accepted() {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("../configs");
    let mut files = 0;
    for entry in std::fs::read_dir(folder).unwrap() {
        let path = entry.unwrap().path();
        if path
            .extension()
            .is_some_and(|extension| extension == "toml")
        {
            let text = std::fs::read_to_string(&path).unwrap();
            let source = Source::File(path);
            Config::from_text(&text, &source, &ServeArgs::default()).unwrap();
            files += 1;
        }
    }
    assert!(files >= 2);
}

#[test]
fn a_socket_path_too_long_for_a_socket_moves_out() {
    let short = socket_path(Path::new("/var/lib/edge-broker"));
    assert_eq!(short, Path::new("/var/lib/edge-broker/admin.sock"));
    let long = PathBuf::from(format!("/data/{}", "x".repeat(120)));
    let moved = socket_path(&long);
    assert!(moved.as_os_str().len() <= 107, "{}", moved.display());
    assert_eq!(moved, socket_path(&long), "a restart finds the same one");
    assert_ne!(moved, socket_path(&long.join("y")));
}

#[test]
fn all_that_does_not_fit_is_told_at_once_each_with_its_line() {
    let refused = read(
        "[central]\ntopic = \"{nothing}\"\n\
         [[route]]\nfilter = \"a/#/b\"\n\
         [[route]]\nfilter = \"b\"\ntopic = \"not a name\"\n\
         [[mqtt.listener]]\naddress = \"localhost:1883\"\n\
         [[mqtt.listener]]\naddress = \"localhost:1883\"\n\
         [storage]\ndir = \"\"\n",
    );
    let text = Failure::from(refused.unwrap_err()).to_string();
    for part in [
        "gateway.toml:2: central.topic",
        "gateway.toml:4: route[0].filter must be",
        "gateway.toml:7: route[1].topic must be",
        "gateway.toml:11: mqtt.listener[1].address is the address of mqtt.listener[0].address",
        "gateway.toml:13: storage.dir is empty",
    ] {
        assert!(text.contains(part), "{part} is not in {text}");
    }
}

#[test]
fn routes_that_disagree_are_told_at_the_later_one() {
    let text = problem(
        "[[route]]\nfilter = \"a\"\ntopic = \"t\"\npriority = \"high\"\n\
         [[route]]\nfilter = \"b\"\ntopic = \"t\"\npriority = \"normal\"\n",
    );
    assert!(text.starts_with("gateway.toml:6: routes"), "{text}");
}
