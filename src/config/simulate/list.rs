//! How the simulated vendor answers its list of sessions.

use clap::{Args, ValueEnum};
use serde::{Deserialize, Serialize};

use super::{KeyForm, seconds, share};

/// The list of sessions: how reliable it is, and how large it is. In JSON, durations are seconds.
///
/// The same seed always selects the same sessions for a share.
#[derive(Clone, Copy, Debug, PartialEq, Args, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct ListSettings {
    /// How far the list is behind the answer for one session.
    #[arg(id = "list-lag", long, value_name = "DURATION", value_parser = seconds, default_value = "0s")]
    pub lag: f64,

    /// Share of the sessions that the list lacks, from 0 to 1.
    #[arg(id = "list-missing", long, value_name = "SHARE", value_parser = share, default_value_t)]
    pub missing: f64,

    /// Share of the sessions that the list has twice, from 0 to 1.
    #[arg(id = "list-doubled", long, value_name = "SHARE", value_parser = share, default_value_t)]
    pub doubled: f64,

    /// Share of the sessions whose element in the list has the content of the next session, from 0
    /// to 1.
    #[arg(id = "list-mixed", long, value_name = "SHARE", value_parser = share, default_value_t)]
    pub mixed: f64,

    /// Whether the list also has the sessions that the token may not see.
    #[arg(id = "list-foreign", long)]
    pub foreign: bool,

    /// Number of sessions that only the list has, in front of the others. They are complete.
    #[arg(id = "list-extra", long, value_name = "COUNT", default_value_t)]
    pub extra: u32,

    /// Most sessions in one answer. The parameter `page` asks for the next ones; 0 means no limit.
    #[arg(id = "list-page-size", long, value_name = "COUNT", default_value_t)]
    pub page_size: usize,

    /// What the parameter `page` does.
    #[arg(id = "list-pages", long, value_enum, value_name = "FORM", default_value_t)]
    pub pages: PageForm,

    /// Form of sessionId and sessionStartToken in the list, where they are made of digits.
    #[arg(id = "list-session-ids", long, value_enum, value_name = "FORM", default_value_t)]
    pub session_ids: KeyForm,

    /// Whether a session that is not started has its sessionId in the list, if it has one at all.
    #[arg(id = "list-unstarted-ids", long)]
    pub unstarted_ids: bool,

    /// Time until the answer begins.
    #[arg(id = "list-delay", long, value_name = "DURATION", value_parser = seconds, default_value = "0s")]
    pub delay: f64,

    /// Time over which the body is sent, in small pieces.
    #[arg(id = "list-duration", long, value_name = "DURATION", value_parser = seconds, default_value = "0s")]
    pub duration: f64,
}

/// What the parameter `page` of the list does.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, ValueEnum, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum PageForm {
    /// It selects a page; the first one is 1.
    #[default]
    Numbered,
    /// Nothing: every answer is the first page.
    Ignored,
}
