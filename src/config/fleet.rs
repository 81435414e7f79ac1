//! How replicas find each other.

use std::{path::PathBuf, time::Duration};

use secrecy::{ExposeSecret as _, SecretString};
use url::Url;

use super::value::{positive_duration, secret};

/// Settings of the fleet. Without `--fleet-url` the process is on its own.
#[derive(Clone, Debug, clap::Args)]
#[command(next_help_heading = "Fleet")]
#[group(skip)]
pub struct FleetConfig {
    /// Address of the Redis or Valkey through which all replicas share the quota:
    /// redis://HOST:PORT/DATABASE, or rediss:// with TLS. It must not hold a user or password
    #[arg(long, value_name = "URL", hide_env_values = true, value_parser = secret)]
    pub fleet_url: Option<SecretString>,

    /// File with the key of the fleet, at least 32 characters. It must be the same on all replicas
    #[arg(long, value_name = "FILE")]
    pub fleet_key_file: Option<PathBuf>,

    /// User at Redis [default: the default user]
    #[arg(long, value_name = "NAME")]
    pub fleet_user: Option<String>,

    /// File with the password at Redis
    #[arg(long, value_name = "FILE")]
    pub fleet_password_file: Option<PathBuf>,

    /// PEM file with the certificate authorities of Redis [default: those of the system]
    #[arg(long, value_name = "FILE")]
    pub fleet_ca_file: Option<PathBuf>,

    /// How long a replica sends requests without Redis. For as long, the other replicas keep the
    /// share of a replica free that vanished
    #[arg(long, value_name = "DURATION", default_value = "6h", value_parser = positive_duration)]
    pub fleet_alone_limit: Duration,
}

impl FleetConfig {
    /// The address, if there is one. The error never shows it, because it may hold a password.
    pub fn url(&self) -> Option<Result<Url, &'static str>> {
        self.fleet_url.as_ref().map(|text| parse(text.expose_secret()))
    }

    /// Returns every problem, each as a sentence.
    pub fn problems(&self) -> Vec<String> {
        let files = [
            ("--fleet-key-file", self.fleet_key_file.is_some()),
            ("--fleet-user", self.fleet_user.is_some()),
            ("--fleet-password-file", self.fleet_password_file.is_some()),
            ("--fleet-ca-file", self.fleet_ca_file.is_some()),
        ];
        let Some(url) = self.url() else {
            let unused = files.iter().filter(|(_, is_set)| *is_set);
            return unused.map(|(flag, _)| format!("{flag} needs --fleet-url.")).collect();
        };
        let mut problems = Vec::new();
        if self.fleet_key_file.is_none() {
            problems.push("--fleet-url needs --fleet-key-file.".to_owned());
        }
        if self.fleet_user.is_some() && self.fleet_password_file.is_none() {
            problems.push("--fleet-user needs --fleet-password-file.".to_owned());
        }
        match url {
            Ok(url) if url.scheme() == "redis" && self.fleet_ca_file.is_some() => {
                problems.push("--fleet-ca-file needs a --fleet-url with rediss://.".to_owned());
            }
            Ok(_) => {}
            Err(problem) => problems.push(format!("--fleet-url {problem}.")),
        }
        problems
    }
}

fn parse(text: &str) -> Result<Url, &'static str> {
    let url = Url::parse(text).map_err(|_| "is not a URL")?;
    let database = url.path().trim_matches('/');
    if !matches!(url.scheme(), "redis" | "rediss") {
        Err("must begin with redis:// or rediss://")
    } else if !url.has_host() {
        Err("must name a host")
    } else if !url.username().is_empty() || url.password().is_some() {
        Err("must not hold a user or password: use --fleet-user and --fleet-password-file")
    } else if url.query().is_some() || url.fragment().is_some() {
        Err("must not hold a query or fragment")
    } else if !database.is_empty() && database.parse::<u32>().is_err() {
        Err("must end with the number of a database, or without a path")
    } else {
        Ok(url)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::from_flags;

    fn problems(line: &str) -> Vec<String> {
        from_flags::<FleetConfig>(line.split_whitespace()).unwrap().problems()
    }

    #[test]
    fn a_fleet_needs_an_address_and_a_key() {
        assert!(problems("").is_empty());
        assert!(problems("--fleet-url redis://a --fleet-key-file k").is_empty());
        let line = "--fleet-url rediss://a:6380/2 --fleet-key-file k --fleet-user u \
            --fleet-password-file p --fleet-ca-file c";
        assert!(problems(line).is_empty());
        for line in [
            "--fleet-url redis://a",
            "--fleet-key-file k",
            "--fleet-user u",
            "--fleet-url redis://a --fleet-key-file k --fleet-user u",
            "--fleet-url redis://a --fleet-key-file k --fleet-ca-file c",
        ] {
            assert_eq!(problems(line).len(), 1, "{line}");
        }
    }

    #[test]
    fn a_bad_address_is_refused_and_not_shown() {
        for url in [
            "hunter2",
            "http://hunter2",
            "redis://user:hunter2@host",
            "redis://hunter2@host",
            "redis://host/hunter2",
            "redis://host?hunter2",
        ] {
            let problems = problems(&format!("--fleet-key-file k --fleet-url {url}"));
            assert_eq!(problems.len(), 1, "{url}");
            assert!(problems[0].starts_with("--fleet-url ") && !problems[0].contains("hunter2"));
        }
    }
}
