//! Interfaces, wireless networks and the proxy.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use module_runtime::configuration::Path;
use module_runtime::{Problems, path};

use super::words::{fault_of_file, is_host};
use crate::document::{Interface, Ipv6, Network, Proxy, Secret, Wifi, has_credentials, is_taken};

pub(super) fn check(network: &Network, problems: &mut Problems) {
    for (index, interface) in network.interfaces.iter().enumerate() {
        let at = path!["network", "interfaces", index];
        check_name(interface, &at, problems);
        let before = network.interfaces.get(..index).unwrap_or_default();
        let same = before
            .iter()
            .position(|other| other.file_name() == interface.file_name());
        if let Some(other) = same {
            problems.add(
                at.clone(),
                format!(
                    "is the interface at {} again; describe each one once",
                    problems.location(path!["network", "interfaces", other])
                ),
            );
        }
        check_addresses(interface, &at, problems);
        check_gateways(interface, &at, problems);
        for (index, server) in interface.dns.iter().enumerate() {
            if server.parse::<IpAddr>().is_err() {
                problems.add(
                    at.join("dns").join(index),
                    format!("{server:?} is no address; a DNS server is given by its address, such as 192.168.1.1"),
                );
            }
        }
        if let Some(wifi) = &interface.wifi {
            check_wifi(wifi, &at.join("wifi"), problems);
            if interface.name.is_none() {
                problems.add(
                    at.join("wifi"),
                    "needs the interface's name, such as wlan0, instead of its MAC address",
                );
            }
        }
    }
    if let Some(proxy) = &network.proxy {
        check_proxy(proxy, problems);
    }
}

fn check_name(interface: &Interface, at: &Path, problems: &mut Problems) {
    match (&interface.name, &interface.mac) {
        (Some(name), None) => {
            if !is_interface(name) {
                problems.add(
                    at.join("name"),
                    format!("{name:?} is no name of an interface, such as eth0: 1 to 15 letters, digits, '.', '_' and '-'"),
                );
            }
        }
        (None, Some(mac)) => {
            if !is_mac(mac) {
                problems.add(
                    at.join("mac"),
                    format!("{mac:?} is no MAC address; write it as 00:1b:44:11:3a:b7"),
                );
            }
        }
        (None, None) => problems.add(
            at.clone(),
            "says of no interface; add its name, such as eth0, or its mac",
        ),
        (Some(_), Some(_)) => problems.add(at.clone(), "has name and mac together; leave only one"),
    }
}

fn check_addresses(interface: &Interface, at: &Path, problems: &mut Problems) {
    let mut has_v4 = false;
    let mut has_v6 = false;
    for (index, text) in interface.addresses.iter().enumerate() {
        let at = at.join("addresses").join(index);
        match address(text) {
            Err(fault) => problems.add(at, fault),
            Ok((IpAddr::V4(_), _)) => has_v4 = true,
            Ok((IpAddr::V6(_), _)) if interface.ipv6 == Ipv6::Off => problems.add(
                at,
                "is an IPv6 address, and ipv6 is off; remove one of the two",
            ),
            Ok((IpAddr::V6(_), _)) => has_v6 = true,
        }
    }
    if interface.dhcp == Some(true) && has_v4 {
        problems.add(
            at.join("dhcp"),
            "asks for an address where addresses has an IPv4 address; remove one of the two",
        );
    }
    if interface.dhcp == Some(false) && interface.addresses.is_empty() {
        problems.add(
            at.join("dhcp"),
            "is off and no address is listed; add addresses, such as [192.168.1.20/24], or remove this",
        );
    }
    if interface.ipv6 == Ipv6::Manual && !has_v6 {
        problems.add(
            at.join("ipv6"),
            "is manual and no IPv6 address is listed; add one to addresses, such as fd00::20/64",
        );
    }
}

