//! Names of time zones.

use std::fs::File;
use std::io::Read;
use std::path::Path;

/// Where systems have the tz database; the appliance, too.
pub(super) const ZONEINFO: &str = "/usr/share/zoneinfo";
/// What a zone's file begins with (RFC 9636, section 3.1).
const MAGIC: [u8; 4] = *b"TZif";
/// The longest name that is taken; the longest of the database has 32.
const LONGEST: usize = 64;

/// What is wrong with a zone's name, if anything is. Where the machine has no tz database, only its form is looked at.
pub(super) fn fault_of_zone(name: &str, zoneinfo: &Path) -> Option<String> {
    let why = if !is_name(name) {
        "is no time zone".to_owned()
    } else if is_zone(zoneinfo, "UTC") && !is_zone(zoneinfo, name) {
        format!(
            "is no time zone that this machine knows ({})",
            zoneinfo.display()
        )
    } else {
        return None;
    };
    Some(format!(
        "{name:?} {why}; write its name in the tz database, capitals as there, such as Europe/Berlin or UTC"
    ))
}

/// Whether a text has the form of a zone's name: `time-zone-name` of RFC 9557, section 4.1.
fn is_name(text: &str) -> bool {
    let is_initial = |letter: char| letter.is_ascii_alphabetic() || "._".contains(letter);
    text.len() <= LONGEST
        && text.split('/').all(|part| {
            part.starts_with(is_initial)
                && part.chars().all(|letter| {
                    is_initial(letter) || letter.is_ascii_digit() || "-+".contains(letter)
                })
                && part != "."
                && part != ".."
        })
}

fn is_zone(zoneinfo: &Path, name: &str) -> bool {
    // On Debian a link to the zone that is to be set.
    if name == "localtime" {
        return false;
    }
    let mut start = [0; MAGIC.len()];
    File::open(zoneinfo.join(name))
        .and_then(|mut file| file.read_exact(&mut start))
        .is_ok_and(|()| start == MAGIC)
}

#[cfg(test)]
mod tests {
    use std::path::Component;

    use proptest::prelude::*;

    use super::*;

    #[test]
    fn zones_are_told_from_paths() {
        for good in [
            "UTC",
            "Europe/Berlin",
            "America/Argentina/Buenos_Aires",
            "Etc/GMT+1",
            "EST5EDT",
        ] {
            assert!(is_name(good), "{good}");
        }
        for bad in [
            "",
            "/etc/passwd",
            "Europe/../x",
            "./UTC",
            "Europe/",
            "+01:00",
            "Mitteleuropäische Zeit",
        ] {
            assert!(!is_name(bad), "{bad}");
        }
    }

    #[test]
    fn a_zone_that_is_not_in_the_database_is_told_where_there_is_one() {
        let folder = tempfile::tempdir().unwrap();
        let zoneinfo = folder.path();
        let fault = |name| fault_of_zone(name, zoneinfo);
        assert_eq!(fault("Europe/Berlim"), None, "nothing is known");

        std::fs::create_dir(zoneinfo.join("Europe")).unwrap();
        for zone in ["UTC", "Europe/Berlin", "localtime"] {
            std::fs::write(zoneinfo.join(zone), "TZif2").unwrap();
        }
        std::fs::write(zoneinfo.join("zone.tab"), "# tz zone descriptions\n").unwrap();
        assert_eq!((fault("UTC"), fault("Europe/Berlin")), (None, None));
        for absent in [
            "Europe/Berlim",
            "europe/berlin",
            "Europe",
            "zone.tab",
            "localtime",
        ] {
            let said = fault(absent).unwrap();
            assert!(
                said.contains(absent) && said.contains("this machine knows"),
                "{said}"
            );
        }
    }

    proptest! {
        /// The device links /etc/localtime to it.
        #[test]
        fn no_name_leads_out_of_the_database(name in "([A-Za-z0-9._+-]{0,4}/?){0,5}") {
            if is_name(&name) {
                prop_assert!(Path::new(&name).components().all(|part| matches!(part, Component::Normal(_))), "{name}");
            }
        }
    }
}
