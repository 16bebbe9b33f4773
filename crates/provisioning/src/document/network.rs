//! The network's part: interfaces, Wi-Fi, proxy.

use std::fmt;

use schemars::JsonSchema;
use serde::Deserialize;

use super::secret::Secret;

/// How the device reaches its networks.
#[derive(Debug, Clone, Default, PartialEq, Eq, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct Network {
    /// The interfaces; those not listed stay as the image has them. At most 32.
    #[schemars(length(max = 32))]
    pub interfaces: Vec<Interface>,
    /// The proxy through which the device reaches the outside. Delivery to the hub does not use it yet.
    pub proxy: Option<Proxy>,
}

/// One interface, by its name or its MAC address.
#[derive(Debug, Clone, Default, PartialEq, Eq, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct Interface {
    /// The interface's name, such as `eth0`. Exactly one of `name` and `mac`.
    pub name: Option<String>,
    /// Its MAC address, such as `00:1b:44:11:3a:b7`.
    pub mac: Option<String>,
    /// Whether it asks for its IPv4 address by DHCP. Left out: when no IPv4 address is listed.
    pub dhcp: Option<bool>,
    /// Its addresses with the length of their network, such as `192.168.1.20/24` or `fd00::20/64`. At most 16.
    #[schemars(length(max = 16))]
    pub addresses: Vec<String>,
    /// The IPv4 gateway.
    pub gateway: Option<String>,
    /// Whether and how it speaks IPv6.
    pub ipv6: Ipv6,
    /// The IPv6 gateway; left out, that of the router's advertisements.
    pub ipv6_gateway: Option<String>,
    /// DNS servers, addresses; at most 8. They come before those of DHCP.
    #[schemars(length(max = 8))]
    pub dns: Vec<String>,
    /// The wireless network it joins; the interface needs its `name`.
    pub wifi: Option<Wifi>,
}

/// Whether and how an interface speaks IPv6.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Deserialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
pub enum Ipv6 {
    /// By the router's advertisements, and with the addresses listed.
    #[default]
    Auto,
    /// With the addresses listed and nothing else.
    Manual,
    /// Not at all.
    Off,
}

/// A wireless network.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Wifi {
    /// Its name, 1 to 32 bytes.
    pub ssid: String,
    /// Its passphrase, 8 to 63 printable ASCII characters.
    pub passphrase: Secret,
    /// What the network speaks.
    #[serde(default)]
    pub security: WifiSecurity,
    /// The country whose rules of radio hold, two letters such as `DE`.
    #[serde(default)]
    pub country: Option<String>,
}

/// What a wireless network speaks.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Deserialize, JsonSchema)]
#[serde(rename_all = "kebab-case")]
pub enum WifiSecurity {
    /// WPA3 where the network has it, else WPA2.
    #[default]
    Wpa2OrWpa3,
    /// WPA2 only.
    Wpa2,
    /// WPA3 only.
    Wpa3,
}

/// The proxy through which the device reaches the outside.
#[derive(Clone, Default, PartialEq, Eq, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct Proxy {
    /// For http, such as `http://proxy.plant.example:3128`. With a user and password it is a secret as a whole; after the device has taken it
    /// over, `<taken>`.
    pub http: Option<String>,
    /// For https; that of `http` is not taken for it.
    pub https: Option<String>,
    /// Hosts, domains (`.plant.example`), addresses and networks that are reached without it. The device's own networks always are.
    pub no_proxy: Vec<String>,
}

impl fmt::Debug for Proxy {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        // The addresses may hold passwords.
        out.debug_struct("Proxy")
            .field("no_proxy", &self.no_proxy)
            .finish_non_exhaustive()
    }
}

impl Interface {
    /// What files of it are called by.
    pub(crate) fn file_name(&self) -> String {
        let mac = || {
            let mac = self.mac.as_deref().unwrap_or_default();
            mac.replace([':', '-'], "").to_ascii_lowercase()
        };
        self.name.clone().unwrap_or_else(mac)
    }
}

/// Whether a proxy's address has a user and password in it.
pub(crate) fn has_credentials(url: &str) -> bool {
    url.split_once("://")
        .is_some_and(|(_, rest)| rest.contains('@'))
}
