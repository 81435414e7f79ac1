//! `docs/operations.md` knows whatever can come up at night.

use std::{
    collections::BTreeSet,
    fs,
    path::{Path, PathBuf},
};

fn root() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).to_owned()
}

/// The texts in double quotes that are made of these bytes alone, seven or more.
fn quoted(path: &Path, is_part: fn(u8) -> bool) -> BTreeSet<String> {
    let source = fs::read_to_string(path).unwrap();
    let texts = source.split('"').filter(|text| text.len() > 6 && text.bytes().all(is_part));
    texts.map(str::to_owned).collect()
}

#[test]
fn every_reason_and_every_metric_is_in_the_runbook() {
    let page = fs::read_to_string(root().join("docs/operations.md")).unwrap();
    let reasons = quoted(&root().join("src/grpc/status.rs"), |byte| {
        byte.is_ascii_uppercase() || byte == b'_'
    });
    assert!(reasons.len() > 25 && reasons.contains("OVERLOADED"), "{reasons:?}");
    let rooms = ["feed", "grpc", "rest", "server", "trace"];
    let metrics = rooms.iter().flat_map(|room| {
        quoted(&root().join("src").join(room).join("metric.rs"), |byte| {
            byte.is_ascii_lowercase() || byte == b'_'
        })
    });
    let metrics: BTreeSet<_> = metrics.filter(|name| name.contains('_')).collect();
    assert!(metrics.len() > 30, "{metrics:?}");
    let missing: Vec<_> = reasons
        .iter()
        .chain(&metrics)
        .filter(|name| !page.contains(&format!("`{name}`")))
        .collect();
    assert!(missing.is_empty(), "{missing:?}");
}
