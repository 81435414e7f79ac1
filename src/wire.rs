//! The wire to the vendor: endpoints, JSON, errors, HTTP. The only place that knows HTTP and JSON.

pub mod answer;
pub(crate) mod decode;
pub(crate) mod endpoint;
pub mod error;
pub mod http_client;
pub mod invalid_body;
pub(crate) mod json;
#[cfg(test)]
mod property;
pub mod session;
pub(crate) mod session_list;
pub(crate) mod status;
mod system_link;
pub(crate) mod transport;
pub(crate) mod unknown_fields;

pub use answer::Answer;
pub use error::{ConnectionFailure, Error, Kind};
pub use http_client::{HttpClient, SetUpError};
pub use invalid_body::InvalidBody;
pub use session_list::ListSummary;
