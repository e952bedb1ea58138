//! The tests of the query languages: the recorded suites, tables of cases, and properties.

#![allow(
    clippy::unwrap_used,
    clippy::print_stdout,
    reason = "helpers of tests fail and print like tests"
)]

mod corpus;
mod effort;
mod hostile;
mod intrinsics;
mod jsonata;
mod jsonpath;
mod properties;
mod templates;
mod values;
