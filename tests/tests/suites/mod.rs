//! The suites, by what they judge.

pub(crate) mod awscli;
pub(crate) mod boto3;
pub(crate) mod boxes;
pub(crate) mod clients;
pub(crate) mod concurrency;
pub(crate) mod console;
pub(crate) mod examples;
pub(crate) mod forks;
pub(crate) mod four_ways;
pub(crate) mod functions;
pub(crate) mod hostile;
pub(crate) mod http_tasks;
pub(crate) mod invoke;
pub(crate) mod kill;
pub(crate) mod limits;
pub(crate) mod observe;
pub(crate) mod outcomes;
pub(crate) mod policy;
pub(crate) mod precompiled;
pub(crate) mod random;
pub(crate) mod recorded;
pub(crate) mod recorded_services;
pub(crate) mod recorded_storage;
pub(crate) mod recorded_wire;
pub(crate) mod registry;
pub(crate) mod replay;
pub(crate) mod runs;
pub(crate) mod sealed;
pub(crate) mod segments;
pub(crate) mod services;
pub(crate) mod tenants;
pub(crate) mod tidy;
pub(crate) mod tls;
pub(crate) mod triggers;
pub(crate) mod uploads;
pub(crate) mod walls;
pub(crate) mod workflows;

use std::fmt::Display;

use libtest_mimic::{Failed, Trial};

/// A trial of a suite; what fails it is told with all its causes.
pub(crate) fn trial<E: Display>(
    name: impl Into<String>,
    run: impl FnOnce() -> Result<(), E> + Send + 'static,
) -> Trial {
    Trial::test(name, move || {
        run().map_err(|error| Failed::from(format!("{error:#}")))
    })
}
