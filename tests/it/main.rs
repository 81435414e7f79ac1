//! The whole service from outside, in one test binary.

mod credentials;
mod quota;
