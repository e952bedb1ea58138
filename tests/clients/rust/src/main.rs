//! Runs the cases of `tests/clients/cases` with the AWS SDK for Rust: `stepwell-rust-client CASES ACCOUNT`. One line a case,
//! exit code 1 when one failed. Where the server is, the region and the key come from the environment.

#![allow(clippy::print_stdout, reason = "it says what became of each case")]

mod answers;
mod calls;
mod client;
mod matching;
mod requests;
mod steps;

use std::{
    collections::BTreeSet,
    path::{Path, PathBuf},
    process::ExitCode,
};

use anyhow::{Context, Result};

#[tokio::main]
async fn main() -> Result<ExitCode> {
    let mut arguments = std::env::args().skip(1);
    let cases = arguments.next().context("the folder of cases")?;
    let account = arguments.next().context("the key's account")?;
    let client = client::connect()?;
    let mut called = BTreeSet::new();
    let mut failed = false;
    for file in files(Path::new(&cases))? {
        let name = file.file_stem().unwrap_or_default().to_string_lossy();
        let ended = one(&file, &client, &account, &mut called).await;
        failed |= ended.is_err();
        match ended {
            Ok(()) => println!("ok   {name}"),
            Err(error) => println!("FAIL {name}: {}", format!("{error:#}").replace('\n', " ")),
        }
    }
    let missed: Vec<&str> = calls::OPERATIONS
        .into_iter()
        .filter(|operation| !called.contains(*operation))
        .collect();
    if missed.is_empty() {
        println!("ok   all {} operations", called.len());
    } else {
        failed = true;
        println!("FAIL operations: no case calls {}", missed.join(", "));
    }
    Ok(ExitCode::from(u8::from(failed)))
}

async fn one(
    file: &Path,
    client: &aws_sdk_sfn::Client,
    account: &str,
    called: &mut BTreeSet<String>,
) -> Result<()> {
    let case = serde_json::from_str(&std::fs::read_to_string(file)?)?;
    let unique = file.file_stem().unwrap_or_default().to_string_lossy();
    let unique = format!("rs-{unique}-{}", std::process::id());
    steps::Case::new(client, account, &unique)
        .run(&case, called)
        .await
}

fn files(folder: &Path) -> Result<Vec<PathBuf>> {
    let mut files = Vec::new();
    for entry in std::fs::read_dir(folder)? {
        files.push(entry?.path());
    }
    files.retain(|path| path.extension().is_some_and(|ending| ending == "json"));
    files.sort();
    Ok(files)
}
