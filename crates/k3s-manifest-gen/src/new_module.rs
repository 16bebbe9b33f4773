//! The description's entry for a module of one's own, in any language.

use module_runtime::Problem;
use module_runtime::configuration::Path;
use module_runtime::path;
use serde_json::Value;

use crate::description::Known;
use crate::description::names::fault_of_name;
use crate::invalid::{Invalid, of_file};
use crate::yaml::Located;

/// The entry, to stand under `modules`, without indentation of its own.
const ENTRY: &str = "\
NAME:
  # The program's image. The node must have it (on k3s an archive in agent/images), or a registry to fetch it from. It runs as user 65532
  # with a root file system that it cannot write.
  image: registry.example/NAME:0.1.0
  # The port on which the program listens for its sidecar; what it speaks there: http, or grpc.
  app_port: 8080
  app_protocol: http
  # Topics it takes events from: telemetry, alarms, status, commands, config, deadletter. The sidecar posts each event to the route; what the
  # program keeps refusing goes to the topic deadletter. Without a route the program opens a streaming subscription itself.
  subscribes:
  - topic: telemetry
    route: /events
  # Topics it may publish to; the broker refuses every other one.
  publishes: [status]
  # Commands of other modules it may call; their sidecars refuse every other one.
  calls: []
  # The most it may take. More memory ends the program.
  limits: {cpu: 500m, memory: 128MiB}
  # Where Kubernetes asks whether it is alive, and whether it can do its work (GET, 200 is yes).
  # probes: {port: 8080, live: /healthz, ready: /readyz}
  # A document of its own: becomes NAME-configuration.yaml, and in the pod the file that FIELDGATE_CONFIG names.
  # configuration: NAME.yaml
  # A volume at /var/lib/fieldgate/state that outlives the pod.
  # storage: 64MiB
  # Serial ports, found at /dev/fieldgate/serial-<name>.
  # serial: [line-1]
  # Environment variables. Never a secret: the manifests are readable.
  # env: {LOG_LEVEL: info}
  # The port of its Prometheus metrics (/metrics).
  # metrics_port: 9100
  # Addresses outside the cluster it may reach; none without this.
  # egress: [{cidr: 192.168.1.10/32, ports: [1883]}]
";

