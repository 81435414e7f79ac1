//! Checks the rules for the source: imports between modules, the first line of a file, its length,
//! and forbidden content.
//!
//! A rule that fails names the file and line. The rules themselves are in ARCHITECTURE.md.

use std::{fmt, fs, path::Path};

use proc_macro2::{Delimiter, TokenStream, TokenTree};

use crate::kit::project::{self, root};

/// Each module uses only the modules to its left.
const LADDER: [&str; 16] = [
    "config",
    "clock",
    "file",
    "model",
    "trace",
    "wire",
    "credential",
    "fleet",
    "traffic",
    "feed",
    "proto",
    "grpc",
    "admin",
    "callback",
    "server",
    "command",
];

/// The modules beside the layers, and the modules that each may use. Only `command` may use them.
const BESIDE: [(&str, &[&str]); 3] = [
    ("telemetry", &["config"]),
    ("simulator", &["config", "clock", "file"]),
    ("client", &["config", "proto"]),
];

/// Which modules may use which crates: HTTP and JSON, protobuf and gRPC, traces.
const CRATES: [(&[&str], &[&str]); 5] = [
    (&["redis"], &["fleet"]),
    (&["reqwest"], &["wire", "simulator", "command"]),
    (&["serde_json"], &["wire", "callback", "fleet", "simulator", "command"]),
    (
        &["tonic", "tonic_types", "tonic_prost", "prost", "prost_types", "prost_reflect"],
        &["proto", "grpc", "admin", "server", "client", "command"],
    ),
    (&["opentelemetry", "opentelemetry_sdk", "opentelemetry_otlp"], &["trace"]),
];

/// The files that may spawn tasks. Each task has an owner that ends it.
const SPAWNERS: [&str; 10] = [
    "src/server",
    "src/feed/poll.rs",
    "src/feed/sweep.rs",
    "src/grpc/watch_sessions/entries.rs",
    "src/traffic/quota/bucket.rs",
    "src/credential/token",
    "src/fleet/member.rs",
    "src/fleet/polls.rs",
    "src/simulator",
    "src/command",
];

/// Most lines of a file.
const LINE_LIMIT: usize = 400;

/// The attributes in front of tests, after `#`.
const TEST: &str = "[cfg (test)]";

/// Names that say nothing.
const EMPTY_NAMES: [&str; 8] =
    ["mod", "util", "utils", "helper", "helpers", "common", "manager", "misc"];

#[test]
fn every_import_goes_down_the_ladder() {
    let mut complaints = Complaints::default();
    for file in sources() {
        let Some(room) = file.room() else { continue };
        for path in file.paths() {
            let Some(target) = file.target(&path) else { continue };
            if target != room && !allowed(&room).contains(&target) {
                complaints.add(&file, path.line, format_args!("{room} must not use {target}"));
            }
        }
    }
    complaints.report();
}

/// Generated code is not a source file, so the test checks its configuration.
#[test]
fn generated_code_uses_only_its_own_room() {
    let build = fs::read_to_string(root().join("build.rs")).unwrap();
    let rooms: Vec<_> = build.split("\"crate::").skip(1).collect();
    assert!(!rooms.is_empty());
    for room in rooms {
        assert!(room.starts_with("proto::") || room.starts_with("proto\""), "{room}");
    }
}

#[test]
fn every_room_has_its_place() {
    let mut complaints = Complaints::default();
    for file in sources() {
        if let Some(room) = file.room()
            && !LADDER.contains(&&*room)
            && !BESIDE.iter().any(|(beside, _)| *beside == room)
        {
            complaints.add(&file, 1, format_args!("{room} is no room of the house"));
        }
    }
    complaints.report();
}

#[test]
fn only_their_rooms_know_the_crates_of_the_faces() {
    let mut complaints = Complaints::default();
    for file in sources() {
        let Some(room) = file.room() else { continue };
        for path in file.paths() {
            for (crates, rooms) in CRATES {
                if crates.contains(&&*path.segments[0]) && !rooms.contains(&&*room) {
                    let name = &path.segments[0];
                    complaints.add(&file, path.line, format_args!("{room} must not know {name}"));
                }
            }
        }
    }
    complaints.report();
}

#[test]
fn tasks_have_few_owners() {
    let mut complaints = Complaints::default();
    for file in sources() {
        let owns = SPAWNERS.iter().any(|owner| file.name.starts_with(owner));
        for path in file.paths().iter().filter(|_| !owns) {
            if path.segments.iter().any(|segment| segment.starts_with("spawn")) {
                complaints.add(&file, path.line, format_args!("starts a task"));
            }
        }
    }
    complaints.report();
}

