//! Environment variables that look like settings and are none, such as misspelt ones.

use std::{collections::BTreeSet, env, fmt};

use super::command_line::command;

/// What the name of each setting begins with.
const PREFIX: &str = "GOTOASSIST_";

/// How similar two names must be, so that one is suggested in place of the other. clap takes the
/// same value for flags.
const SIMILAR: f64 = 0.7;

/// An environment variable that begins like a setting, but that no command reads.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct UnknownVariable {
    /// Its name.
    pub name: String,
    /// The setting with the most similar name, if one is similar.
    pub nearest: Option<String>,
}

impl fmt::Display for UnknownVariable {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "The environment variable {} is no setting", self.name)?;
        match &self.nearest {
            Some(nearest) => write!(f, "; did you mean {nearest}?"),
            None => write!(f, "."),
        }
    }
}

/// Returns the variables of the environment that look like settings and are none. An empty variable
/// counts as unset.
pub fn unknown_variables() -> Vec<UnknownVariable> {
    let set = env::vars_os().filter(|(_, value)| !value.is_empty());
    let names: BTreeSet<_> = set.filter_map(|(name, _)| name.into_string().ok()).collect();
    unknown(&names, &settings())
}

/// The variables of all commands.
fn settings() -> BTreeSet<String> {
    let command = command();
    let arguments = command.get_subcommands().flat_map(clap::Command::get_arguments);
    let variables = arguments.filter_map(|argument| argument.get_env()?.to_str());
    variables.map(str::to_owned).collect()
}

fn unknown(names: &BTreeSet<String>, settings: &BTreeSet<String>) -> Vec<UnknownVariable> {
    let is_unknown = |name: &&String| {
        name.starts_with(PREFIX) && !settings.contains(*name) && !is_of_service(name, names)
    };
    let variable = |name: &String| UnknownVariable {
        name: name.clone(),
        nearest: nearest(name, settings).cloned(),
    };
    names.iter().filter(is_unknown).map(variable).collect()
}

/// Whether Kubernetes made the variable for a Service. A Service named `gotoassist-grpc` gives each
/// container of its namespace `GOTOASSIST_GRPC_SERVICE_HOST` and more.
fn is_of_service(name: &str, names: &BTreeSet<String>) -> bool {
    ["_SERVICE_", "_PORT"].iter().any(|part| {
        name.match_indices(part)
            .any(|(end, _)| names.contains(&format!("{}_SERVICE_HOST", &name[..end])))
    })
}

fn nearest<'a>(name: &str, settings: &'a BTreeSet<String>) -> Option<&'a String> {
    // All names begin alike, which would make all of them similar.
    let rest = |name: &str| name.trim_start_matches(PREFIX).to_owned();
    let similarity = |setting: &String| strsim::jaro(&rest(name), &rest(setting));
    let similar = settings.iter().map(|setting| (similarity(setting), setting));
    let similar = similar.filter(|(similarity, _)| *similarity > SIMILAR);
    similar.max_by(|(one, _), (other, _)| one.total_cmp(other)).map(|(_, setting)| setting)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn found(names: &[&str]) -> Vec<String> {
        let names = names.iter().map(|&name| name.to_owned()).collect();
        unknown(&names, &settings()).iter().map(ToString::to_string).collect()
    }

    #[test]
    fn a_misspelt_setting_is_told_with_the_one_that_was_meant() {
        for (name, meant) in [
            ("GOTOASSIST_UPSTREAM_RSP", "GOTOASSIST_UPSTREAM_RPS"),
            ("GOTOASSIST_POLL_ACTIV", "GOTOASSIST_POLL_ACTIVE"),
            ("GOTOASSIST_LOGLEVEL", "GOTOASSIST_LOG_LEVEL"),
        ] {
            let told =
                format!("The environment variable {name} is no setting; did you mean {meant}?");
            assert_eq!(found(&[name]), [told]);
        }
        let told = "The environment variable GOTOASSIST_QQ is no setting.";
        assert_eq!(found(&["GOTOASSIST_QQ"]), [told]);
    }

    #[test]
    fn settings_of_any_command_and_other_variables_are_fine() {
        let names = ["GOTOASSIST_UPSTREAM_RPS", "GOTOASSIST_SERVER", "GOTOASSIST_SIMULATE_SEED"];
        assert!(found(&names).is_empty());
        assert!(found(&["GOTOASSISTANT", "UPSTREAM_RSP", "PATH"]).is_empty());
    }

    #[test]
    fn what_kubernetes_sets_for_a_service_is_fine() {
        let of_service = [
            "GOTOASSIST_GRPC_SERVICE_HOST",
            "GOTOASSIST_GRPC_SERVICE_PORT",
            "GOTOASSIST_GRPC_SERVICE_PORT_HTTP_ADMIN",
            "GOTOASSIST_GRPC_PORT",
            "GOTOASSIST_GRPC_PORT_9464_TCP_ADDR",
        ];
        assert!(found(&of_service).is_empty());
        // Without the Service's address, they are mistakes.
        assert_eq!(found(&of_service[3..]).len(), 2);
    }
}
