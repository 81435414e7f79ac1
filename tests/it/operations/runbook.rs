//! The pages for operators list every reason, cause, metric and warning.

use std::{collections::BTreeSet, fs};

use gotoassist_grpc::{grpc::reason::Reason, wire::ConnectionFailure};
use strum::VariantNames as _;

use crate::kit::project::{metrics, root, sources};

/// A page of `docs`.
fn page(name: &str) -> String {
    fs::read_to_string(root().join(format!("docs/{name}.md"))).unwrap()
}

/// Checks that the page has all `names` as code.
fn assert_has_all(page: &str, names: &BTreeSet<String>) {
    let is_missing = |name: &&String| !page.contains(&format!("`{name}`"));
    let missing: Vec<_> = names.iter().filter(is_missing).collect();
    assert!(missing.is_empty(), "{missing:?}");
}

#[test]
fn every_reason_is_in_the_runbook() {
    let page = page("runbook");
    let reasons: BTreeSet<_> = Reason::ALL.iter().map(|reason| reason.name().to_owned()).collect();
    assert!(reasons.len() > 25 && reasons.contains("OVERLOADED"), "{reasons:?}");
    assert_has_all(&page, &reasons);
}

#[test]
fn every_metric_is_on_its_page() {
    let named = sources().into_iter().flat_map(|(_, source)| metrics(&source));
    let metrics: BTreeSet<_> = named.map(|(_, metric)| metric).collect();
    assert!(metrics.len() > 30, "{metrics:?}");
    assert_has_all(&page("metrics"), &metrics);
}

#[test]
fn every_cause_of_a_connection_failure_is_in_the_runbook() {
    let page = page("runbook");
    let causes = ConnectionFailure::VARIANTS;
    assert!(causes.len() > 10 && causes.contains(&"dns"), "{causes:?}");
    let missing: Vec<_> =
        causes.iter().filter(|cause| !page.contains(&format!("\n| `{cause}` | "))).collect();
    assert!(missing.is_empty(), "{missing:?}");
}

/// The log texts of a macro with this name: its last argument.
fn logged(source: &str, name: &str) -> Vec<String> {
    let text = |call: &str| {
        let mut ends = call.match_indices(')').map(|(at, _)| call[..at].trim_end());
        let arguments = ends.find_map(|end| end.trim_end_matches(',').strip_suffix('"'))?;
        let (_, text) = arguments.rsplit_once('"')?;
        Some(text.split("\\\n").map(str::trim_start).collect())
    };
    let start = format!("{name}!(");
    source.split(start.as_str()).skip(1).filter_map(text).collect()
}

#[test]
fn every_warning_in_the_log_is_in_the_runbook() {
    let page = page("runbook");
    let levels = ["warn", "error"];
    let lines: Vec<_> = sources()
        .iter()
        .flat_map(|(_, source)| levels.iter().flat_map(move |level| logged(source, level)))
        .collect();
    assert!(
        lines.len() > 12 && lines.iter().any(|line| line == "certificates not reloaded"),
        "{lines:#?}"
    );
    // The page may have only the beginning of a long line.
    let is_told = |line: &&String| {
        let words: Vec<_> = line.split(' ').take(6).collect();
        page.contains(&words.join(" ")) || page.contains(&**line)
    };
    let missing: Vec<_> = lines.iter().filter(|line| !is_told(line)).collect();
    assert!(missing.is_empty(), "{missing:#?}");
}
