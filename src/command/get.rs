//! `get`.

use super::{client, output};
use crate::config::GetConfig;

/// Calls `GetSession` and prints the answer. `Err` is the exit status.
pub async fn run(config: &GetConfig) -> Result<(), u8> {
    let call = client(&config.connection)?.get_session(&config.session_id, config.timeout).await;
    let answer = call.map_err(|failure| output::failure(&failure))?;
    let format = output::format(config.output);
    output::message_as(format, "gotoassist.remotesupport.v1.GetSessionResponse", &answer)
}
