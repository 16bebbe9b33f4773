//! The documents that a description names: read, and checked as far as their place in a pod decides whether they work.

use std::path::Path as FilePath;

use module_runtime::configuration::{ByteSize, Path};
use module_runtime::{Problem, path};
use serde_json::Value;

use super::check::{SECRET, is_secret};
use super::{Documents, hub_document};
use crate::invalid::of_file;
use crate::yaml::{Located, value_at};

/// The largest document, in bytes: an object of Kubernetes holds 1 MiB, the names and labels of the ConfigMap included.
const LARGEST: u64 = 900 << 10;
/// Where a pod has its serial ports.
const SERIAL: &str = "/dev/fieldgate/serial-";

/// Reads what the description names. What it says is taken as it is written, so that a description with mistakes elsewhere has its documents
/// looked at as well.
pub(super) fn read(
    description: &Located,
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
        if let Some((shown, text)) = read_text(description, &at, directory, problems) {
            check(
                &shown,
                module,
                described,
                description.value(),
                &text,
                problems,
            );
            documents.files.insert(module.clone(), text);
        }
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

fn check(
    file: &str,
    module: &str,
    described: &Value,
    description: &Value,
    text: &str,
    problems: &mut Vec<Problem>,
) {
    let document = match Located::parse(file, text) {
        Ok(document) => document,
        Err(problem) => return problems.push(problem),
    };
    if let Some(line) = text.lines().position(is_secret) {
        let mut problem = of_file(file, SECRET);
        (problem.line, problem.column) = (line + 1, 1);
        problems.push(problem);
    }
    match module {
        "modbus-reader" => check_links(&document, described, problems),
        "iothub-module" => hub_document::check(&document, described, description, problems),
        _ => {}
    }
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
