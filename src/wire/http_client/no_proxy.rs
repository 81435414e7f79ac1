//! Decides which servers are reached without the proxy. Reads `NO_PROXY` as Go's net/http does
//! (golang.org/x/net/http/httpproxy).
//!
//! reqwest's own reader does not understand ports, `*.domain` and brackets.

use std::net::IpAddr;

use ipnet::IpNet;
use url::{Host, Url};

/// Whether `list` has an entry for the server of `url`.
pub(super) fn lists(list: &str, url: &Url) -> bool {
    let (Some(host), Some(port)) = (url.host(), url.port_or_known_default()) else { return false };
    list.split(',').any(|entry| is_for(entry.trim(), &host, port) == Some(true))
}

/// Whether `url` points to this machine. Requests to this machine do not use a proxy that an
/// environment variable names.
pub(super) fn is_local(url: &Url) -> bool {
    url.host().is_some_and(|host| match ip(&host) {
        Some(ip) => ip.is_loopback(),
        None => host == Host::Domain("localhost"),
    })
}

/// Whether an entry of the list is for this server. `None` if the entry names no host. Go ignores
/// such an entry too.
fn is_for(entry: &str, host: &Host<&str>, port: u16) -> Option<bool> {
    if entry == "*" {
        return Some(true);
    }
    let ip = ip(host);
    if let Ok(network) = entry.parse::<IpNet>() {
        return Some(ip.is_some_and(|ip| network.contains(&ip)));
    }
    let (name, wanted_port) = split_port(entry)?;
    if wanted_port.is_some_and(|wanted| wanted != port) {
        return Some(false);
    }
    if let Ok(address) = name.parse::<IpAddr>() {
        return Some(ip == Some(address.to_canonical()));
    }
    let parent = name.strip_prefix('*').unwrap_or(name).strip_prefix('.');
    // Parsing makes the name lower-case ASCII, as it is in a URL.
    let (Host::Domain(host), Host::Domain(name)) =
        (host, Host::parse(parent.unwrap_or(name)).ok()?)
    else {
        return None;
    };
    let below = host.strip_suffix(name.as_str())?;
    Some(below.ends_with('.') || (below.is_empty() && parent.is_none()))
}

fn ip(host: &Host<&str>) -> Option<IpAddr> {
    match *host {
        Host::Domain(_) => None,
        Host::Ipv4(ip) => Some(ip.into()),
        Host::Ipv6(ip) => Some(IpAddr::from(ip).to_canonical()),
    }
}

/// The host of an entry, without brackets, and its port. `None` if they cannot be read.
fn split_port(entry: &str) -> Option<(&str, Option<u16>)> {
    let (host, port) = match (entry.strip_prefix('['), entry.split_once(':')) {
        (Some(rest), _) => rest.split_once(']')?,
        (None, Some((host, port))) if !port.contains(':') => (host, &entry[host.len()..]),
        // An IPv6 address without brackets, or no port.
        (None, _) => (entry, ""),
    };
    match port {
        "" | ":" => Some((host, None)),
        port => Some((host, Some(port.strip_prefix(':')?.parse().ok()?))),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn is_named(list: &str, server: &str) -> bool {
        lists(list, &format!("http://{server}/").parse().unwrap())
    }

    #[test]
    fn a_list_with_entries_of_every_form_matches_as_in_go() {
        let list = "foobar.com, .barbaz.net, *.wildcard.io, 192.168.1.1, 192.168.1.2:81, \
                    192.168.1.3:80, 10.0.0.0/30, 2001:db8::52:0:1, [2001:db8::52:0:2]:443, \
                    [2001:db8::52:0:3]:80, 2002:db8:a::45/64";
        let listed = "192.168.1.1 192.168.1.1:8443 192.168.1.2:81 192.168.1.3 10.0.0.2 \
            [2001:db8::52:0:1] [2001:db8::52:0:3] [2002:db8:a::123] [::ffff:10.0.0.2] \
            www.barbaz.net foobar.com FooBar.com www.foobar.com nested.wildcard.io";
        let unlisted = "192.168.1.2 192.168.1.4 10.0.0.4 [2001:db8::52:0:2] [2002:db8:b::123] \
            [fe80::424b:c8be:1643:a1b6] barbaz.net foofoobar.com foobar.com.example baz.com \
            barbarbaz.net wildcard.io awildcard.io";
        for (servers, expected) in [(listed, true), (unlisted, false)] {
            for server in servers.split(' ') {
                assert_eq!(is_named(list, server), expected, "{server}");
            }
        }
    }

    #[test]
    fn an_entry_of_each_form_matches_as_in_go() {
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
            let url = format!("http://{server}").parse().unwrap();
            assert_eq!(is_local(&url), expected, "{server}");
        }
    }
}
