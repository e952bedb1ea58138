//! Calls of AWS services from state machines, served to a real SDK's eyes: moto's server is DynamoDB, SQS, Secrets Manager
//! and EventBridge, and `tests/clients/moto/run.py` looks into both ends.

use anyhow::Result;
use libtest_mimic::{Failed, Trial};
use stepwell_tests::{
    moto::Moto,
    server::{self, Server, Turn},
};

pub(crate) fn trials() -> Vec<Trial> {
    vec![Trial::test("services::moto", move || {
        calls().map_err(|error| Failed::from(format!("{error:#}")))
    })]
}

fn calls() -> Result<()> {
    let _turn = Turn::take()?;
    let moto = Moto::start()?;
    let scratch = tempfile::tempdir()?;
    let (data, plugins) = (scratch.path().join("data"), scratch.path().join("plugins"));
    std::fs::create_dir_all(&plugins)?;
    let at_moto = ["dynamodb", "sqs", "secretsmanager", "eventbridge"];
    let mut flags: Vec<String> = at_moto
        .iter()
        .map(|service| format!("--endpoint={service}={}", moto.url))
        .collect();
    // Nobody listens there.
    flags.push("--endpoint=kms=http://127.0.0.1:1".to_owned());
    let flags: Vec<&str> = flags.iter().map(String::as_str).collect();
    let server = Server::start_with(&data, &plugins, &flags)?;
    let script = server::root().join("tests/clients/moto/run.py");
    let endpoint = server.client().endpoint();
    print!("{}", moto.run(&script, &["--endpoint", &endpoint])?);
    server.stop()
}
