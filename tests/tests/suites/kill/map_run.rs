//! A server that is killed while a distributed Map reads a file: the map run goes on where it was. No child runs again
//! that had ended, and each row has one child and one result.

use std::{
    collections::{BTreeSet, HashMap},
    path::Path,
    time::{Duration, Instant, UNIX_EPOCH},
};

use anyhow::{Context, Result, ensure};
use serde_json::{Map, Value, json};
use stepwell_tests::{
    place::Place,
    server::{Client, Dice},
};

use super::{
    bucket,
    machines::{self, Kind},
    made, noted,
    verdict::{self, Call, Ended, Life},
};

const ROWS: usize = 400;
const KILLS: usize = 6;
/// Milliseconds of a call: the rows take several lives of the server.
const CALL_MS: u64 = 200;
/// Children at a time.
const CONCURRENCY: usize = 24;
/// After the last kill the Map ends within this time.
const END_MAX: Duration = Duration::from_secs(120);
/// Between two looks at the calls made.
const LOOK: Duration = Duration::from_millis(10);
const BUCKET: &str = "rows";

pub(super) fn goes_on() -> Result<()> {
    let (seed, mut dice) = Dice::seeded()?;
    println!("kill: seed {seed} (STEPWELL_SEED={seed} repeats its moments)");
    let place = Place::new()?;
    let (calls, bucket) = (noted(&place)?.join("calls"), bucket(&place, BUCKET)?);
    let rows: String = (0..ROWS).map(|row| format!("{row},a\n")).collect();
    std::fs::write(bucket.join("rows.csv"), format!("id,kind\n{rows}"))?;

    let mut server = place.serve(&[])?;
    let machine = server.client().create_machine("rows", &definition())?;
    let start = json!({ "stateMachineArn": machine, "name": "e", "input": "{}" });
    let started = server.client().call("StartExecution", &start)?;
    let execution = started["executionArn"].as_str().context("an ARN")?;
    let mut lives = Vec::new();
    for kill in 1..=KILLS {
        called(&calls, kill * ROWS / (KILLS + 2))?;
        std::thread::sleep(Duration::from_millis(dice.roll(0..CALL_MS)));
        server.kill()?;
        lives.push(Life {
            died_ms: u64::try_from(UNIX_EPOCH.elapsed()?.as_millis())?,
            calls_bytes: std::fs::metadata(&calls).map_or(0, |meta| meta.len()),
        });
        server = place.serve(&[])?;
    }
    let client = server.client();
    client.ended(execution, END_MAX)?;
    let made = made(&calls, &lives)?;
    let wrong = judge(&client, execution, &made, &lives)?;
    results(&bucket)?;
    server.stop()?;
    let busy: BTreeSet<usize> = made.iter().map(|call| call.life).collect();
    println!(
        "kill: {ROWS} rows done after {KILLS} kills; {} calls made in {} lives of the server",
        made.len(),
        busy.len()
    );
    ensure!(
        busy.len() > 2,
        "no kill met the map run, so this run shows nothing"
    );
    super::none_wrong(seed, &wrong)
}

/// Waits until that many calls were made in all, so that each kill meets the map run, however fast the machine is.
fn called(calls: &Path, least: usize) -> Result<()> {
    let begun = Instant::now();
    loop {
        let made = std::fs::read_to_string(calls).map_or(0, |text| text.lines().count());
        if made >= least {
            return Ok(());
        }
        ensure!(
            begun.elapsed() < END_MAX,
            "{made} calls were made, not {least}"
        );
        std::thread::sleep(LOOK);
    }
}

