//! The files of the project, for tests that read them.

use std::{
    fs,
    path::{Path, PathBuf},
};

/// The folder of the project.
pub fn root() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR"))
}

/// The files below `folder` with one of these extensions, except in folders with a skipped name. A
/// folder that does not exist has no files.
pub fn files(
    folder: &Path,
    extensions: &[&str],
    is_skipped: impl Fn(&str) -> bool,
) -> Vec<PathBuf> {
    let (mut folders, mut found) = (vec![folder.to_owned()], Vec::new());
    while let Some(folder) = folders.pop() {
        for entry in fs::read_dir(folder).into_iter().flatten() {
            let path = entry.unwrap().path();
            if path.is_dir() {
                let name = path.file_name().unwrap().to_string_lossy();
                if !is_skipped(&name) {
                    folders.push(path.clone());
                }
            } else if path.extension().is_some_and(|end| extensions.iter().any(|each| end == *each))
            {
                found.push(path);
            }
        }
    }
    found
}

/// The source files of the service, with their paths.
pub fn sources() -> Vec<(PathBuf, String)> {
    let paths = files(&root().join("src"), &["rs"], |_| false);
    let sources = paths.into_iter().map(|path| {
        let text = fs::read_to_string(&path).unwrap();
        (path, text)
    });
    sources.collect()
}

/// The metrics that a source file names: the name of each constant, and that of its metric.
pub fn metrics(source: &str) -> Vec<(String, String)> {
    let words: Vec<_> = source.split_whitespace().collect();
    let prefixes = ["gotoassist_", "rpc_", "http_client_"];
    let is_metric = |name: &str| prefixes.iter().any(|prefix| name.starts_with(prefix));
    let constant = |rest: &str| {
        let (name, value) = rest.split_once(": &str = \"")?;
        let (metric, _) = value.split_once('"')?;
        is_metric(metric).then(|| (name.to_owned(), metric.to_owned()))
    };
    words.join(" ").split("const ").skip(1).filter_map(constant).collect()
}
