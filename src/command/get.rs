//! `get`.

use super::{FAILED, USAGE, output};
use crate::{
    client::{Client, json::Printer},
    config::GetConfig,
};

/// Calls and prints the answer; gives the exit status.
pub async fn run(config: &GetConfig) -> u8 {
    match call(config).await {
        Ok(()) => 0,
        Err(status) => status,
    }
}

async fn call(config: &GetConfig) -> Result<(), u8> {
    let client =
        Client::connect(&config.connection).map_err(|error| output::fail(USAGE, &error))?;
    let printer = Printer::new().map_err(|error| output::fail(FAILED, &error))?;
    let answer = client
        .get_session(&config.session_id, config.timeout)
        .await
        .map_err(|failure| output::failure(&failure))?;
    output::message(&printer, &answer)
}
