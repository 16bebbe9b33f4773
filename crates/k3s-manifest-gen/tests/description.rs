//! What a person is told about a description that does not hold: file, line, column, path, what is wrong and what would be right.

#![allow(clippy::unwrap_used, clippy::panic)]

use std::path::Path;

use k3s_manifest_gen::{Appliance, Documents};

const DOCUMENT: &str = "links: []\n";

fn load(files: &[(&str, &str)]) -> Result<(Appliance, Documents), Vec<String>> {
    let directory = tempfile::tempdir().unwrap();
    for (name, text) in files {
        std::fs::write(directory.path().join(name), text).unwrap();
    }
    let prefix = format!("{}/", directory.path().display());
    Appliance::load(&directory.path().join("appliance.yaml")).map_err(|invalid| {
        invalid
            .to_string()
            .replace(&prefix, "")
            .lines()
            .map(str::to_owned)
            .collect()
    })
}

fn errors(description: &str) -> Vec<String> {
    load(&[("appliance.yaml", description), ("reader.yaml", DOCUMENT)]).unwrap_err()
}

/// Each of these beginnings and endings is told, and nothing else.
fn assert_told(errors: &[String], expected: &[(&str, &str)]) {
    assert_eq!(errors.len(), expected.len(), "{errors:#?}");
    for (error, (begin, part)) in errors.iter().zip(expected) {
        assert!(
            error.starts_with(begin) && error.contains(part),
            "{error}\nshould be {begin} … {part}"
        );
    }
}

#[test]
fn the_smallest_description_has_all_defaults() {
    let (appliance, documents) = load(&[
        (
            "appliance.yaml",
            "appliance: gate-7\nversion: 0.2.0\nmodules:\n  modbus-reader: {configuration: reader.yaml}\n  iothub-module: {configuration: hub.yaml}\n",
        ),
        ("reader.yaml", "\u{feff}links: []\r\ngroups: []"),
        ("hub.yaml", "queue: {path: /var/lib/fieldgate/state/queue.db}\n"),
    ])
    .unwrap();
    assert_eq!(
        (appliance.version.as_str(), appliance.namespace.as_str()),
        ("0.2.0", "fieldgate")
    );
    assert_eq!(
        documents.files["modbus-reader"], "links: []\ngroups: []\n",
        "line ends as Kubernetes shows them best"
    );
    let reader = appliance.module("modbus-reader").unwrap();
    assert_eq!(reader.image, "fieldgate.io/modbus-reader:0.2.0");
    assert_eq!(reader.callers.len(), 2);
    let hub = appliance.module("iothub-module").unwrap();
    let components: Vec<&str> = hub
        .subscribes
        .iter()
        .map(|one| one.component.as_str())
        .collect();
    assert_eq!(components, ["pubsub-telemetry", "pubsub-status"]);
}

#[test]
fn a_document_may_stand_in_the_description() {
    let (_, documents) = load(&[(
        "appliance.yaml",
        "\
appliance: gate-7
modules:
  modbus-reader:
    configuration:
      # What is read.
      links: []

      groups: []   # nothing yet
  filter: {image: x/f:1, configuration: {limit: 3}}
",
    )])
    .unwrap();
    assert_eq!(
        documents.files["modbus-reader"],
        "links: []\n\ngroups: []   # nothing yet\n"
    );
    assert_eq!(documents.files["filter"], "limit: 3\n");

    let told = errors(
        "\
appliance: gate-7
modules:
  modbus-reader:
    configuration:
      links: [{name: a, serial: {path: /dev/ttyUSB0}}]
      note: 'HostName=h;SharedAccessKey=abc'
  filter: {image: x/f:1, configuration: 3}
",
    );
    assert_told(
        &told,
        &[
            (
                "appliance.yaml:5:40: modules.modbus-reader.configuration.links[0].serial.path: ",
                "the pod has no /dev/ttyUSB0",
            ),
            (
                "appliance.yaml:6:13: modules.modbus-reader.configuration.note: ",
                "a key in clear",
            ),
            (
                "appliance.yaml:7:41: modules.filter.configuration: ",
                "must be",
            ),
        ],
    );
}

