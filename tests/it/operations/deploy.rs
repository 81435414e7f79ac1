//! The Helm chart and the image, as far as they can be checked without helm and without a builder.
//! `tests/interop/test_helm.py` and `test_image.py` do the rest.

use std::{collections::BTreeSet, fs};

use gotoassist_grpc::config;

use crate::kit::project::root;

/// A file of the chart.
fn file(name: &str) -> String {
    fs::read_to_string(root().join("deploy/helm/gotoassist-grpc").join(name)).unwrap()
}

/// The variables that the chart sets from its own values.
fn set_by_chart() -> BTreeSet<String> {
    let deployment = file("templates/deployment.yaml");
    let names = deployment.split("name: GOTOASSIST_").skip(1);
    let is_part = |c: char| c.is_ascii_uppercase() || c == '_';
    let names = names.map(|rest| rest.split(|c| !is_part(c)).next().unwrap());
    names.map(|name| format!("GOTOASSIST_{name}")).collect()
}

/// If it fails, copy the list into `settings.propertyNames` of `values.schema.json`.
#[test]
fn settings_of_the_chart_are_those_of_serve_without_secrets_and_what_the_chart_sets() {
    let set = set_by_chart();
    assert!(set.len() > 20 && set.contains("GOTOASSIST_UPSTREAM_RPS"), "{set:?}");
    let command = config::command();
    let serve = command.find_subcommand("serve").unwrap();
    let is_secret = |argument: &clap::Arg| {
        // A proxy needs no password. If it does, the schema refuses it.
        argument.is_hide_env_values_set() && argument.get_long() != Some("upstream-proxy")
    };
    let variables = serve.get_arguments().filter(|argument| !is_secret(argument));
    let variables = variables.filter_map(|argument| argument.get_env()?.to_str());
    let expected: BTreeSet<_> = variables
        .filter(|name| name.starts_with("GOTOASSIST_") && !set.contains(*name))
        .map(str::to_owned)
        .collect();
    assert!(expected.contains("GOTOASSIST_POLL_ACTIVE"), "{expected:?}");

    let schema: serde_json::Value = serde_json::from_str(&file("values.schema.json")).unwrap();
    let allowed = &schema["properties"]["settings"]["propertyNames"]["enum"];
    let allowed: BTreeSet<String> = serde_json::from_value(allowed.clone()).unwrap();
    assert_eq!(allowed, expected, "{:#}", serde_json::json!(expected));
}

/// In a container, other hosts cannot reach the loopback address. The variables of `serve` do not
/// move the other commands.
#[test]
fn every_command_of_the_image_listens_where_other_hosts_reach_it() {
    let dockerfile = fs::read_to_string(root().join("Dockerfile")).unwrap();
    let command = config::command();
    let mut found = Vec::new();
    for name in ["serve", "simulate", "demo"] {
        let arguments = command.find_subcommand(name).unwrap().get_arguments();
        for argument in arguments {
            let (Some(flag), Some(variable)) = (argument.get_long(), argument.get_env()) else {
                continue;
            };
            // Only the demo itself asks its simulator.
            if !["listen", "admin-listen"].contains(&flag) {
                continue;
            }
            let [default] = argument.get_default_values() else { panic!("--{flag} of {name}") };
            // The demo takes free ports, which a container cannot publish.
            let port = match (name, flag) {
                ("demo", "listen") => "50051",
                ("demo", "admin-listen") => "9464",
                _ => default.to_str().unwrap().rsplit_once(':').unwrap().1,
            };
            let line = format!("{}=0.0.0.0:{port}", variable.to_str().unwrap());
            let is_set = dockerfile.split_whitespace().any(|word| word == line);
            assert!(is_set, "{line}");
            found.push(line);
        }
    }
    assert_eq!(found.len(), 5, "{found:?}");
}

#[test]
fn every_value_of_the_chart_is_in_its_readme_and_in_its_schema() {
    let values = file("values.yaml");
    let is_key = |line: &&str| line.starts_with(|first: char| first.is_ascii_lowercase());
    let keys: BTreeSet<_> =
        values.lines().filter(is_key).filter_map(|line| Some(line.split_once(':')?.0)).collect();
    assert!(keys.len() > 25 && keys.contains("extraVolumes"), "{keys:?}");
    let readme = file("README.md");
    let schema: serde_json::Value = serde_json::from_str(&file("values.schema.json")).unwrap();
    for key in keys {
        assert!(readme.contains(&format!("`{key}`")), "{key} is not in the README");
        assert!(schema["properties"].get(key).is_some(), "{key} is not in the schema");
    }
}
