//! From a description to a verified folder, with programs that only look like some.

use std::fs::{self, Permissions};
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};

use oci_image::{
    Architecture, Entry, EntryKind, Image, ImageName, Settings, Source, StoredImage, Tree,
};
use tempfile::TempDir;

use crate::description::{Description, Origin};
use crate::workspace::Workspace;
use crate::{archive, check, elf, inspect, listing, sbom};

const DESCRIPTION: &str = "
registry: fieldgate.io
user: '65532:65532'
labels: {org.opencontainers.image.vendor: Fieldgate}
images:
  - name: sample
    title: Sample
    description: A sample
    version: 1.0.0
    repositories: [sample/one, sample/two]
    programs:
      - {path: /sample, links: [/one, /two], rust: {package: measurement}}
    ports: [9600/tcp]
    files:
      - {path: /etc/ssl/certs/ca-certificates.crt, content: mozilla-roots}
";

fn repository() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../..")
}

fn description(folder: &TempDir, text: &str) -> anyhow::Result<Description> {
    let path = folder.path().join("images.yaml");
    fs::write(&path, text).unwrap();
    Description::load(&path)
}

/// Writes archive, bill and list of the sample as `build` does, from a program in another folder.
fn built(program_mode: u32) -> TempDir {
    let (sources, output) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
    let program = sources.path().join("sample");
    let mut bytes = elf::tests::elf(62, 1);
    bytes.resize(50_000, 7);
    fs::write(&program, bytes).unwrap();
    fs::set_permissions(&program, Permissions::from_mode(program_mode)).unwrap();

    let description = description(&sources, DESCRIPTION).unwrap();
    let image = &description.images[0];
    let sealed = archive::seal(
        &description,
        image,
        std::slice::from_ref(&program),
        Architecture::Amd64,
        None,
    )
    .unwrap();
    let stem = archive::stem(image, Architecture::Amd64);
    let stored = archive::store(&sealed, &output.path().join(format!("{stem}.tar.zst"))).unwrap();
    let workspace = Workspace::load(&repository()).unwrap();
    let bill = sbom::of_image(&workspace, image, &[], &[program], &stored, None).unwrap();
    fs::write(output.path().join(format!("{stem}.cdx.json")), bill).unwrap();
    listing::write(output.path(), [stem].into_iter()).unwrap();
    output
}

fn in_folder(folder: &TempDir, name: &str) -> PathBuf {
    folder.path().join(name)
}

const ARCHIVE: &str = "fieldgate-sample-1.0.0-amd64.tar.zst";
const BILL: &str = "fieldgate-sample-1.0.0-amd64.cdx.json";

#[test]
fn two_builds_are_equal_in_every_file() {
    let (one, two) = (built(0o755), built(0o600));
    for name in [ARCHIVE, BILL, "images.txt"] {
        let (one, two) = (
            fs::read(in_folder(&one, name)).unwrap(),
            fs::read(in_folder(&two, name)).unwrap(),
        );
        assert!(one == two, "{name} differs");
    }
}

#[test]
fn a_built_folder_verifies_and_every_change_is_found() {
    let folder = built(0o755);
    listing::verify(folder.path()).unwrap();
    inspect::run(&in_folder(&folder, ARCHIVE)).unwrap();

    let whole = fs::read(in_folder(&folder, ARCHIVE)).unwrap();
    for at in [4, 5, whole.len() / 2, whole.len() - 1] {
        let mut damaged = whole.clone();
        damaged[at] ^= 1;
        fs::write(in_folder(&folder, ARCHIVE), damaged).unwrap();
        assert!(listing::verify(folder.path()).is_err(), "byte {at}");
    }
    fs::write(in_folder(&folder, ARCHIVE), &whole).unwrap();

    let bill = fs::read_to_string(in_folder(&folder, BILL)).unwrap();
    fs::write(
        in_folder(&folder, BILL),
        bill.replacen("\"content\": \"", "\"content\": \"0", 1),
    )
    .unwrap();
    assert!(
        listing::verify(folder.path()).is_err(),
        "the bill of another image"
    );
    fs::remove_file(in_folder(&folder, BILL)).unwrap();
    assert!(listing::verify(folder.path()).is_err(), "no bill");
    fs::write(in_folder(&folder, BILL), &bill).unwrap();

    fs::write(
        in_folder(&folder, "fieldgate-sample-0.9.0-amd64.tar.zst"),
        &whole,
    )
    .unwrap();
    assert!(
        listing::verify(folder.path()).is_err(),
        "an archive of another version"
    );
    fs::remove_file(in_folder(&folder, "fieldgate-sample-0.9.0-amd64.tar.zst")).unwrap();
    listing::verify(folder.path()).unwrap();
}

