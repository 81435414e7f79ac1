//! The configuration that is in effect, as flags: what the command line, the environment and the
//! defaults come to.

use std::ffi::OsString;

use clap::{Arg, ArgAction, ArgMatches, parser::ValueSource};

use super::environment;

/// The flags of the command that `words` and the environment give, one a line, secrets hidden.
pub fn effective(words: impl IntoIterator<Item = OsString>) -> Result<Vec<String>, clap::Error> {
    let command = environment::command();
    let matches = command.clone().try_get_matches_from(words)?;
    let Some((name, matches)) = matches.subcommand() else { return Ok(Vec::new()) };
    let arguments =
        command.find_subcommand(name).into_iter().flat_map(clap::Command::get_arguments);
    Ok(arguments.flat_map(|argument| lines(argument, matches)).collect())
}

fn lines(argument: &Arg, matches: &ArgMatches) -> Vec<String> {
    let id = argument.get_id().as_str();
    let (Some(flag), Some(values)) = (argument.get_long(), matches.get_raw(id)) else {
        return Vec::new();
    };
    // What --help hides may be a secret as well: HTTPS_PROXY holds a password.
    if argument.is_hide_env_values_set() || argument.is_hide_set() {
        let is_set = matches.value_source(id) != Some(ValueSource::DefaultValue);
        return is_set.then(|| format!("--{flag} (set)")).into_iter().collect();
    }
    let values = values.map(|value| value.to_string_lossy());
    if matches!(argument.get_action(), ArgAction::SetTrue) {
        return values.filter(|value| value == "true").map(|_| format!("--{flag}")).collect();
    }
    values.map(|value| format!("--{flag} {value}")).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn shown(words: &[&str]) -> Vec<String> {
        let words = ["gotoassist-grpc", "serve"].into_iter().chain(words.iter().copied());
        effective(words.map(OsString::from)).unwrap()
    }

    #[test]
    fn what_is_shown_is_what_was_given_and_what_is_default() {
        let lines = shown(&["--listen", "[::1]:1", "--allow-client", "a,b", "--trust-network"]);
        for line in [
            "--listen [::1]:1",
            "--poll-waiting 3s",
            "--max-calls 2000",
            "--allow-client a",
            "--allow-client b",
            "--trust-network",
        ] {
            assert!(lines.iter().any(|shown| shown == line), "{line}: {lines:#?}");
        }
        assert!(shown(&[]).iter().all(|line| line != "--trust-network"));
    }

    #[test]
    fn no_secret_is_shown() {
        let mut words = Vec::new();
        let secrets = [
            "--client-secret",
            "--refresh-token",
            "--personal-access-token",
            "--resume-key",
            "--upstream-proxy",
            "--https-proxy",
        ];
        for flag in secrets {
            words.extend([flag, "hush"]);
        }
        let lines = shown(&words);
        for flag in secrets {
            assert!(lines.contains(&format!("{flag} (set)")), "{flag}: {lines:#?}");
        }
        assert!(!lines.concat().contains("hush"), "{lines:#?}");
    }
}
