//! What tests of several rooms share.

pub mod certificate;
pub mod vendor;
