//! A request to the admin port of a service.

use std::{error::Error, time::Duration};

use reqwest::{Client, Method, StatusCode};

use super::{FAILED, output};
use crate::config::AdminPortConfig;

/// Sends a request, and returns the body of the answer. `Err` is the exit status.
pub async fn send(
    config: &AdminPortConfig,
    method: Method,
    path: &str,
    query: &[(&str, &str)],
) -> Result<Vec<u8>, u8> {
    let fail = |error| output::fail(FAILED, &describe(error, config.timeout));
    // The admin port is on this machine or in this cluster, so no proxy is asked.
    let client = Client::builder().no_proxy().timeout(config.timeout).build().map_err(fail)?;
    let mut url = config.admin.clone();
    url.set_path(&format!("{}{path}", config.admin.path().trim_end_matches('/')));
    if !query.is_empty() {
        url.query_pairs_mut().extend_pairs(query);
    }
    let answer = client.request(method, url).send().await.map_err(fail)?;
    let status = answer.status();
    let body = answer.bytes().await.map_err(fail)?;
    match status {
        status if status.is_success() => Ok(body.into()),
        StatusCode::BAD_REQUEST | StatusCode::FORBIDDEN | StatusCode::NOT_IMPLEMENTED => {
            Err(output::fail(FAILED, &String::from_utf8_lossy(&body).trim_end()))
        }
        _ => Err(misread()),
    }
}

fn describe(error: reqwest::Error, timeout: Duration) -> String {
    let error = error.without_url();
    if error.is_timeout() {
        return format!("no answer within {}", humantime::format_duration(timeout));
    }
    let mut innermost: &dyn Error = &error;
    while let Some(source) = innermost.source() {
        innermost = source;
    }
    format!("no connection to the admin port: {innermost}. --admin is its address")
}

/// Prints that the answer is not that of an admin port, and returns the exit status.
pub fn misread() -> u8 {
    let text = "the answer is not that of an admin port. --admin is its address, not the API's";
    output::fail(FAILED, &text)
}
