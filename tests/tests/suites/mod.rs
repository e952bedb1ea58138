//! The suites, by what they judge.

pub(crate) mod four_ways;
pub(crate) mod kill;
pub(crate) mod limits;
pub(crate) mod random;
pub(crate) mod recorded;
pub(crate) mod replay;
pub(crate) mod runs;
pub(crate) mod segments;
pub(crate) mod workflows;
