//! What is linked into a Go program: it carries the list of its modules (debug/buildinfo), and `go version -m` prints it.

use std::path::Path;
use std::process::Command;

use anyhow::{Context, Result};

use super::part::{Kind, Part, ProgramParts};
use super::purl;
use crate::process::output;

/// The hash Go's checksum database has of a module: over the files of the module, not over one file, so it is no `hash` of CycloneDX.
const SUM: &str = "fieldgate:go:sum";
const UNDER_DEVELOPMENT: &str = "(devel)";

pub(super) fn parts(file: &Path) -> Result<ProgramParts> {
    let text = output(Command::new("go").args(["version", "-m"]).arg(file))?;
    parse(&text).with_context(|| format!("the modules of {}", file.display()))
}

fn parse(text: &str) -> Result<ProgramParts> {
    let mut lines = text.lines();
    let first = lines.next().context("go version printed nothing")?;
    let go = first
        .rsplit_once(": go")
        .map(|(_, version)| version)
        .with_context(|| format!("go version printed '{first}'"))?;
    let mut program = None;
    let mut linked: Vec<Part> = Vec::new();
    for line in lines {
        let words: Vec<&str> = line.split_whitespace().collect();
        match words.as_slice() {
            ["mod", module, rest @ ..] => {
                let mut part = module_part(module, rest);
                part.kind = Kind::Application;
                program = Some(part);
            }
            ["dep", module, rest @ ..] => linked.push(module_part(module, rest)),
            // stands in for the module of the line before
            ["=>", module, rest @ ..] => {
                let replaced = linked.pop().context("a replacement follows no module")?;
                let mut part = module_part(module, rest);
                part.description = Some(format!("in place of {}", replaced.reference()));
                linked.push(part);
            }
            _ => {}
        }
    }
    let mut library = Part::new(Kind::Library, "stdlib", Some(go));
    library.purl = Some(purl::golang("stdlib", go));
    library.licence = Some("BSD-3-Clause".to_owned());
    library.description = Some("the Go standard library".to_owned());
    linked.push(library);

    let mut program = program.context("the program does not say of which module it is")?;
    program.needs = linked.iter().map(Part::reference).collect();
    Ok(ProgramParts { program, linked })
}

fn module_part(module: &str, rest: &[&str]) -> Part {
    let version = rest
        .first()
        .copied()
        .filter(|version| *version != UNDER_DEVELOPMENT);
    let mut part = Part::new(Kind::Library, module, version);
    part.purl = version.map(|version| purl::golang(module, version));
    if let Some(sum) = rest.get(1) {
        part.properties.insert(SUM.to_owned(), (*sum).to_owned());
    }
    part
}

#[cfg(test)]
mod tests {
    use super::*;

    const PRINTED: &str = "/x/broker: go1.26.8\n\tpath\texample.com/broker/v2\n\tmod\texample.com/broker/v2\tv2.15.2\th1:aa=\n\
        \tdep\tgithub.com/Some/Thing\tv1.0.0\n\t=>\tgithub.com/other/thing\tv1.1.0\th1:bb=\n\
        \tdep\tgolang.org/x/sys\tv0.49.0\th1:cc=\n\tbuild\tCGO_ENABLED=0\n";

    #[test]
    fn modules_replacements_and_the_standard_library_are_listed() {
        let found = parse(PRINTED).unwrap();
        assert_eq!(
            found.program.reference(),
            "pkg:golang/example.com/broker/v2@v2.15.2"
        );
        assert_eq!(
            found.program.properties.get(SUM).map(String::as_str),
            Some("h1:aa=")
        );
        let references: Vec<_> = found.linked.iter().map(Part::reference).collect();
        assert_eq!(
            references,
            [
                "pkg:golang/github.com/other/thing@v1.1.0",
                "pkg:golang/golang.org/x/sys@v0.49.0",
                "pkg:golang/stdlib@1.26.8"
            ]
        );
        assert_eq!(
            found.linked[0].description.as_deref(),
            Some("in place of pkg:golang/github.com/some/thing@v1.0.0")
        );
        assert_eq!(found.program.needs.len(), 3);
    }

    #[test]
    fn a_program_under_development_has_no_version() {
        let found = parse("x: go1.26.8\n\tmod\tfieldgate.io/image/dapr\t(devel)\t\n").unwrap();
        assert_eq!((found.program.version, found.program.purl), (None, None));
        assert!(parse("x: not executable file\n").is_err());
        assert!(parse("x: go1.26.8\n\t=>\ta\tv1\n").is_err());
    }
}