#[test]
fn everything_wrong_is_told_at_once() {
    let told = errors(
        "\
appliance: -gate
namespace: kube-system
hub: {colour: red}
broker: {storage: 64MiB, replicas: 2, memory: 1GB}
serial:
  - {name: line-1, path: /dev/ttyUSB0}
  - {name: line_2, path: /dev/ttyUSB0}
modules:
  modbus-reader:
    configuration: missing.yaml
    serial: [line-1, line-9]
  Filter:
    image: 'a b'
  other:
    serial: [line-1]
    subscribes: [telemetry, measurements]
",
    );
    assert_told(
        &told,
        &[
            (
                "appliance.yaml:1:12: appliance: ",
                "letter or digit at both ends",
            ),
            ("appliance.yaml:2:12: namespace: ", "namespace of its own"),
            ("appliance.yaml:3:7: hub.colour: ", "unknown key"),
            (
                "appliance.yaml:4:19: broker.storage: ",
                "at least 384MiB is needed",
            ),
            ("appliance.yaml:4:36: broker.replicas: ", "1, 3 or 5"),
            ("appliance.yaml:4:47: broker.memory: ", "GiB"),
            (
                "appliance.yaml:7:12: serial[1].name: ",
                "no name for Kubernetes",
            ),
            ("appliance.yaml:7:26: serial[1].path: ", "at 6:26 already"),
            (
                "appliance.yaml:10:20: modules.modbus-reader.configuration: ",
                "relative to the description",
            ),
            (
                "appliance.yaml:11:22: modules.modbus-reader.serial[1]: ",
                "the ports under serial are line-1",
            ),
            (
                "appliance.yaml:12:3: modules.Filter: ",
                "no name for Kubernetes",
            ),
            (
                "appliance.yaml:13:12: modules.Filter.image: ",
                "no image reference",
            ),
            ("appliance.yaml:14:3: modules.other: ", "has no image"),
            (
                "appliance.yaml:15:14: modules.other.serial[0]: ",
                "claimed by modbus-reader already (11:14)",
            ),
            (
                "appliance.yaml:16:29: modules.other.subscribes[1]: ",
                "telemetry, alarms, status, commands, config, deadletter",
            ),
        ],
    );
}

