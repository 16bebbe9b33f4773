//! The documents that a description names: read, and checked as far as their place in a pod decides whether they work.

use std::path::Path as FilePath;

use module_runtime::configuration::{ByteSize, Path};
use module_runtime::{Problem, path};
use serde_json::Value;

use super::check::{SECRET, is_secret};
use super::{Documents, hub_document};
use crate::invalid::of_file;
use crate::yaml::{Located, emit, value_at};

/// The largest document, in bytes: an object of Kubernetes holds 1 MiB, the names and labels of the ConfigMap included.
const LARGEST: u64 = 900 << 10;
/// Of a device-agent that was given none: everything has a default.
const AGENT_DOCUMENT: &str = "\
# The host's socket and where desired properties come from: as they are on the appliance (docs/reference/device-agent.md).
{}
";
/// Where a pod has its serial ports.
const SERIAL: &str = "/dev/fieldgate/serial-";

impl Documents {
    /// Reads the documents that a text has under `modules`, inline or as files, and the file at `hub.ca`: what [`Appliance::parse`] does
    /// after the description itself. For texts that hold more than a description. A text that is no YAML has no documents.
    ///
    /// [`Appliance::parse`]: super::Appliance::parse
    pub fn read(file: &str, text: &str, directory: &FilePath, problems: &mut Vec<Problem>) -> Self {
        match Located::parse(file, text) {
            Ok(located) => read(&located, text, directory, problems),
            Err(_) => Self::default(),
        }
    }
}

/// Reads what the description names. What it says is taken as it is written, so that a description with mistakes elsewhere has its documents
/// looked at as well.
pub(super) fn read(
    description: &Located,
    text: &str,
    directory: &FilePath,
    problems: &mut Vec<Problem>,
) -> Documents {
    let mut documents = Documents::default();
    let modules = description
        .value()
        .get("modules")
        .and_then(Value::as_object);
    for (module, described) in modules.into_iter().flatten() {
        let at = path!["modules", module, "configuration"];
        if module == "device-agent" && described.get("configuration").is_none_or(Value::is_null) {
            documents
                .files
                .insert(module.clone(), AGENT_DOCUMENT.to_owned());
            continue;
        }
        let inline = description
            .part(&at)
            .filter(|part| part.value().is_object());
        let (document, document_text) = if let Some(document) = inline {
            for secret in secrets(document.value(), &Path::root()) {
                problems.push(document.problem(&secret, SECRET));
            }
            let place = description.place(&at);
            let written = written(text, place.line, place.column, document.value());
            let text = written.unwrap_or_else(|| emit(document.value()));
            (document, text)
        } else {
            let Some((shown, text)) = read_text(description, &at, directory, problems) else {
                continue;
            };
            if let Some(line) = text.lines().position(is_secret) {
                let mut problem = of_file(&shown, SECRET);
                (problem.line, problem.column) = (line + 1, 1);
                problems.push(problem);
            }
            match Located::parse(&shown, &text) {
                Ok(document) => (document, text),
                Err(problem) => {
                    problems.push(problem);
                    continue;
                }
            }
        };
        match module.as_str() {
            "modbus-reader" => check_links(&document, described, problems),
            "iothub-module" => {
                hub_document::check(&document, described, description.value(), problems);
            }
            _ => {}
        }
        documents.files.insert(module.clone(), document_text);
    }
    let at = path!["hub", "ca"];
    if let Some((shown, text)) = read_text(description, &at, directory, problems) {
        if text.contains("PRIVATE KEY-----") {
            problems.push(of_file(
                &shown,
                "holds a private key; keep only the certificates in it",
            ));
        } else if !text.contains("-----BEGIN CERTIFICATE-----") {
            problems.push(of_file(
                &shown,
                "holds no certificate; it must be PEM (-----BEGIN CERTIFICATE-----)",
            ));
        }
        documents.hub_ca = Some(text);
    }
    documents
}

