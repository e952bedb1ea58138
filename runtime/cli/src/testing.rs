//! Workflows and single states tested with mocked tasks, in virtual time. Hides the files that say what is mocked and
//! expected, and the driver beneath.

mod compare;
mod drive;
mod file;
mod junit;
mod report;
mod run;

pub(crate) use file::{Read, Tests, read};
pub(crate) use junit::junit;
pub(crate) use report::{as_json, as_text};
pub(crate) use run::{Tested, run};