fn check_gateways(interface: &Interface, at: &Path, problems: &mut Problems) {
    let networks: Vec<(IpAddr, u8)> = interface
        .addresses
        .iter()
        .filter_map(|text| address(text).ok())
        .collect();
    if let Some(text) = &interface.gateway {
        match text.parse::<Ipv4Addr>() {
            Err(_) => problems.add(
                at.join("gateway"),
                format!("{text:?} is no IPv4 address, such as 192.168.1.1 (an IPv6 one is called ipv6_gateway)"),
            ),
            Ok(gateway) => {
                let of_family = networks.iter().any(|(address, _)| address.is_ipv4());
                let is_near = networks.iter().any(|(address, bits)| match address {
                    IpAddr::V4(address) => is_near(*address, gateway, *bits),
                    IpAddr::V6(_) => false,
                });
                if !of_family {
                    problems.add(
                        at.join("gateway"),
                        "is for listed addresses, and DHCP brings its own; add an IPv4 address, or remove this",
                    );
                } else if !is_near {
                    problems.add(
                        at.join("gateway"),
                        format!("{gateway} is in none of the networks of addresses; mend it, or the length after the / of the address"),
                    );
                }
            }
        }
    }
    if let Some(text) = &interface.ipv6_gateway {
        if text.parse::<Ipv6Addr>().is_err() {
            problems.add(
                at.join("ipv6_gateway"),
                format!("{text:?} is no IPv6 address, such as fd00::1 or fe80::1"),
            );
        } else if interface.ipv6 == Ipv6::Off {
            problems.add(
                at.join("ipv6_gateway"),
                "is an IPv6 gateway, and ipv6 is off; remove one of the two",
            );
        }
    }
}

fn check_wifi(wifi: &Wifi, at: &Path, problems: &mut Problems) {
    let is_well = (1..=32).contains(&wifi.ssid.len()) && !wifi.ssid.chars().any(char::is_control);
    if !is_well {
        problems.add(
            at.join("ssid"),
            format!("has {} bytes or a control character; the name of a wireless network has 1 to 32 bytes", wifi.ssid.len()),
        );
    }
    match &wifi.passphrase {
        Secret::File(file) => {
            if let Some(fault) = fault_of_file(&file.file) {
                problems.add(at.join("passphrase").join("file"), fault);
            }
        }
        text => {
            if let Some(fault) = text.text().and_then(|text| check_passphrase(text).err()) {
                problems.add(at.join("passphrase"), fault);
            }
        }
    }
    if let Some(country) = &wifi.country
        && !(country.len() == 2 && country.chars().all(|letter| letter.is_ascii_uppercase()))
    {
        problems.add(
            at.join("country"),
            format!("{country:?} is no country; two capital letters, such as DE"),
        );
    }
}

/// No message repeats the text: it is a secret.
pub(crate) fn check_passphrase(text: &str) -> Result<(), String> {
    let is_printable = text.chars().all(|letter| matches!(letter, ' '..='~'));
    if (8..=63).contains(&text.len()) && is_printable {
        return Ok(());
    }
    Err("is no passphrase of a wireless network: 8 to 63 printable ASCII characters".to_owned())
}

fn check_proxy(proxy: &Proxy, problems: &mut Problems) {
    let at = path!["network", "proxy"];
    if proxy.http.is_none() && proxy.https.is_none() {
        problems.add(
            at.clone(),
            "names no proxy; add http or https, or remove it",
        );
    }
    for (key, url) in [("http", &proxy.http), ("https", &proxy.https)] {
        if let Some(url) = url
            && !is_taken(url)
            && !is_proxy(url)
        {
            // It may hold a password: not repeated.
            problems.add(
                at.join(key),
                "is no address of a proxy; write http://HOST:PORT, with USER:PASSWORD@ before the host where it asks for them",
            );
        }
    }
    for (index, entry) in proxy.no_proxy.iter().enumerate() {
        let host = entry.trim_start_matches("*.").trim_start_matches('.');
        let is_well = is_host(host) || entry.parse::<IpAddr>().is_ok() || address(entry).is_ok();
        if !is_well {
            problems.add(
                at.join("no_proxy").join(index),
                format!("{entry:?} is no host, domain, address or network, such as .plant.example or 192.168.0.0/16"),
            );
        }
    }
}