#[test]
fn rights_that_lead_nowhere_are_told() {
    let told = errors(
        "\
appliance: gate-7
modules:
  a:
    image: x/a:1
    calls: [b.run, c.run, a.run, run]
  b:
    image: x/b:1
    subscribes:
    - {topic: telemetry, route: /events}
    - {topic: alarms, component: a-pubsub, dead_letter: alarms}
    - telemetry
    publishes: [nothing]
    env: {DAPR_X: '1', '1X': a, KEY: 'HostName=h;SharedAccessKey=abc'}
    storage: 1MiB
    app_protocol: amqp
    limits: {cpu: 1.5m, memory: 1MiB}
    probes: {port: 3500, live: healthz}
    egress: [{cidr: plc-1, ports: [0]}]
  broker: {image: x/b:1}
  modbus-reader: {}
  web: {image: x/w:1, app_port: 70000}
  coredns: {image: x/c:1}
  web-configuration: {image: x/c:1}
",
    );
    let has = |begin: &str, part: &str| {
        assert!(
            told.iter()
                .any(|error| error.starts_with(begin) && error.contains(part)),
            "{begin} … {part} is not among {told:#?}"
        );
    };
    has(
        "appliance.yaml:5:20: modules.a.calls[1]: ",
        "there is no other module c",
    );
    has(
        "appliance.yaml:5:27: modules.a.calls[2]: ",
        "there is no other module a",
    );
    has(
        "appliance.yaml:5:34: modules.a.calls[3]: ",
        "module.command",
    );
    has("appliance.yaml:7:5: modules.b: ", "no app_port");
    has(
        "appliance.yaml:9:33: modules.b.subscribes[0].route: ",
        "app_port",
    );
    has(
        "appliance.yaml:10:7: modules.b.subscribes[1]: ",
        "belongs to a already",
    );
    has(
        "appliance.yaml:10:57: modules.b.subscribes[1].dead_letter: ",
        "for ever",
    );
    has("appliance.yaml:11:7: modules.b.subscribes[2]: ", "twice");
    has(
        "appliance.yaml:12:17: modules.b.publishes[0]: ",
        "deadletter",
    );
    has(
        "appliance.yaml:13:11: modules.b.env.DAPR_X: ",
        "another name",
    );
    has(
        "appliance.yaml:13:24: modules.b.env.1X: ",
        "environment variable",
    );
    has(
        "appliance.yaml:13:38: modules.b.env.KEY: ",
        "fieldgate secrets",
    );
    has(
        "appliance.yaml:14:14: modules.b.storage: ",
        "at least 16MiB",
    );
    has(
        "appliance.yaml:15:19: modules.b.app_protocol: ",
        "http, grpc",
    );
    has(
        "appliance.yaml:16:19: modules.b.limits.cpu: ",
        "thousandths",
    );
    has("appliance.yaml:16:33: modules.b.limits.memory: ", "8MiB");
    has("appliance.yaml:17:20: modules.b.probes.port: ", "sidecar");
    has(
        "appliance.yaml:17:32: modules.b.probes.live: ",
        "begins with /",
    );
    has(
        "appliance.yaml:18:21: modules.b.egress[0].cidr: ",
        "192.168.1.0/24",
    );
    has(
        "appliance.yaml:18:36: modules.b.egress[0].ports[0]: ",
        "1 to 65535",
    );
    has("appliance.yaml:19:3: modules.broker: ", "take another");
    has("appliance.yaml:22:3: modules.coredns: ", "another file");
    has(
        "appliance.yaml:23:3: modules.web-configuration: ",
        "another file",
    );
    has(
        "appliance.yaml:20:3: modules.modbus-reader: ",
        "configuration: modbus-reader.yaml",
    );
    assert_eq!(told.len(), 25, "{told:#?}");
    has("appliance.yaml:21:33: modules.web.app_port: ", "65535");
}

#[test]
fn a_wrong_key_of_another_kind_of_document_is_told() {
    assert_told(
        &errors("name: gate-7\nappliance: gate-7\nversion: 0.1\nhub: {ca: reader.yaml}\n"),
        &[
            ("appliance.yaml:1:7: name: ", "is called appliance"),
            ("appliance.yaml:3:10: version: ", "in quotes"),
            ("appliance.yaml:4:11: hub.ca: ", "iothub-module"),
            ("reader.yaml: ", "BEGIN CERTIFICATE"),
        ],
    );
}

#[test]
fn documents_are_looked_at_for_what_only_the_pod_decides() {
    let told = load(&[
        (
            "appliance.yaml",
            "\
appliance: gate-7
hub: {ca: ca.pem}
serial: [{name: line-1, path: /dev/ttyUSB0}]
modules:
  modbus-reader: {configuration: reader.yaml, serial: [line-1]}
  iothub-module: {configuration: hub.yaml, storage: 1GiB}
  other: {image: x/o:1, configuration: other.yaml}
",
        ),
        ("ca.pem", "-----BEGIN CERTIFICATE-----\n-----BEGIN RSA PRIVATE KEY-----\n"),
        (
            "reader.yaml",
            "links:\n- name: a\n  serial: {path: /dev/fieldgate/serial-line-1}\n- name: b\n  serial: {path: /dev/ttyUSB0}\n",
        ),
        (
            "hub.yaml",
            "hub: {connection_string: 'HostName=x;SharedAccessKey=abc'}\nqueue: {path: /data/queue.db, max_bytes: 2GiB}\n\
             subscriptions: [{pubsub: pubsub, topic: telemetry}, {pubsub: pubsub-status, topic: status}]\n\
             commands: {allow: [{method: modbus-reader.read}, {method: other.run}]}\n\
             intake: {reorder_wait: 5s}\n",
        ),
        ("other.yaml", "a: [1\n"),
    ])
    .unwrap_err();
    assert_told(
        &told,
        &[
            ("ca.pem: ", "private key"),
            ("hub.yaml:1:1: ", "fieldgate secrets"),
            ("hub.yaml:1:6: hub: ", "ca_file: /etc/fieldgate/hub/ca.pem"),
            (
                "hub.yaml:2:15: queue.path: ",
                "/var/lib/fieldgate/state/queue.db",
            ),
            ("hub.yaml:2:42: queue.max_bytes: ", "1GiB"),
            (
                "hub.yaml:3:26: subscriptions[0].pubsub: ",
                "there are: pubsub-telemetry for telemetry, pubsub-status for status",
            ),
            (
                "hub.yaml:4:59: commands.allow[1].method: ",
                "modules.iothub-module.calls",
            ),
            (
                "hub.yaml:5:24: intake.reorder_wait: ",
                "5s is too short: 5s after a sidecar has vanished",
            ),
            ("other.yaml:", "not valid YAML"),
            (
                "reader.yaml:5:18: links[1].serial.path: ",
                "link b: the pod has no /dev/ttyUSB0; write /dev/fieldgate/serial-line-1",
            ),
        ],
    );
}

