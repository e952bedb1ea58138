//! The tests of the query languages: the recorded suites, tables of cases, and properties.

mod corpus;
mod intrinsics;
mod jsonata;
mod jsonpath;
mod properties;
mod templates;
mod values;
