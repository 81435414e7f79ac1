//! Which servers are reached without the proxy: `NO_PROXY` as Go's net/http reads it
//! (golang.org/x/net/http/httpproxy).
//!
//! reqwest reads neither ports nor `*.domain` nor brackets, and takes `*` for names only.

use std::net::IpAddr;

use ipnet::IpNet;
use url::{Host, Url};

/// Whether `list` names the server of `url`.
pub(super) fn names(list: &str, url: &Url) -> bool {
    let (Some(host), Some(port)) = (url.host(), url.port_or_known_default()) else { return false };
    list.split(',').any(|entry| Entry::parse(entry.trim()).is_some_and(|e| e.names(&host, port)))
}

/// Whether `url` points to this machine, for which no proxy of the environment is meant.
pub(super) fn is_local(url: &Url) -> bool {
    url.host().is_some_and(|host| match ip(&host) {
        Some(ip) => ip.is_loopback(),
        None => host == Host::Domain("localhost"),
    })
}

/// One entry of the list.
enum Entry {
    All,
    Network(IpNet),
    Address(IpAddr, Option<u16>),
    Domain { name: String, is_with_itself: bool, port: Option<u16> },
}

impl Entry {
    /// `None` for what names no host. It is passed over, as Go does.
    fn parse(entry: &str) -> Option<Self> {
        if entry == "*" {
            return Some(Self::All);
        }
        if let Ok(network) = entry.parse() {
            return Some(Self::Network(network));
        }
        let (host, port) = split_port(entry)?;
        let port = match port {
            "" => None,
            port => Some(port.parse().ok()?),
        };
        if let Ok(address) = host.parse::<IpAddr>() {
            return Some(Self::Address(address.to_canonical(), port));
        }
        let parent = host.strip_prefix('*').unwrap_or(host).strip_prefix('.');
        // In ASCII and small letters, as in a URL.
        match Host::parse(parent.unwrap_or(host)).ok()? {
            Host::Domain(name) => {
                Some(Self::Domain { name, is_with_itself: parent.is_none(), port })
            }
            Host::Ipv4(_) | Host::Ipv6(_) => None,
        }
    }

    fn names(&self, host: &Host<&str>, port: u16) -> bool {
        let is_port = |wanted: &Option<u16>| wanted.is_none_or(|wanted| wanted == port);
        match (self, ip(host), host) {
            (Self::All, ..) => true,
            (Self::Network(network), Some(ip), _) => network.contains(&ip),
            (Self::Address(address, wanted), Some(ip), _) => *address == ip && is_port(wanted),
            (Self::Domain { name, is_with_itself, port: wanted }, None, Host::Domain(host)) => {
                let below = host.strip_suffix(name.as_str());
                let is_named = below.is_some_and(|below| {
                    below.ends_with('.') || (below.is_empty() && *is_with_itself)
                });
                is_named && is_port(wanted)
            }
            (Self::Network(_) | Self::Address(..) | Self::Domain { .. }, ..) => false,
        }
    }
}

fn ip(host: &Host<&str>) -> Option<IpAddr> {
    match *host {
        Host::Domain(_) => None,
        Host::Ipv4(ip) => Some(ip.into()),
        Host::Ipv6(ip) => Some(IpAddr::from(ip).to_canonical()),
    }
}

/// Host and port; the port is empty if there is none, and the host is without brackets.
fn split_port(entry: &str) -> Option<(&str, &str)> {
    if let Some(rest) = entry.strip_prefix('[') {
        let (host, port) = rest.split_once(']')?;
        return if port.is_empty() {
            Some((host, port))
        } else {
            Some((host, port.strip_prefix(':')?))
        };
    }
    match entry.split_once(':') {
        Some((host, port)) if !port.contains(':') => Some((host, port)),
        // An IPv6 address, or no port.
        _ => Some((entry, "")),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn is_named(list: &str, server: &str) -> bool {
        names(list, &format!("http://{server}/").parse().unwrap())
    }

    #[test]
    fn a_list_of_every_form_names_what_it_names_for_go() {
        let list = "foobar.com, .barbaz.net, *.wildcard.io, 192.168.1.1, 192.168.1.2:81, \
                    192.168.1.3:80, 10.0.0.0/30, 2001:db8::52:0:1, [2001:db8::52:0:2]:443, \
                    [2001:db8::52:0:3]:80, 2002:db8:a::45/64";
        for (server, expected) in [
            ("192.168.1.1", true),
            ("192.168.1.1:8443", true),
            ("192.168.1.2", false),
            ("192.168.1.2:81", true),
            ("192.168.1.3", true),
            ("192.168.1.4", false),
            ("10.0.0.2", true),
            ("10.0.0.4", false),
            ("[2001:db8::52:0:1]", true),
            ("[2001:db8::52:0:2]", false),
            ("[2001:db8::52:0:3]", true),
            ("[2002:db8:a::123]", true),
            ("[2002:db8:b::123]", false),
            ("[fe80::424b:c8be:1643:a1b6]", false),
            ("[::ffff:10.0.0.2]", true),
            ("barbaz.net", false),
            ("www.barbaz.net", true),
            ("foobar.com", true),
            ("FooBar.com", true),
            ("www.foobar.com", true),
            ("foofoobar.com", false),
            ("foobar.com.example", false),
            ("baz.com", false),
            ("barbarbaz.net", false),
            ("wildcard.io", false),
            ("nested.wildcard.io", true),
            ("awildcard.io", false),
        ] {
            assert_eq!(is_named(list, server), expected, "{server}");
        }
    }

    #[test]
    fn each_form_names_what_it_names_for_go() {
        for (list, server, expected) in [
            ("*", "api.getgo.com", true),
            ("*", "192.0.2.1", true),
            ("example.com, *", "[2001:db8::1]", true),
            ("*.com", "getgo.com", true),
            ("", "example.com", false),
            (" , ,", "example.com", false),
            (":1", "example.com:1", false),
            ("example.com:8080", "example.com:8080", true),
            ("example.com:8080", "a.example.com:8080", true),
            ("example.com:8080", "example.com", false),
            ("example.com:", "example.com", true),
            ("example.com:http", "example.com", false),
            (".example.com:81", "a.example.com:81", true),
            (".example.com:81", "example.com:81", false),
            ("EXAMPLE.com", "a.example.com", true),
            ("b\u{fc}cher.example", "xn--bcher-kva.example", true),
            ("[2001:db8::1]", "[2001:db8::1]", true),
            ("[2001:db8::1]:443", "[2001:db8::1]:443", true),
            ("[2001:db8::1", "[2001:db8::1]", false),
            ("0.0.0.0/0", "192.0.2.1", true),
            ("0.0.0.0/0", "example.com", false),
            ("10.0.0.0/33", "10.0.0.1", false),
            ("localhost", "localhost.net", false),
            ("localhost", "local.localhost", true),
        ] {
            assert_eq!(is_named(list, server), expected, "{list} {server}");
        }
    }

    #[test]
    fn this_machine_is_local_by_any_of_its_names() {
        for (server, expected) in [
            ("localhost", true),
            ("127.0.0.1", true),
            ("127.0.0.2:81", true),
            ("[::1]", true),
            ("[::2]", false),
            ("localhost.net", false),
            ("10.0.0.1", false),
        ] {
            assert_eq!(
                is_local(&format!("http://{server}").parse().unwrap()),
                expected,
                "{server}"
            );
        }
    }
}
