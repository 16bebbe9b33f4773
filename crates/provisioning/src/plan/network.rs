//! Interfaces as systemd-networkd has them (systemd.network(5)), wireless networks as wpa_supplicant has them (wpa_supplicant.conf(5)).

use module_runtime::path;

use super::{NOTE, PlannedFile};
use crate::document::{Interface, Ipv6, Network, Wifi, WifiSecurity};
use crate::places;
use crate::secrets::{Secrets, of_wifi};

pub(super) fn plan(network: &Network, secrets: &Secrets, files: &mut Vec<PlannedFile>) {
    for (index, interface) in network.interfaces.iter().enumerate() {
        files.push(PlannedFile::public(
            format!(
                "{}/10-fieldgate-{}.network",
                places::NETWORK,
                interface.file_name()
            ),
            unit(interface),
        ));
        let at = path!["network", "interfaces", index, "wifi", "passphrase"];
        if let (Some(wifi), Some(name), Some(passphrase)) =
            (&interface.wifi, &interface.name, secrets.get(&at))
        {
            files.push(PlannedFile::secret(&of_wifi(name), passphrase.to_owned()));
            files.push(PlannedFile::private(
                format!("{}/wpa_supplicant-{name}.conf", places::NETWORK),
                supplicant(wifi, passphrase),
            ));
        }
    }
}

fn unit(interface: &Interface) -> String {
    let mut lines = vec!["[Match]".to_owned()];
    lines.push(match (&interface.name, &interface.mac) {
        (Some(name), _) => format!("Name={name}"),
        (None, mac) => format!(
            "MACAddress={}",
            mac.as_deref().unwrap_or_default().to_ascii_lowercase()
        ),
    });
    let has_v4 = interface
        .addresses
        .iter()
        .any(|address| !address.contains(':'));
    let dhcp = interface.dhcp.unwrap_or(!has_v4);
    let accept = interface.ipv6 == Ipv6::Auto && interface.ipv6_gateway.is_none();
    let is_off = interface.ipv6 == Ipv6::Off;
    lines.push("\n[Network]".to_owned());
    lines.push(format!("DHCP={}", if dhcp { "ipv4" } else { "no" }));
    lines.push(format!(
        "IPv6AcceptRA={}",
        if accept { "yes" } else { "no" }
    ));
    lines.push(format!(
        "LinkLocalAddressing={}",
        if is_off { "no" } else { "ipv6" }
    ));
    let of = |key: &'static str| move |value: &String| format!("{key}={value}");
    lines.extend(interface.addresses.iter().map(of("Address")));
    lines.extend(interface.gateway.iter().map(of("Gateway")));
    lines.extend(interface.ipv6_gateway.iter().map(of("Gateway")));
    lines.extend(interface.dns.iter().map(of("DNS")));
    // A cable that is out must not hold up the start.
    lines.push("\n[Link]\nRequiredForOnline=no\n".to_owned());
    format!("{NOTE}{}", lines.join("\n"))
}

fn supplicant(wifi: &Wifi, passphrase: &str) -> String {
    // In hex, because a quote in the name has no other way.
    let ssid: String = wifi
        .ssid
        .bytes()
        .map(|byte| format!("{byte:02x}"))
        .collect();
    let (key, management, protection) = match wifi.security {
        WifiSecurity::Wpa2 => ("psk", "WPA-PSK", 0),
        WifiSecurity::Wpa3 => ("sae_password", "SAE", 2),
        WifiSecurity::Wpa2OrWpa3 => ("psk", "SAE WPA-PSK", 1),
    };
    let country = wifi.country.as_ref();
    let country = country.map(|country| format!("country={country}\n"));
    // Up to the last quote of its line, the passphrase is the text itself.
    format!(
        "{NOTE}ctrl_interface=/run/wpa_supplicant\n{}network={{\n    # {}\n    ssid={ssid}\n    {key}=\"{passphrase}\"\n    key_mgmt={management}\n    ieee80211w={protection}\n}}\n",
        country.unwrap_or_default(),
        wifi.ssid
    )
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::document::Secret;

    fn after_note(text: &str) -> &str {
        text.strip_prefix(NOTE).unwrap()
    }

    #[test]
    fn an_interface_that_says_nothing_asks_by_dhcp() {
        let interface = Interface {
            mac: Some("00:1B:44:11:3A:B7".to_owned()),
            ..Interface::default()
        };
        assert_eq!(interface.file_name(), "001b44113ab7");
        assert_eq!(
            after_note(&unit(&interface)),
            "[Match]\nMACAddress=00:1b:44:11:3a:b7\n\n[Network]\nDHCP=ipv4\nIPv6AcceptRA=yes\nLinkLocalAddressing=ipv6\n\n[Link]\nRequiredForOnline=no\n"
        );
    }

    #[test]
    fn listed_addresses_take_the_place_of_dhcp() {
        let interface = Interface {
            name: Some("eth1".to_owned()),
            addresses: vec!["192.168.1.20/24".to_owned(), "fd00::20/64".to_owned()],
            gateway: Some("192.168.1.1".to_owned()),
            ipv6: Ipv6::Manual,
            ipv6_gateway: Some("fd00::1".to_owned()),
            dns: vec!["192.168.1.1".to_owned()],
            ..Interface::default()
        };
        let text = unit(&interface);
        for line in [
            "Name=eth1",
            "DHCP=no",
            "IPv6AcceptRA=no",
            "Address=192.168.1.20/24",
            "Address=fd00::20/64",
            "Gateway=192.168.1.1",
            "Gateway=fd00::1",
            "DNS=192.168.1.1",
        ] {
            assert!(text.lines().any(|found| found == line), "{line}: {text}");
        }
    }

    #[test]
    fn a_wireless_network_speaks_what_it_is_told() {
        let wifi = |security| Wifi {
            ssid: "hall \"4\"".to_owned(),
            passphrase: Secret::Text("unused".to_owned()),
            security,
            country: Some("DE".to_owned()),
        };
        let text = supplicant(&wifi(WifiSecurity::Wpa2OrWpa3), "a \"quoted\" one");
        for line in [
            "country=DE",
            "    ssid=68616c6c20223422",
            "    psk=\"a \"quoted\" one\"",
            "    key_mgmt=SAE WPA-PSK",
            "    ieee80211w=1",
        ] {
            assert!(text.lines().any(|found| found == line), "{line}: {text}");
        }
        assert!(supplicant(&wifi(WifiSecurity::Wpa3), "x").contains("sae_password=\"x\""));
        assert!(supplicant(&wifi(WifiSecurity::Wpa2), "x").contains("key_mgmt=WPA-PSK\n"));
    }
}