/// Whether a text is `http[s]://[user[:password]@]host[:port][/]`, in letters that need no quoting in an environment file.
fn is_proxy(url: &str) -> bool {
    let Some(rest) = url
        .strip_prefix("http://")
        .or_else(|| url.strip_prefix("https://"))
    else {
        return false;
    };
    let is_plain = |letter: char| letter.is_ascii_graphic() && !"\"'\\$`".contains(letter);
    if !url.chars().all(is_plain) {
        return false;
    }
    let authority = if has_credentials(url) {
        rest.rsplit_once('@')
            .map_or(rest, |(_, authority)| authority)
    } else {
        rest
    };
    let authority = authority.strip_suffix('/').unwrap_or(authority);
    if let Some(inner) = authority.strip_prefix('[') {
        let Some((address, port)) = inner.split_once(']') else {
            return false;
        };
        return address.parse::<Ipv6Addr>().is_ok()
            && (port.is_empty() || port.strip_prefix(':').is_some_and(is_port));
    }
    match authority.split_once(':') {
        Some((host, port)) => is_host(host) && is_port(port),
        None => is_host(authority),
    }
}

fn is_port(text: &str) -> bool {
    text.parse::<u16>().is_ok_and(|port| port > 0)
}

/// An address and the length of its network.
fn address(text: &str) -> Result<(IpAddr, u8), String> {
    let fault = || {
        format!(
            "{text:?} is no address with the length of its network, such as 192.168.1.20/24 or fd00::20/64"
        )
    };
    let (address, bits) = text.split_once('/').ok_or_else(fault)?;
    let address: IpAddr = address.parse().map_err(|_| fault())?;
    let most = if address.is_ipv4() { 32 } else { 128 };
    let bits: u8 = bits.parse().map_err(|_| fault())?;
    if bits > most {
        return Err(fault());
    }
    Ok((address, bits))
}

fn is_near(address: Ipv4Addr, other: Ipv4Addr, bits: u8) -> bool {
    let mask = u32::MAX.checked_shl(32 - u32::from(bits)).unwrap_or(0);
    address.to_bits() & mask == other.to_bits() & mask
}

/// Names of interfaces have at most 15 bytes (Linux, IFNAMSIZ).
fn is_interface(text: &str) -> bool {
    (1..=15).contains(&text.len())
        && text.starts_with(|letter: char| letter.is_ascii_alphanumeric())
        && text
            .chars()
            .all(|letter| letter.is_ascii_alphanumeric() || "._-".contains(letter))
}

fn is_mac(text: &str) -> bool {
    let parts: Vec<&str> = text.split([':', '-']).collect();
    parts.len() == 6
        && parts
            .iter()
            .all(|part| part.len() == 2 && part.chars().all(|letter| letter.is_ascii_hexdigit()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn proxies_are_told_from_others() {
        for good in [
            "http://proxy.plant.example:3128",
            "https://10.0.0.1:8080/",
            "http://user:p%40ss@proxy:3128",
            "http://[fd00::1]:3128",
        ] {
            assert!(is_proxy(good), "{good}");
        }
        for bad in [
            "proxy:3128",
            "socks5://proxy:1080",
            "http://",
            "http://proxy:0",
            "http://proxy:3128/path",
            "http://a b",
            "http://$(id)",
            "http://[::1",
        ] {
            assert!(!is_proxy(bad), "{bad}");
        }
    }

    #[test]
    fn addresses_interfaces_and_macs() {
        assert!(address("192.168.1.20/24").is_ok() && address("fd00::20/64").is_ok());
        for bad in [
            "192.168.1.20",
            "192.168.1/24",
            "10.0.0.1/33",
            "::/129",
            "a/8",
        ] {
            assert!(address(bad).is_err(), "{bad}");
        }
        assert!(is_interface("enp3s0") && is_interface("eth0.12"));
        for bad in ["", "eth 0", "../x", "0123456789abcdef", "-a"] {
            assert!(!is_interface(bad), "{bad}");
        }
        assert!(is_mac("00:1b:44:11:3A:b7") && is_mac("00-1b-44-11-3a-b7"));
        for bad in ["001b44113ab7", "00:1b:44:11:3a", "00:1b:44:11:3a:zz"] {
            assert!(!is_mac(bad), "{bad}");
        }
        let of = |text: &str| text.parse::<Ipv4Addr>().unwrap();
        assert!(is_near(of("10.0.0.1"), of("10.0.0.2"), 24));
        assert!(!is_near(of("10.0.0.1"), of("10.0.1.2"), 24));
        assert!(is_near(of("10.0.0.1"), of("99.0.1.2"), 0));
    }
}
