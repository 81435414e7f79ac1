//! Checks the pages: their links, the runbook links of alerts, and the page with the flags of
//! `serve`.

use std::{
    collections::BTreeSet,
    fs,
    path::{Path, PathBuf},
};

use clap::CommandFactory as _;
use gotoassist_grpc::config::Cli;

use crate::kit::project::{self, root};

/// Folders without files of this repository.
const SKIPPED: [&str; 4] = ["target", "node_modules", "gen", "third_party"];

#[test]
fn every_link_between_pages_resolves() {
    let pages = files(root(), &["md"]);
    assert!(pages.len() > 15, "the pages must be there: {pages:?}");
    let broken: Vec<_> = pages
        .iter()
        .flat_map(|page| {
            let text = fs::read_to_string(page).unwrap();
            let broken = links(&text).into_iter().filter(|link| !resolves(page, link));
            broken.map(|link| format!("{}: {link}", page.display())).collect::<Vec<_>>()
        })
        .collect();
    assert!(broken.is_empty(), "{broken:#?}");
}

#[test]
fn every_page_that_the_source_names_exists() {
    let mut missing = Vec::new();
    for folder in ["src", "tests", "benches", "deploy", "proto", "clients"] {
        for file in files(&root().join(folder), &["rs", "py", "yaml", "json", "proto", "toml"]) {
            let text = fs::read_to_string(&file).unwrap();
            for rest in text.split("docs/").skip(1) {
                let is_name = |c: char| c.is_ascii_lowercase() || c == '-';
                let name = rest.split(|c| !is_name(c)).next().unwrap();
                let is_page = rest[name.len()..].starts_with(".md") && !name.is_empty();
                if is_page && !root().join(format!("docs/{name}.md")).exists() {
                    missing.push(format!("{}: docs/{name}.md", file.display()));
                }
            }
        }
    }
    assert!(missing.is_empty(), "{missing:#?}");
}

#[test]
fn every_alert_has_a_row_and_leads_to_the_runbook() {
    let page = fs::read_to_string(root().join("docs/alerts.md")).unwrap();
    let rules = fs::read_to_string(root().join("deploy/prometheus/rules.yaml")).unwrap();
    let alerts: Vec<_> = rules.split("- alert: ").skip(1).collect();
    assert!(alerts.len() > 15, "{alerts:?}");
    for alert in &alerts {
        let name = alert.lines().next().unwrap();
        let row = page.lines().find(|line| line.starts_with(&format!("| `{name}` | ")));
        let row = row.unwrap_or_else(|| panic!("{name} has no row"));
        let severity = alert.split("severity: ").nth(1).unwrap().split('}').next().unwrap();
        assert!(row.starts_with(&format!("| `{name}` | {severity} | ")), "{row}");
        let runbook = alert.split("runbook_url: ").nth(1).and_then(|rest| rest.lines().next());
        let runbook = runbook.unwrap_or_else(|| panic!("{name} has no runbook"));
        assert!(resolves(&root().join("page.md"), runbook), "{name}: {runbook}");
        let link = runbook.strip_prefix("docs/").unwrap();
        assert!(links(row).iter().any(|each| each == link), "{name}: {row}");
    }
    let rows = page.lines().filter(|line| line.starts_with("| `Gotoassist")).count();
    assert_eq!(rows, alerts.len(), "each row has an alert");
}

/// A section that no page leads to would not be found in a hurry.
#[test]
fn every_section_of_the_runbook_is_linked() {
    let pages = ["alerts", "on-call", "runbook"].map(|name| root().join(format!("docs/{name}.md")));
    let texts = pages.map(|path| fs::read_to_string(path).unwrap());
    let links: BTreeSet<_> = texts.iter().flat_map(|text| links(text)).collect();
    let runbook = texts[2].lines().filter(|line| line.starts_with("## ")).collect::<Vec<_>>();
    let anchors = anchors(&runbook.join("\n"));
    assert!(anchors.len() > 10, "{anchors:?}");
    for anchor in anchors {
        let forms = [format!("#{anchor}"), format!("runbook.md#{anchor}")];
        assert!(forms.iter().any(|form| links.contains(form)), "{anchor}");
    }
}

/// The chart's alerts are the file's, and Helm's templates would change nothing in it.
#[test]
fn the_chart_has_the_alerts_of_the_file_for_prometheus() {
    let link = fs::read_link(root().join("deploy/prometheus/rules.yaml")).unwrap();
    assert_eq!(link, Path::new("../helm/gotoassist-grpc/rules.yaml"));
    let template = "deploy/helm/gotoassist-grpc/templates/prometheusrule.yaml";
    let template = fs::read_to_string(root().join(template)).unwrap();
    assert!(template.contains(".Files.Get \"rules.yaml\""), "{template}");
    assert!(!template.contains("alert:"), "{template}");
}