#[test]
fn a_document_that_no_config_map_holds_is_refused() {
    let large = format!("a: {}\n", "x".repeat(901 << 10));
    let told = load(&[
        (
            "appliance.yaml",
            "appliance: g\nmodules: {o: {image: x/o:1, configuration: o.yaml}}\n",
        ),
        ("o.yaml", &large),
    ])
    .unwrap_err();
    assert_told(
        &told,
        &[(
            "appliance.yaml:2:44: modules.o.configuration: ",
            "at most 900KiB",
        )],
    );
}

#[test]
fn a_missing_description_is_told() {
    let told = Appliance::load(Path::new("/nowhere/appliance.yaml"))
        .unwrap_err()
        .to_string();
    assert!(
        told.starts_with("/nowhere/appliance.yaml: cannot be read"),
        "{told}"
    );
}

#[test]
fn nodes_must_be_there_and_be_enough() {
    let told = errors(
        "\
appliance: gate
nodes: [gate-7, Gate 8, gate-7]
broker: {replicas: 5}
modules:
  press-log: {image: x/y:1, node: gate-9}
",
    );
    assert_told(
        &told,
        &[
            ("appliance.yaml:2:17: nodes[1]: ", "`kubectl get nodes`"),
            ("appliance.yaml:2:25: nodes[2]: ", "twice"),
            (
                "appliance.yaml:3:20: broker.replicas: ",
                "5 brokers need 5 nodes, and there are 3 under nodes",
            ),
            (
                "appliance.yaml:5:35: modules.press-log.node: ",
                "the nodes are gate-7",
            ),
        ],
    );
    let told = errors(
        "appliance: gate\nbroker: {replicas: 3}\nmodules:\n  press-log: {image: x/y:1, node: gate-9}\n",
    );
    assert_told(
        &told,
        &[
            ("appliance.yaml:2:", "there is none under nodes"),
            ("appliance.yaml:4:", "list it under nodes"),
        ],
    );
}

#[test]
fn the_agent_needs_no_document_and_may_be_called_by_the_hub() {
    let hub = "queue: {path: /var/lib/fieldgate/state/queue.db}\ncommands: {allow: [{method: device-agent.update}]}\n";
    let (appliance, documents) = load(&[
        (
            "appliance.yaml",
            "appliance: gate-7\nmodules:\n  device-agent: {}\n  iothub-module: {configuration: hub.yaml}\n",
        ),
        ("hub.yaml", hub),
    ])
    .unwrap();
    assert!(documents.files["device-agent"].ends_with("{}\n"));
    let agent = appliance.module("device-agent").unwrap();
    assert!(agent.has_configuration && agent.egress.is_empty());
    assert_eq!(agent.callers.len(), 5);

    // Without it there is nothing to allow.
    let told = load(&[
        (
            "appliance.yaml",
            "appliance: gate-7\nmodules:\n  iothub-module: {configuration: hub.yaml}\n",
        ),
        ("hub.yaml", hub),
    ])
    .unwrap_err();
    assert_told(
        &told,
        &[("hub.yaml:2:", "no right to call device-agent.update")],
    );
}
