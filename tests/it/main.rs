//! The whole service from outside, in one test binary.

mod edge;
mod quota;
mod upstream;