fn definition() -> Value {
    let mut work = machines::task(json!({ "call": "row" }));
    work["Parameters"]["ms"] = json!(CALL_MS);
    if let Some(parameters) = work["Parameters"].as_object_mut() {
        parameters.remove("ms.$");
    }
    work["ResultPath"] = json!("$.row");
    work["End"] = json!(true);
    let of = |action: &str| format!("arn:aws:states:::s3:{action}");
    json!({
        "StartAt": "Each",
        "States": { "Each": {
            "Type": "Map",
            "MaxConcurrency": CONCURRENCY,
            "ItemReader": {
                "Resource": of("getObject"),
                "Parameters": { "Bucket": BUCKET, "Key": "rows.csv" },
                "ReaderConfig": { "InputType": "CSV", "CSVHeaderLocation": "FIRST_ROW" },
            },
            "ItemProcessor": {
                "ProcessorConfig": { "Mode": "DISTRIBUTED", "ExecutionType": "STANDARD" },
                "StartAt": "Work",
                "States": { "Work": work },
            },
            "ResultWriter": {
                "Resource": of("putObject"),
                "Parameters": { "Bucket": BUCKET, "Prefix": "results" },
                "WriterConfig": { "Transformation": "COMPACT", "OutputType": "JSONL" },
            },
            "End": true,
        } },
    })
}

/// What is wrong with the children, each judged as an execution of its own.
fn judge(client: &Client, execution: &str, made: &[Call], lives: &[Life]) -> Result<Vec<String>> {
    let look = json!({ "executionArn": execution });
    let ended = client.call("DescribeExecution", &look)?;
    ensure!(ended["status"] == "SUCCEEDED", "the Map ended as {ended}");
    let listed = client.call("ListMapRuns", &look)?;
    let run = json!({ "mapRunArn": listed["mapRuns"][0]["mapRunArn"] });
    let counts = client.call("DescribeMapRun", &run)?;
    for counts in [&counts["itemCounts"], &counts["executionCounts"]] {
        for member in ["total", "succeeded", "resultsWritten"] {
            ensure!(counts[member] == ROWS, "{member} of {counts}");
        }
    }
    let mut calls: HashMap<&str, Vec<&Call>> = HashMap::new();
    for call in made {
        calls.entry(&call.execution).or_default().push(call);
    }
    let adds = [("row".to_owned(), json!({ "call": "row" }))];
    let kind = Kind {
        name: "row",
        definition: Value::Null,
        adds: adds.into_iter().collect::<Map<_, _>>(),
    };
    let children = children(client, &run)?;
    ensure!(children.len() == ROWS, "{} children", children.len());
    let mut wrong = Vec::new();
    for arn in &children {
        let look = json!({ "executionArn": arn });
        let child = client.call("DescribeExecution", &look)?;
        let input = serde_json::from_str(child["input"].as_str().context("an input")?)?;
        let history = client.history(arn)?;
        let ended = Ended {
            arn,
            kind: &kind,
            input: &input,
            history: &history,
        };
        let of_child = calls.remove(arn.as_str()).unwrap_or_default();
        wrong.extend(verdict::judge(&ended, &of_child, &[], lives));
    }
    wrong.extend(
        calls
            .keys()
            .map(|arn| format!("{arn} made calls and is not listed")),
    );
    Ok(wrong)
}

/// ARNs of all children of a map run.
fn children(client: &Client, run: &Value) -> Result<Vec<String>> {
    let (mut children, mut request) = (Vec::new(), run.clone());
    loop {
        let page = client.call("ListExecutions", &request)?;
        let listed = page["executions"].as_array().into_iter().flatten();
        children
            .extend(listed.filter_map(|child| Some(child["executionArn"].as_str()?.to_owned())));
        match page.get("nextToken").filter(|token| !token.is_null()) {
            Some(token) => request["nextToken"] = token.clone(),
            None => return Ok(children),
        }
    }
}

/// The files of results have each row once.
fn results(bucket: &Path) -> Result<()> {
    let folder = std::fs::read_dir(bucket.join("results"))?
        .next()
        .context("a folder of results")??;
    let mut ids = BTreeSet::new();
    for file in std::fs::read_dir(folder.path())? {
        let path = file?.path();
        let name = path
            .file_name()
            .unwrap_or_default()
            .to_string_lossy()
            .into_owned();
        if !name.starts_with("SUCCEEDED_") {
            ensure!(name == "manifest.json", "a file {name}");
            continue;
        }
        for line in std::fs::read_to_string(&path)?.lines() {
            let result: Value = serde_json::from_str(line)?;
            let id: usize = result["id"].as_str().unwrap_or_default().parse()?;
            ensure!(ids.insert(id), "row {id} has two results");
        }
    }
    ensure!(
        ids == (0..ROWS).collect(),
        "{} rows have results",
        ids.len()
    );
    Ok(())
}