/// Those who have only the protos, or only this page, must find them too.
#[test]
fn all_metadata_of_a_call_is_on_the_pages_for_callers() {
    for page in ["docs/api.md", "docs/calling.md", "README.md"] {
        let text = fs::read_to_string(root().join(page)).unwrap();
        for name in ["session-id", "max-staleness"] {
            assert!(text.contains(name), "{name} in {page}");
        }
    }
}

/// Checks that the checks above can fail.
#[test]
fn what_leads_nowhere_is_seen() {
    let text = "\
        # A page: `a_b`, *really*\n[a](b.md) and ![c](d.png), but not [this]\n\
        ```sh\n# [no](link.md)\n```\n## Twice\n## Twice\n[web](https://example.com)";
    assert_eq!(links(text), ["b.md", "d.png", "https://example.com"]);
    assert_eq!(anchors(text), ["a-page-a_b-really", "twice", "twice-1"]);

    let page = root().join("README.md");
    for (link, is_good) in [
        ("https://example.com", true),
        ("docs/runbook.md#calls-fail", true),
        ("#try-it", true),
        ("clients", true),
        ("docs/Nothing.md", false),
        ("docs/runbook.md#nothing", false),
        ("#nothing", false),
        ("src/lib.rs#calls-fail", false),
    ] {
        assert_eq!(resolves(&page, link), is_good, "{link}");
    }
}

/// Our own files below `folder` with one of these extensions.
fn files(folder: &Path, extensions: &[&str]) -> Vec<PathBuf> {
    let is_skipped = |name: &str| name.starts_with('.') || SKIPPED.contains(&name);
    project::files(folder, extensions, is_skipped)
}

/// The lines of a page that are not code.
fn prose(text: &str) -> impl Iterator<Item = &str> {
    let mut is_code = false;
    text.lines().filter(move |line| {
        let is_fence = line.trim_start().starts_with("```");
        is_code ^= is_fence;
        !is_code && !is_fence
    })
}

/// The link targets of a page.
fn links(text: &str) -> Vec<String> {
    let targets = prose(text).flat_map(|line| line.split("](").skip(1));
    targets.filter_map(|rest| Some(rest.split_once(')')?.0.to_owned())).collect()
}

/// The anchors of a page's headings, as GitHub creates them.
fn anchors(text: &str) -> Vec<String> {
    let (mut seen, mut anchors) = (Vec::new(), Vec::new());
    for line in prose(text).filter(|line| line.starts_with('#')) {
        let heading = line.trim_start_matches('#').trim().to_lowercase();
        let is_kept = |c: &char| c.is_alphanumeric() || matches!(c, ' ' | '-' | '_');
        let anchor = heading.chars().filter(is_kept).collect::<String>().replace(' ', "-");
        let repeats = seen.iter().filter(|other| **other == anchor).count();
        anchors.push(if repeats == 0 { anchor.clone() } else { format!("{anchor}-{repeats}") });
        seen.push(anchor);
    }
    anchors
}

/// Whether a link of `page` has a target. Links to other sites are not checked.
fn resolves(page: &Path, link: &str) -> bool {
    if link.contains("://") {
        return true;
    }
    let (path, anchor) = link.split_once('#').unwrap_or((link, ""));
    let target = if path.is_empty() { page.to_owned() } else { page.parent().unwrap().join(path) };
    let has_anchor = || {
        let is_page = target.extension().is_some_and(|end| end == "md");
        is_page && anchors(&fs::read_to_string(&target).unwrap()).iter().any(|each| each == anchor)
    };
    target.exists() && (anchor.is_empty() || has_anchor())
}

#[test]
fn every_flag_of_serve_is_on_its_page_with_its_default() {
    let page = fs::read_to_string(root().join("docs/configuration.md")).unwrap();
    let command = Cli::command();
    let serve = command.find_subcommand("serve").unwrap();
    let mut flags = BTreeSet::new();
    for argument in serve.get_arguments().filter(|argument| !argument.is_hide_set()) {
        let Some(flag) = argument.get_long().filter(|flag| !["help", "version"].contains(flag))
        else {
            continue;
        };
        let row = page.lines().find(|line| {
            line.split('|').nth(1).is_some_and(|cell| cell.contains(&format!("`--{flag}`")))
        });
        let row = row.unwrap_or_else(|| panic!("--{flag} has no row"));
        if let (true, [default]) =
            (argument.get_action().takes_values(), argument.get_default_values())
        {
            assert!(row.contains(&format!("`{}`", default.to_string_lossy())), "--{flag}: {row}");
        }
        flags.insert(format!("--{flag}"));
    }
    assert!(flags.len() > 40, "{flags:?}");
    let rows = page.lines().filter(|line| line.starts_with("| `--"));
    let documented: Vec<_> = rows
        .filter_map(|line| line.split('|').nth(1))
        .flat_map(|cell| cell.split('`').filter(|word| word.starts_with("--")))
        .collect();
    let unknown: Vec<_> = documented.iter().filter(|flag| !flags.contains(**flag)).collect();
    assert!(unknown.is_empty(), "no such flag: {unknown:?}");
}