#[test]
fn only_config_reads_the_environment_and_nobody_exits() {
    let mut complaints = Complaints::default();
    for file in sources() {
        for path in file.paths() {
            let calls = |module: &str, function: &str| {
                path.segments
                    .windows(2)
                    .any(|pair| pair[0] == module && pair[1].starts_with(function))
            };
            if calls("env", "var") && file.room().as_deref() != Some("config") {
                complaints.add(&file, path.line, format_args!("reads the environment"));
            }
            if calls("process", "exit") || calls("process", "abort") {
                complaints.add(&file, path.line, format_args!("ends the process"));
            }
        }
    }
    complaints.report();
}

#[test]
fn nothing_is_left_undone() {
    let mut complaints = Complaints::default();
    // Each mark is in two pieces, so that this file does not have it.
    let marks = [["TO", "DO"], ["FIX", "ME"], ["XX", "X"]].map(|pieces| pieces.concat());
    for file in files() {
        for (number, line) in file.text.lines().enumerate() {
            for mark in marks.iter().filter(|mark| line.contains(&***mark)) {
                complaints.add(&file, number + 1, format_args!("{mark}"));
            }
        }
    }
    for file in sources() {
        for path in file.paths() {
            let last = path.segments.last().map(String::as_str);
            if let Some(word @ ("todo" | "unimplemented" | "dbg" | "unwrap" | "unsafe")) = last {
                complaints.add(&file, path.line, format_args!("{word}"));
            }
        }
    }
    complaints.report();
}

#[test]
fn every_file_says_what_it_is_and_is_short() {
    let mut complaints = Complaints::default();
    for file in files() {
        if !file.text.lines().next().is_some_and(|line| line.starts_with("//! ")) {
            complaints.add(&file, 1, format_args!("the first line must be a `//!` sentence"));
        }
        let lines = file.text.lines().count();
        if lines > LINE_LIMIT {
            complaints.add(&file, lines, format_args!("{lines} lines, more than {LINE_LIMIT}"));
        }
        let stem = Path::new(&file.name).file_stem().unwrap().to_string_lossy().into_owned();
        if EMPTY_NAMES.contains(&&*stem) {
            complaints.add(&file, 1, format_args!("{stem} is no name"));
        }
    }
    complaints.report();
}

/// Checks that the rules can fail.
#[test]
fn what_breaks_the_ladder_is_seen() {
    let text = r#"//! Breaks every rule.
        use crate::{config::Cli, grpc::{self, status}};
        use super::super::server;
        // crate::command is a comment, "crate::admin" is in a text
        fn f() { select! { x = crate::feed::poll() => tokio::task::spawn(g("crate::admin")) } }
        #[cfg(test)]
        mod tests { use crate::command::Cli; }
    "#;
    let file = File { name: "src/model/change.rs".into(), text: text.into() };
    let targets: Vec<_> =
        file.paths().iter().filter_map(|path| Some((file.target(path)?, path.line))).collect();
    let seen: Vec<_> = targets.iter().map(|(target, line)| (&**target, *line)).collect();
    assert_eq!(seen, [("config", 2), ("grpc", 2), ("grpc", 2), ("server", 3), ("feed", 5)]);
    assert_eq!(allowed("model"), ["config", "clock", "file"]);
    assert!(file.paths().iter().any(|path| path.segments == ["tokio", "task", "spawn"]));
}

/// The modules that a module may use.
fn allowed(room: &str) -> Vec<String> {
    let below: &[&str] = match LADDER.iter().position(|step| *step == room) {
        // The generated code uses no other module.
        Some(_) if room == "proto" => &[],
        Some(step) => &LADDER[..step],
        None => BESIDE.iter().find(|(name, _)| *name == room).map_or(&[], |(_, uses)| uses),
    };
    let beside = BESIDE.iter().filter(|_| room == "command").map(|(name, _)| name);
    below.iter().chain(beside).map(ToString::to_string).collect()
}

struct File {
    /// From the root of the repository, with slashes.
    name: String,
    text: String,
}

/// A path such as `a::b::c`, in an import or anywhere else in the code.
struct Segments {
    segments: Vec<String>,
    line: usize,
}

impl File {
    /// The module of a file: `wire` for src/wire.rs and all files below src/wire. `None` for crate
    /// roots.
    fn room(&self) -> Option<String> {
        let (room, _) = self.name.strip_prefix("src/")?.split_once(['/', '.'])?;
        (!matches!(room, "lib" | "main")).then(|| room.to_owned())
    }