/// The text of the file that is named at a path of the description, with Unix line ends and one at its end; and the file's name for messages.
fn read_text(
    description: &Located,
    at: &Path,
    directory: &FilePath,
    problems: &mut Vec<Problem>,
) -> Option<(String, String)> {
    let name = value_at(description.value(), at)?.as_str()?;
    let file = directory.join(name);
    let shown = file.display().to_string();
    let mut fail = |message: String| {
        problems.push(description.problem(at, message));
        None
    };
    let size = match std::fs::metadata(&file) {
        Ok(metadata) if metadata.is_file() => metadata.len(),
        Ok(_) => return fail(format!("{shown} is no file")),
        Err(error) => {
            return fail(format!(
                "{shown} cannot be read ({error}); the path is relative to the description"
            ));
        }
    };
    if size > LARGEST {
        return fail(format!(
            "{shown} has {size} bytes; at most {} fit into a ConfigMap: split it, or let config-manager fetch it",
            ByteSize::from_bytes(LARGEST)
        ));
    }
    match std::fs::read_to_string(&file) {
        Ok(text) => {
            let mut text = text.trim_start_matches('\u{feff}').replace("\r\n", "\n");
            if !text.ends_with('\n') {
                text.push('\n');
            }
            Some((shown, text))
        }
        Err(error) => fail(format!("{shown} cannot be read: {error}")),
    }
}

/// Where an inline document holds a key in clear.
fn secrets(value: &Value, at: &Path) -> Vec<Path> {
    match value {
        Value::String(text) if is_secret(text) => vec![at.clone()],
        Value::Array(items) => items
            .iter()
            .enumerate()
            .flat_map(|(index, item)| secrets(item, &at.join(index)))
            .collect(),
        Value::Object(entries) => entries
            .iter()
            .flat_map(|(key, item)| secrets(item, &at.join(key)))
            .collect(),
        _ => Vec::new(),
    }
}

/// An inline document as it was written, comments included, moved to the left margin. None where it is not a block of its own, or where
/// that changes what it holds.
fn written(text: &str, line: usize, column: usize, value: &Value) -> Option<String> {
    let indent = column - 1;
    let is_inside = |line: &str| {
        let blanks = line.len() - line.trim_start_matches(' ').len();
        line.trim().is_empty() || blanks >= indent
    };
    let mut block: Vec<&str> = text
        .lines()
        .skip(line - 1)
        .take_while(|line| is_inside(line))
        .map(|line| line.get(indent..).unwrap_or_default())
        .collect();
    while block.last().is_some_and(|line| line.trim().is_empty()) {
        block.pop();
    }
    let mut document = block.join("\n");
    document.push('\n');
    let read = Located::parse("", &document).ok()?;
    (read.value() == value).then_some(document)
}

/// A serial link must name the port as the pod has it.
fn check_links(document: &Located, described: &Value, problems: &mut Vec<Problem>) {
    let ports: Vec<&str> = described
        .get("serial")
        .and_then(Value::as_array)
        .into_iter()
        .flatten()
        .filter_map(Value::as_str)
        .collect();
    let links = document.value().get("links").and_then(Value::as_array);
    for (index, link) in links.into_iter().flatten().enumerate() {
        let at = path!["links", index, "serial", "path"];
        let Some(written) = value_at(document.value(), &at).and_then(Value::as_str) else {
            continue;
        };
        let has_port = written
            .strip_prefix(SERIAL)
            .is_some_and(|name| ports.contains(&name));
        if has_port {
            continue;
        }
        let name = link.get("name").and_then(Value::as_str).unwrap_or("?");
        let remedy = match ports.as_slice() {
            [] => "list the port under serial and under modules.modbus-reader.serial of the description, and write /dev/fieldgate/serial-<name> here".to_owned(),
            ports => {
                let paths: Vec<String> = ports.iter().map(|port| format!("{SERIAL}{port}")).collect();
                format!("write {}, or list another port under modules.modbus-reader.serial of the description", paths.join(" or "))
            }
        };
        problems.push(document.problem(
            &at,
            format!("link {name}: the pod has no {written}; {remedy}"),
        ));
    }
}
