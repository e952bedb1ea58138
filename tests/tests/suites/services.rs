//! Calls of AWS services from state machines, served to a real SDK's eyes: moto's server is DynamoDB, SQS, Secrets Manager
//! and EventBridge, and `tests/clients/moto/run.py` looks into both ends.

use anyhow::Result;
use libtest_mimic::Trial;
use stepwell_tests::{moto::Moto, place::Place, server};

use super::trial;

pub(crate) fn trials() -> Vec<Trial> {
    vec![trial("services::moto", calls)]
}

fn calls() -> Result<()> {
    let place = Place::new()?;
    let moto = Moto::start()?;
    let at_moto = ["dynamodb", "sqs", "secretsmanager", "eventbridge"];
    let mut flags: Vec<String> = at_moto
        .iter()
        .map(|service| format!("--endpoint={service}={}", moto.url))
        .collect();
    // Nobody listens there.
    flags.push("--endpoint=kms=http://127.0.0.1:1".to_owned());
    let flags: Vec<&str> = flags.iter().map(String::as_str).collect();
    let server = place.serve(&flags)?;
    let script = server::root().join("tests/clients/moto/run.py");
    let endpoint = server.client().endpoint();
    print!("{}", moto.run(&script, &["--endpoint", &endpoint])?);
    server.stop()
}