    /// All paths in the code, without tests.
    fn paths(&self) -> Vec<Segments> {
        let tokens: TokenStream = self.text.parse().expect(&self.name);
        let mut paths = Vec::new();
        collect(tokens, &[], &mut paths);
        paths
    }

    /// The modules in files of their own that are for tests only, without `.rs`.
    fn test_modules(&self) -> Vec<String> {
        let folder = self.name.trim_end_matches(".rs");
        let declared = self.text.split("#[cfg(test)]\nmod ").skip(1);
        let names = declared.filter_map(|rest| rest.lines().next()?.strip_suffix(';'));
        names.map(|name| format!("{folder}/{name}")).collect()
    }

    /// The module that a path leads to, if the path begins with `crate` or enough `super`.
    fn target(&self, path: &Segments) -> Option<String> {
        let depth = self.name.matches('/').count();
        let climbed = path.segments.iter().take_while(|segment| *segment == "super").count();
        let skipped = match path.segments[0].as_str() {
            "crate" => 1,
            _ if climbed >= depth => climbed,
            _ => return None,
        };
        path.segments.get(skipped).cloned()
    }
}

/// Finds the paths in `tokens`; each begins with `prefix`, as in the braces of an import.
fn collect(tokens: TokenStream, prefix: &[String], paths: &mut Vec<Segments>) {
    let tokens: Vec<_> = tokens.into_iter().collect();
    let is_colon = |at: usize| matches!(tokens.get(at), Some(TokenTree::Punct(punct)) if punct.as_char() == ':');
    let mut at = 0;
    while let Some(token) = tokens.get(at) {
        at += 1;
        match token {
            TokenTree::Ident(first) => {
                let mut segments = [prefix, &[first.to_string()]].concat();
                let mut is_tree = false;
                while !is_tree && is_colon(at) && is_colon(at + 1) {
                    match tokens.get(at + 2) {
                        Some(TokenTree::Ident(next)) => segments.push(next.to_string()),
                        Some(TokenTree::Group(group)) => {
                            collect(group.stream(), &segments, paths);
                            is_tree = true;
                        }
                        _ => break,
                    }
                    at += 3;
                }
                if !is_tree {
                    paths.push(Segments { segments, line: first.span().start().line });
                }
            }
            // Code for tests ends with its braces, or is in another file.
            TokenTree::Group(group) if group.to_string() == TEST => {
                let is_end = |token: &TokenTree| match token {
                    TokenTree::Group(group) => group.delimiter() == Delimiter::Brace,
                    TokenTree::Punct(punct) => punct.as_char() == ';',
                    TokenTree::Ident(_) | TokenTree::Literal(_) => false,
                };
                let length = tokens[at..].iter().position(is_end);
                at += length.map_or(0, |length| length + 1);
            }
            TokenTree::Group(group) => collect(group.stream(), &[], paths),
            TokenTree::Punct(_) | TokenTree::Literal(_) => {}
        }
    }
}

#[derive(Default)]
struct Complaints(String);

impl Complaints {
    fn add(&mut self, file: &File, line: usize, complaint: fmt::Arguments<'_>) {
        self.0.extend([format!("\n{}:{line}: {complaint}", file.name)]);
    }

    fn report(&self) {
        assert!(self.0.is_empty(), "{}", self.0);
    }
}

/// The files of src, except those that have only tests.
fn sources() -> Vec<File> {
    let mut files = files();
    files.retain(|file| file.name.starts_with("src/"));
    let tests: Vec<_> = files.iter().flat_map(File::test_modules).collect();
    let is_test = |name: &str| {
        tests.iter().any(|module| {
            name.strip_prefix(&**module).is_some_and(|rest| rest.starts_with(['.', '/']))
        })
    };
    files.retain(|file| !is_test(&file.name));
    files
}

/// Every Rust file of the repository.
fn files() -> Vec<File> {
    let root = root();
    let folders = ["src", "tests", "benches", "examples"].map(|name| root.join(name));
    let found = folders.iter().flat_map(|folder| project::files(folder, &["rs"], |_| false));
    let mut files = Vec::new();
    for path in found.chain([root.join("build.rs")]) {
        let name = path.strip_prefix(root).unwrap().to_string_lossy().replace('\\', "/");
        files.push(File { name, text: fs::read_to_string(path).unwrap() });
    }
    assert!(files.len() > 50, "the source must be there");
    files
}
