//! The Helm chart, as far as it can be checked without helm. `tests/interop/test_helm.py` renders it.

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
