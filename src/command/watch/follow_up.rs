//! What follows a message of `watch` after it is shown: the command of `--exec`, and then the state
//! file. If the command fails, the message counts as not received, and comes again after a restart.

use std::{
    collections::BTreeMap,
    fs, io,
    path::{Path, PathBuf},
    process::Stdio,
};

use tokio::{io::AsyncWriteExt as _, process::Command};

use super::super::{FAILED, USAGE, json, output};
use crate::{
    config::WatchConfig,
    file,
    proto::{
        WatchSessionResponse, WatchSessionsResponse, watch_session_response::EventType,
        watch_sessions_response::Body,
    },
};

/// What follows a message. By default nothing does.
#[derive(Default)]
pub struct FollowUp {
    command: Option<String>,
    state: Option<StateFile>,
}

impl FollowUp {
    /// What the flags ask for. `Err` is the exit status.
    pub fn new(config: &WatchConfig) -> Result<Self, u8> {
        let state = config.state_file.as_deref().map(StateFile::open).transpose();
        let state = state.map_err(|error| output::fail(USAGE, &error))?;
        Ok(Self { command: config.exec.clone(), state })
    }

    /// Whether the resume tokens are in a file.
    pub fn has_state_file(&self) -> bool {
        self.state.is_some()
    }

    /// The resume token of a session from an earlier run.
    pub fn resume_token(&self, session_id: &str) -> Option<String> {
        self.state.as_ref()?.tokens.get(session_id).cloned()
    }

    /// Does what follows this message. `Err` is the exit status.
    pub async fn after(&mut self, message: &WatchSessionsResponse) -> Result<(), u8> {
        let Some(Body::Update(update)) = &message.body else { return Ok(()) };
        if let Some(command) = &self.command {
            run(command, &message.session_id, update).await?;
        }
        if let Some(state) = &mut self.state {
            let noted = state.note(&message.session_id, &update.resume_token);
            noted.map_err(|error| output::fail(FAILED, &format_args!("--state-file: {error}")))?;
        }
        Ok(())
    }
}

/// Runs the command of `--exec`, if the update tells something new of the session.
async fn run(command: &str, session_id: &str, update: &WatchSessionResponse) -> Result<(), u8> {
    let event_type = match update.event_type() {
        EventType::Snapshot => "SNAPSHOT",
        EventType::Changed => "CHANGED",
        EventType::Heartbeat | EventType::Stale | EventType::Unspecified => return Ok(()),
    };
    let fail = |why: &dyn std::fmt::Display| output::fail(FAILED, &format_args!("--exec: {why}"));
    let line = json::line("gotoassist.remotesupport.v1.WatchSessionResponse", update);
    let line = line.map_err(|error| fail(&error))?;
    let status = update.session.as_ref().map(|session| session.upstream_status.as_str());
    let child = Command::new("/bin/sh")
        .args(["-c", command])
        .env("WATCH_SESSION_ID", session_id)
        .env("WATCH_EVENT_TYPE", event_type)
        .env("WATCH_STATUS", status.unwrap_or_default())
        .stdin(Stdio::piped())
        .spawn();
    let mut child = child.map_err(|error| fail(&error))?;
    if let Some(mut stdin) = child.stdin.take() {
        // The command need not read the message.
        let _ = stdin.write_all(format!("{line}\n").as_bytes()).await;
    }
    let status = child.wait().await.map_err(|error| fail(&error))?;
    if status.success() { Ok(()) } else { Err(fail(&format_args!("{command}: {status}"))) }
}

/// The resume tokens of the watched sessions, in a file.
struct StateFile {
    path: PathBuf,
    tokens: BTreeMap<String, String>,
}

impl StateFile {
    /// Reads the file. A file that does not exist yet has no tokens.
    fn open(path: &Path) -> Result<Self, String> {
        let unusable =
            |why: &dyn std::fmt::Display| format!("--state-file {}: {why}", path.display());
        let tokens = match fs::read(path) {
            Ok(text) => serde_json::from_slice(&text)
                .map_err(|_| unusable(&"it is not a state file of this command"))?,
            Err(error) if error.kind() == io::ErrorKind::NotFound => BTreeMap::new(),
            Err(error) => return Err(unusable(&error)),
        };
        Ok(Self { path: path.to_owned(), tokens })
    }

    /// Stores the token. If the machine stops meanwhile, the file has all old or all new tokens.
    fn note(&mut self, session_id: &str, token: &str) -> io::Result<()> {
        if self.tokens.get(session_id).is_some_and(|known| known == token) {
            return Ok(());
        }
        self.tokens.insert(session_id.to_owned(), token.to_owned());
        file::replace(&self.path, |file| {
            serde_json::to_writer(&mut *file, &self.tokens)?;
            writeln!(file)
        })
    }
}