#[test]
fn the_archive_holds_what_was_described() {
    let folder = built(0o755);
    let image = archive::only_image(&in_folder(&folder, ARCHIVE)).unwrap();
    assert_eq!(
        image.names,
        [
            "fieldgate.io/sample/one:1.0.0",
            "fieldgate.io/sample/two:1.0.0"
        ]
    );
    assert_eq!(
        (
            image.settings.user.as_str(),
            image.settings.entrypoint.as_slice()
        ),
        ("65532:65532", ["/sample".to_owned()].as_slice())
    );
    assert_eq!(
        image.settings.labels["org.opencontainers.image.version"],
        "1.0.0"
    );
    let paths: Vec<_> = image
        .entries
        .iter()
        .map(|entry| entry.path.as_str())
        .collect();
    assert_eq!(
        paths,
        [
            "/etc",
            "/etc/ssl",
            "/etc/ssl/certs",
            "/etc/ssl/certs/ca-certificates.crt",
            "/sample",
            "/one",
            "/two"
        ]
    );
    assert_eq!(
        image.entries[6].kind,
        EntryKind::HardLink {
            target: "/sample".into()
        }
    );
    assert!(check::findings(&image).is_empty());
}

#[test]
fn the_bill_has_the_structure_of_cyclonedx_and_names_what_is_inside() {
    let folder = built(0o755);
    let text = fs::read_to_string(in_folder(&folder, BILL)).unwrap();
    let bill: serde_json::Value = serde_json::from_str(&text).unwrap();
    assert_eq!(
        (&bill["bomFormat"], &bill["specVersion"], &bill["version"]),
        (&"CycloneDX".into(), &"1.6".into(), &1.into())
    );
    assert!(
        bill["metadata"].get("timestamp").is_none(),
        "no time that would differ from build to build"
    );
    let image = archive::only_image(&in_folder(&folder, ARCHIVE)).unwrap();
    assert_eq!(bill["metadata"]["component"]["type"], "container");
    assert_eq!(
        bill["metadata"]["component"]["hashes"][0]["content"],
        image.digest.hex()
    );

    let kinds = ["application", "library", "data"];
    let components = bill["components"].as_array().unwrap();
    for component in components {
        assert!(
            kinds.contains(&component["type"].as_str().unwrap()),
            "{component}"
        );
        assert!(
            component["name"].is_string() && component["bom-ref"].is_string(),
            "{component}"
        );
        for licence in component["licenses"].as_array().into_iter().flatten() {
            assert!(licence["expression"].is_string(), "{component}");
        }
    }
    let named = |name: &str| {
        components
            .iter()
            .find(|component| component["name"] == name)
    };
    assert_eq!(named("measurement").unwrap()["type"], "application");
    assert_eq!(named("webpki-root-certs").unwrap()["type"], "data");
    assert!(
        named("serde_json").unwrap()["purl"]
            .as_str()
            .unwrap()
            .starts_with("pkg:cargo/serde_json@1.")
    );
    assert!(
        named("proptest").is_none(),
        "only tests of the package need it"
    );
    let of_image = &bill["dependencies"][0]["dependsOn"];
    assert_eq!(of_image.as_array().unwrap().len(), 2, "{of_image}");
}

