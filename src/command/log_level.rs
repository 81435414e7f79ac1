//! `log-level`: shows and changes the level of a service's log, through its admin port.

use reqwest::Method;
use serde_json::Value;

use super::{admin_port, output};
use crate::config::{LogLevelConfig, OutputFormat};

const PATH: &str = "/log-level";

/// Prints the level, after the change that the user asked for. `Err` is the exit status.
pub async fn run(config: &LogLevelConfig) -> Result<(), u8> {
    let admin = &config.admin_port;
    let shown = async |method, query: &[(&str, &str)]| {
        let body = admin_port::send(admin, method, PATH, query).await?;
        serde_json::from_slice::<Value>(&body)
            .ok()
            .filter(|levels| levels["level"].is_string() && levels["configured"].is_string())
            .ok_or_else(admin_port::misread)
    };
    let levels = match (&config.level, config.reset) {
        (Some(level), _) => shown(Method::POST, &[("level", level)]).await?,
        (None, true) => {
            let levels = shown(Method::GET, &[]).await?;
            let configured = levels["configured"].as_str().unwrap_or_default();
            shown(Method::POST, &[("level", configured)]).await?
        }
        (None, false) => shown(Method::GET, &[]).await?,
    };
    match output::format(config.output) {
        OutputFormat::Json => output::text(&levels),
        OutputFormat::Text => output::text(&text(&levels)),
    }
}

/// The levels for people.
fn text(levels: &Value) -> String {
    let word = |name: &str| levels[name].as_str().unwrap_or_default().to_owned();
    let (level, configured) = (word("level"), word("configured"));
    if level == configured {
        return level;
    }
    format!("{level} (until the service restarts; --log-level is {configured})")
}