/// What the program must do.
const DUTIES: &str = "\
What the program has to do (docs/extend/README.md has it all, with an example in Python):
  * listen on port 8080 (app_port), in HTTP: on 127.0.0.1, or, where the same port answers the kubelet's probes, on all addresses with
    events and commands taken from 127.0.0.1 only;
  * answer POST /events (the route of a subscription) with 200 when the event is where it shall be, {\"status\":\"RETRY\"} to have it again,
    {\"status\":\"DROP\"} when it can never read it. An event may come twice: its id tells;
  * publish with POST http://127.0.0.1:$DAPR_HTTP_PORT/v1.0/publish/$FIELDGATE_PUBSUB/<topic>?metadata.rawPayload=true, a CloudEvent with an
    id of its own that stays the same when it repeats what was not answered with 204;
  * offer a command as POST /<command> with JSON in and out, and list its commands at GET /commands;
  * write only below /var/lib/fieldgate/state (with storage), and end within 20 s of SIGTERM.
";

/// The entry for a module, as it stands in a description.
///
/// # Errors
/// A name that a module of one's own cannot have.
pub fn entry(name: &str) -> Result<String, Invalid> {
    if Known::of(name) != Known::Custom {
        let message = match Known::of(name) {
            Known::DeviceAgent => "is one of Fieldgate's own; it needs nothing: NAME: {}",
            _ => {
                "is one of Fieldgate's own; it needs only a configuration: NAME: {configuration: NAME.yaml}"
            }
        };
        return Err(Invalid::one(of_file(name, message.replace("NAME", name))));
    }
    if let Some(fault) = fault_of_name(name) {
        return Err(Invalid::one(of_file("new module", fault)));
    }
    Ok(ENTRY.replace("NAME", name))
}

/// What a module's program has to do, for people.
pub fn duties() -> &'static str {
    DUTIES
}

/// A description's text with the entry behind its modules. The rest of the text stays as it is.
///
/// # Errors
/// What keeps the text from being a description with modules in block style; a module that is there already.
pub fn append(file: &str, text: &str, name: &str) -> Result<String, Invalid> {
    let entry = entry(name)?;
    let before = Located::parse(file, text).map_err(Invalid::one)?;
    let modules = path!["modules"];
    if before
        .value()
        .pointer("/modules")
        .and_then(|all| all.get(name))
        .is_some()
    {
        let problem = before.problem(&modules.join(name), "is described already; change it there");
        return Err(Invalid::one(problem));
    }
    let lines: Vec<&str> = text.split_inclusive('\n').collect();
    let extended = match lines.iter().position(|line| is_modules(line)) {
        Some(start) => insert(&lines, start, &entry),
        None => {
            let end = if text.is_empty() || text.ends_with('\n') {
                ""
            } else {
                "\n"
            };
            format!("{text}{end}modules:\n{}", indented(&entry, 2))
        }
    };
    let fits = Located::parse(file, &extended)
        .is_ok_and(|after| is_only_addition(before.value(), after.value(), name));
    if fits {
        Ok(extended)
    } else {
        Err(Invalid::one(cannot_insert(&before, &modules)))
    }
}

fn cannot_insert(before: &Located, modules: &Path) -> Problem {
    before.problem(
        modules,
        "the entry does not fit in here; write the modules as a block (`modules:`, then each module on a line of its own, indented), or paste what \
         `fieldgate manifests new-module` prints without --appliance",
    )
}

/// Whether a line begins the modules as a block.
fn is_modules(line: &str) -> bool {
    line.strip_prefix("modules:")
        .map(str::trim)
        .is_some_and(|rest| rest.is_empty() || rest.starts_with('#'))
}

fn insert(lines: &[&str], start: usize, entry: &str) -> String {
    let is_content = |line: &str| !line.trim().is_empty() && !line.trim_start().starts_with('#');
    let rest = lines.get(start + 1..).unwrap_or_default();
    let block = rest
        .iter()
        .position(|line| is_content(line) && !line.starts_with(' '))
        .unwrap_or(rest.len());
    let block = rest.get(..block).unwrap_or_default();
    // What stands behind the last module and is not indented belongs to what follows.
    let length = block
        .iter()
        .rposition(|line| line.starts_with(' ') && !line.trim().is_empty())
        .map_or(0, |last| last + 1);
    let indent = block
        .iter()
        .find(|line| is_content(line))
        .map_or(2, |line| line.len() - line.trim_start_matches(' ').len());
    let (head, tail) = lines.split_at((start + 1 + length).min(lines.len()));
    let head = head.concat();
    let end = if head.ends_with('\n') { "" } else { "\n" };
    format!("{head}{end}{}{}", indented(entry, indent), tail.concat())
}

fn indented(entry: &str, indent: usize) -> String {
    entry
        .lines()
        .map(|line| format!("{}{line}\n", " ".repeat(indent)))
        .collect()
}

fn is_only_addition(before: &Value, after: &Value, name: &str) -> bool {
    let empty = Value::Object(serde_json::Map::new());
    let mut rest = after.clone();
    let removed = rest
        .pointer_mut("/modules")
        .and_then(Value::as_object_mut)
        .and_then(|modules| modules.remove(name));
    let mut before = before.clone();
    if before.is_null() {
        before = empty.clone();
    }
    if let Some(map) = before.as_object_mut() {
        let modules = map.entry("modules").or_insert(Value::Null);
        if modules.is_null() {
            *modules = empty;
        }
    }
    removed.is_some() && rest == before
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::Appliance;

    const DESCRIPTION: &str = "\
# My plant.
appliance: gate-7

modules:   # all of them
    other:
        image: x/other:1   # kept

    # The end of the modules.

# The broker.
broker: {memory: 128MiB}
";

    #[test]
    fn the_entry_stands_behind_the_others_and_the_text_is_kept() {
        let text = append("f", DESCRIPTION, "my-filter").unwrap();
        let (head, tail) = DESCRIPTION.split_once("\n# The broker.").unwrap();
        assert!(text.starts_with(head), "{text}");
        assert!(text.ends_with(&format!("\n# The broker.{tail}")), "{text}");
        assert!(
            text.contains("\n    my-filter:\n      # The program's image."),
            "{text}"
        );
        let (appliance, _) = Appliance::parse("f", &text, std::path::Path::new(".")).unwrap();
        assert_eq!(appliance.modules.len(), 2);
        assert_eq!(
            appliance.module("my-filter").unwrap().image,
            "registry.example/my-filter:0.1.0"
        );
    }

    #[test]
    fn a_description_without_modules_gets_them() {
        for text in ["appliance: gate-7", "appliance: gate-7\nmodules:\n"] {
            let text = append("f", text, "my-filter").unwrap();
            let (appliance, _) = Appliance::parse("f", &text, std::path::Path::new(".")).unwrap();
            assert_eq!(appliance.modules.len(), 1, "{text}");
        }
    }

    #[test]
    fn what_does_not_fit_is_told() {
        let fails = |text: &str, name: &str| append("f.yaml", text, name).unwrap_err().to_string();
        assert!(
            fails(DESCRIPTION, "other")
                .starts_with("f.yaml:6:9: modules.other: is described already")
        );
        assert!(fails("appliance: x\nmodules: {}\n", "a").contains("f.yaml:2:"));
        assert!(fails(DESCRIPTION, "Bad").contains("no name for Kubernetes"));
        assert!(fails(DESCRIPTION, "modbus-reader").contains("modbus-reader: {configuration"));
        assert!(fails("a: [", "a").contains("not valid YAML"));
    }
}
