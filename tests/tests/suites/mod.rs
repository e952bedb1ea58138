//! The suites, by what they judge.

pub(crate) mod awscli;
pub(crate) mod boto3;
pub(crate) mod boxes;
pub(crate) mod clients;
pub(crate) mod examples;
pub(crate) mod four_ways;
pub(crate) mod functions;
pub(crate) mod hostile;
pub(crate) mod http_tasks;
pub(crate) mod kill;
pub(crate) mod limits;
pub(crate) mod policy;
pub(crate) mod random;
pub(crate) mod recorded;
pub(crate) mod recorded_services;
pub(crate) mod recorded_storage;
pub(crate) mod recorded_wire;
pub(crate) mod replay;
pub(crate) mod runs;
pub(crate) mod segments;
pub(crate) mod services;
pub(crate) mod tenants;
pub(crate) mod tidy;
pub(crate) mod tls;
pub(crate) mod walls;
pub(crate) mod workflows;
