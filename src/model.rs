//! The concepts of the service: sessions, links, the order of statuses, and changes. This module is
//! pure: it uses no I/O, no serde, no prost and no clock.

mod argument;
pub mod digest;
pub mod field;
pub mod history;
pub mod known;
pub mod session;
pub mod session_list;
pub mod session_page;
pub mod status;
pub mod system_link;
pub mod time;
pub mod transition;
pub mod validator;
pub mod value;

pub use argument::{ARGUMENT_LIMIT, InvalidArgument};
pub use digest::{Digest, Identity};
pub use field::FieldSet;
pub use history::History;
pub use known::Known;
pub use session::{Collaborator, Session, SessionId};
pub use session_list::{Comparison, ListWindow, ListedSession};
pub use session_page::{ListQuery, SessionPage};
pub use status::Status;
pub use system_link::{SystemDomain, SystemLink};
pub use time::UtcTime;
pub use transition::{Progress, Transition};
pub use validator::{Absence, Baseline, Rejection, Validation, Validator};
pub use value::{Fields, Value};