#[test]
fn what_must_not_be_in_an_image_is_found() {
    let image = |mode, user: &str, entrypoint: &str| StoredImage {
        digest: oci_image::Digest::of(b""),
        names: vec!["fieldgate.io/x:1".into()],
        architecture: Architecture::Amd64,
        created: None,
        settings: Settings {
            user: user.into(),
            entrypoint: vec![entrypoint.into()],
            ..Settings::default()
        },
        layer_bytes: 0,
        entries: vec![Entry {
            path: "/x".into(),
            kind: EntryKind::File { size: 1 },
            mode,
            uid: 0,
            gid: 0,
            modified: 0,
        }],
    };
    let count =
        |mode, user: &str, entrypoint: &str| check::findings(&image(mode, user, entrypoint)).len();
    assert_eq!(count(0o755, "65532:65532", "/x"), 0);
    assert_eq!(count(0o4755, "65532:65532", "/x"), 1, "setuid");
    assert_eq!(count(0o2755, "65532:65532", "/x"), 1, "setgid");
    assert_eq!(count(0o757, "65532:65532", "/x"), 1, "world-writable");
    for user in ["", "0", "0:0", "65532:0", "root", "nobody"] {
        assert_eq!(count(0o755, user, "/x"), 1, "user '{user}'");
    }
    assert_eq!(count(0o644, "65532", "/x"), 1, "not executable");
    assert_eq!(count(0o755, "65532", "/y"), 1, "not there");
    let mut twice = image(0o755, "65532", "/x");
    twice.entries.push(twice.entries[0].clone());
    assert_eq!(check::findings(&twice).len(), 1, "twice");
}

#[test]
fn inspect_fails_on_an_archive_with_a_setuid_program() {
    let folder = tempfile::tempdir().unwrap();
    let path = in_folder(&folder, "x.tar.zst");
    let mut tree = Tree::default();
    tree.file("/x", 0o4755, Source::Bytes(vec![1])).unwrap();
    let name: ImageName = "fieldgate.io/x:1".parse().unwrap();
    let image = Image {
        architecture: Architecture::Amd64,
        names: vec![name],
        settings: Settings {
            user: "1:1".into(),
            ..Settings::default()
        },
        tree,
        created: None,
    };
    let sealed = image.seal().unwrap();
    sealed.write(&path).unwrap();
    let error = inspect::run(&path).unwrap_err().to_string();
    assert!(error.contains("/x is setuid"), "{error}");
    assert!(archive::store(&sealed, &path).is_err());
    assert!(!path.exists(), "such an archive is not left");
}

#[test]
fn mistakes_in_a_description_are_named() {
    let folder = tempfile::tempdir().unwrap();
    let message = |from: &str, to: &str| {
        let text = DESCRIPTION.replacen(from, to, 1);
        assert_ne!(text, DESCRIPTION);
        format!("{:#}", description(&folder, &text).unwrap_err())
    };
    assert!(message("ports:", "port:").contains("unknown field `port`"));
    assert!(message("name: sample", "name: Sam ple").contains("lower-case"));
    assert!(message("rust: {package: measurement}", "links: []").contains("images"));
    assert!(message(", rust: {package: measurement}", "").contains("either 'rust' or 'go'"));
    assert!(message("sample/two", "sample/one").contains("the name of two images"));
    assert!(message("registry: fieldgate.io", "registry: fieldgate").contains("not a host name"));
    let good = description(&folder, DESCRIPTION).unwrap();
    assert!(
        good.select(&["other".into()])
            .unwrap_err()
            .to_string()
            .contains("images: sample")
    );
}

#[test]
fn the_description_of_the_repository_fits_the_repository() {
    let root = repository();
    let description = Description::load(&root.join("image/images/images.yaml")).unwrap();
    let names: Vec<_> = description
        .images
        .iter()
        .map(|image| image.name.as_str())
        .collect();
    assert_eq!(
        names,
        [
            "modbus-reader",
            "iothub-module",
            "device-agent",
            "broker-setup",
            "broker",
            "dapr"
        ]
    );
    let go_version = fs::read_to_string(root.join("image/dapr/go.mod")).unwrap();
    let dapr = &description.images[5];
    let upstream = dapr.version().split('-').next().unwrap();
    assert!(
        go_version.contains(&format!("github.com/dapr/dapr v{upstream}\n")),
        "image/dapr is not at {upstream}"
    );
    for program in description.images.iter().flat_map(|image| &image.programs) {
        let folder = match program.origin().unwrap() {
            Origin::Go(go) => root.join(&go.folder).join("go.mod"),
            Origin::Rust(_) => root.join("modules").join(program.name()).join("Cargo.toml"),
        };
        assert!(folder.exists(), "{}", folder.display());
    }
}
