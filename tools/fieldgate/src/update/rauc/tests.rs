//! The captures are what RAUC 1.13 wrote: its service with two slots, before and after an installation.

use super::*;

const FRESH: &str = include_str!("captures/status-fresh.json");
const INSTALLED: &str = include_str!("captures/status-installed.json");
const INFO: &str = include_str!("captures/info.json");

#[test]
fn slots_before_and_after_an_installation() {
    let fresh = status(FRESH).unwrap();
    assert_eq!(fresh.compatible, "fieldgate-amd64-uefi");
    let booted = fresh.booted().unwrap();
    assert_eq!((booted.bootname.as_str(), booted.is_primary), ("a", true));
    assert!(!booted.is_good, "it was marked bad in this capture");
    assert_eq!(booted.version, None);

    let installed = status(INSTALLED).unwrap();
    let other = installed.other().unwrap();
    assert_eq!(
        (other.bootname.as_str(), other.is_primary, other.is_good),
        ("b", true, true)
    );
    assert_eq!(other.version.as_deref(), Some("0.2.0"));
    assert_eq!(other.installed.as_deref(), Some("2026-11-28T07:19:06Z"));
    assert!(!installed.booted().unwrap().is_primary);
    assert!(status("{}").is_err());
}

#[test]
fn a_bundle_has_a_semantic_version() {
    let found = info(INFO).unwrap();
    assert_eq!(found.compatible, "fieldgate-amd64-uefi");
    assert_eq!(found.version, Version::new(0, 2, 0));
    let other = INFO.replace("0.2.0", "spring 3");
    assert!(info(&other).unwrap_err().contains("spring 3"));
}

#[test]
fn why_a_bundle_is_refused() {
    let wrong = "rauc-Message: 07:16:14.643: Verifying bundle signature... \nsignature verification failed: Verify error: self-signed certificate\n";
    let reason = said(wrong.as_bytes());
    assert_eq!(refused("x".to_owned(), reason).exit_status(), 10);
    let cut = "rauc-Message: 07:16:14.670: Reading bundle: /w/cut.raucb\nInvalid bundle format: Signature size (43) exceeds bundle size\n";
    assert_eq!(
        refused("x".to_owned(), said(cut.as_bytes())).exit_status(),
        17
    );
    let gone = "\n(rauc:23368): rauc-WARNING **: 07:18:44.847: The name de.pengutronix.rauc was not provided by any .service files\nError retrieving slot status via D-Bus: no service\n";
    assert_eq!(
        said(gone.as_bytes()),
        "Error retrieving slot status via D-Bus: no service"
    );
    assert_eq!(said(b""), "rauc gave no reason");
}

#[test]
fn progress_of_an_installation() {
    let found = step(" 46% Copying image to rootfs.1").unwrap();
    assert_eq!(
        (found.percent, found.what.as_str()),
        (46, "Copying image to rootfs.1")
    );
    assert_eq!(step("100% Installing done.").unwrap().percent, 100);
    for line in [
        "installing",
        "idle",
        "Installing `/w/x.raucb` succeeded",
        "900% x",
    ] {
        assert_eq!(step(line), None, "{line}");
    }
}
