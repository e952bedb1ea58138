//! A server that is killed while executions are being redriven: what was answered stays, a call that was made again is
//! the same redrive, all end right, and nothing that had succeeded runs again.

use std::{
    collections::HashMap,
    path::Path,
    sync::atomic::{AtomicUsize, Ordering},
    time::{Duration, Instant, UNIX_EPOCH},
};

use anyhow::{Context, Result, bail, ensure};
use serde_json::{Value, json};
use stepwell_tests::{
    place::Place,
    server::{CallError, Client, Dice, Server},
};

use super::{
    bucket, machines, made, noted,
    verdict::{self, Call, Life},
};

/// Executions of each kind.
const EXECUTIONS: usize = 8;
/// Redrives until a task succeeds, by its context object.
const REDRIVES: u64 = 2;
const ITEMS: u64 = 4;
const BUCKET: &str = "results";
/// Rounds of redrives, each with a kill. A kill may cost an execution one more.
const ROUNDS_MAX: usize = 8;
/// A kill comes so long after the first redrive of its round.
const KILL_WITHIN_MS: u64 = 60;
/// An execution ends within this time.
const END_MAX: Duration = Duration::from_secs(60);

pub(super) fn goes_on() -> Result<()> {
    let (seed, mut dice) = Dice::seeded()?;
    println!("kill: seed {seed} (STEPWELL_SEED={seed} repeats its moments)");
    let place = Place::new()?;
    let (calls, bucket) = (noted(&place)?.join("calls"), bucket(&place, BUCKET)?);
    let mut server = place.serve(&[])?;
    super::warm(&server.client())?;
    let executions = start(&server.client())?;
    let mut lives = Vec::new();
    let (mut repeated, mut rounds) = (0, 0);
    loop {
        let failed = unsuccessful(&server.client(), &executions)?;
        if failed.is_empty() {
            break;
        }
        rounds += 1;
        ensure!(
            rounds <= ROUNDS_MAX,
            "seed {seed}: {failed:?} do not succeed"
        );
        let wait = Duration::from_millis(dice.roll(0..KILL_WITHIN_MS));
        let round = Round {
            number: rounds,
            executions: &failed,
        };
        let first = round.redrive_and_kill(server, wait)?;
        lives.push(life(&calls)?);
        server = place.serve(&[])?;
        repeated += round.repeat(&server.client(), &first)?;
    }
    let client = server.client();
    let made = made(&calls, &lives)?;
    let mut wrong = Vec::new();
    for execution in &executions {
        wrong.extend(judge(&client, execution, &made, &bucket)?);
    }
    server.stop()?;
    println!(
        "kill: {} executions redriven in {rounds} rounds with a kill each; {repeated} calls were made again, {} of tasks made",
        executions.len(),
        made.len()
    );
    ensure!(
        rounds >= usize::try_from(REDRIVES)?,
        "{rounds} rounds of redrives are too few"
    );
    super::none_wrong(seed, &wrong)
}

fn life(calls: &Path) -> Result<Life> {
    Ok(Life {
        died_ms: u64::try_from(UNIX_EPOCH.elapsed()?.as_millis())?,
        calls_bytes: std::fs::metadata(calls).map_or(0, |meta| meta.len()),
    })
}

/// Starts all executions; gives their ARNs.
fn start(client: &Client) -> Result<Vec<String>> {
    let mut executions = Vec::new();
    for (name, definition) in [("branches", branches()), ("items", items())] {
        let machine = client.create_machine(name, &definition)?;
        for n in 0..EXECUTIONS {
            executions.push(client.start(&machine, &format!("e{n}"), &json!({ "ms": 5 }))?);
        }
    }
    Ok(executions)
}

/// A task that writes its call down and fails until its execution was redriven often enough.
fn mended(label: &str) -> Value {
    json!({
        "Type": "Task",
        "Resource": format!("wasm:{}", machines::PLUGIN),
        "Arguments": {
            "do": "append", "path": "/notes/calls", "ms": 5, "call": label,
            "fail_first": format!("{{% {REDRIVES} - $states.context.Execution.RedriveCount %}}"),
        },
        "End": true,
    })
}

/// One branch succeeds at once, one when it was redriven.
fn branches() -> Value {
    let mut once = mended("once");
    if let Some(arguments) = once["Arguments"].as_object_mut() {
        arguments.insert("fail_first".to_owned(), json!(0));
    }
    let branch = |name: &str, state: Value| json!({ "StartAt": name, "States": { name: state } });
    json!({
        "QueryLanguage": "JSONata",
        "StartAt": "Both",
        "States": {
            "Both": {
                "Type": "Parallel",
                "Branches": [
                    // The other one fails when this one has succeeded.
                    branch("Once", once),
                    json!({
                        "StartAt": "Later",
                        "States": { "Later": { "Type": "Wait", "Seconds": 1, "Next": "Mended" }, "Mended": mended("mended") },
                    }),
                ],
                "Next": "Done",
            },
            "Done": { "Type": "Pass", "End": true },
        },
    })
}

/// All children of a map run fail until they were redriven.
fn items() -> Value {
    json!({
        "QueryLanguage": "JSONata",
        "StartAt": "Each",
        "States": { "Each": {
            "Type": "Map",
            "Items": (0..ITEMS).collect::<Vec<_>>(),
            "ToleratedFailureCount": ITEMS - 1,
            "ItemProcessor": {
                "ProcessorConfig": { "Mode": "DISTRIBUTED", "ExecutionType": "STANDARD" },
                "StartAt": "Item",
                "States": { "Item": mended("item") },
            },
            "ResultWriter": {
                "Resource": "arn:aws:states:::s3:putObject",
                "Arguments": { "Bucket": BUCKET, "Prefix": "redriven" },
            },
            "End": true,
        } },
    })
}

/// Waits until all have ended; gives those without success.
fn unsuccessful(client: &Client, executions: &[String]) -> Result<Vec<String>> {
    let mut failed = Vec::new();
    for execution in executions {
        let ended = client.ended(execution, END_MAX)?;
        if ended["status"] != "SUCCEEDED" {
            failed.push(execution.clone());
        }
    }
    Ok(failed)
}

/// One redrive of each of some executions.
struct Round<'a> {
    number: usize,
    executions: &'a [String],
}

impl Round<'_> {
    fn call(&self, client: &Client, execution: &str) -> Result<Value, CallError> {
        let request = json!({
            "executionArn": execution, "clientToken": format!("round-{}", self.number),
        });
        Ok(client.call("RedriveExecution", &request)?["redriveDate"].take())
    }

    /// Kills the server so long after the first answer or loss. Gives what was answered.
    fn redrive_and_kill(&self, server: Server, wait: Duration) -> Result<HashMap<String, Value>> {
        let client = server.client();
        let sent = AtomicUsize::new(0);
        std::thread::scope(|scope| {
            let calls: Vec<_> = self
                .executions
                .iter()
                .map(|execution| {
                    let sent = &sent;
                    scope.spawn(move || {
                        sent.fetch_add(1, Ordering::Relaxed);
                        (execution, self.call(&client, execution))
                    })
                })
                .collect();
            let begun = Instant::now();
            while sent.load(Ordering::Relaxed) == 0 && begun.elapsed() < END_MAX {
                std::thread::yield_now();
            }
            std::thread::sleep(wait);
            server.kill()?;
            let mut answered = HashMap::new();
            for call in calls {
                match call.join().expect("a call does not panic") {
                    (execution, Ok(date)) => {
                        answered.insert(execution.clone(), date);
                    }
                    (_, Err(CallError::Lost(_))) => {}
                    (execution, Err(refused)) => bail!("{execution}: {refused}"),
                }
            }
            Ok(answered)
        })
    }

    /// Makes all calls again, with the same tokens: what was answered is answered the same. Gives how many were lost.
    fn repeat(&self, client: &Client, first: &HashMap<String, Value>) -> Result<usize> {
        for execution in self.executions {
            let date = self
                .call(client, execution)
                .with_context(|| format!("{execution}, again"))?;
            if let Some(before) = first.get(execution) {
                ensure!(
                    *before == date,
                    "{execution} was redriven at {before}, and at {date}"
                );
            }
        }
        Ok(self.executions.len() - first.len())
    }
}

/// What is wrong with an execution that has succeeded.
fn judge(client: &Client, execution: &str, made: &[Call], bucket: &Path) -> Result<Vec<String>> {
    let history = client.history(execution)?;
    let mut wrong = Vec::new();
    verdict::ids(&history, &mut wrong);
    let of = |kind: &str| {
        let kind = kind.to_owned();
        history.iter().filter(move |event| event["type"] == *kind)
    };
    let counts: Vec<Option<u64>> = of("ExecutionRedriven")
        .map(|event| event["executionRedrivenEventDetails"]["redriveCount"].as_u64())
        .collect();
    let wanted: Vec<Option<u64>> = (1..=counts.len() as u64).map(Some).collect();
    if counts != wanted || counts.len() < usize::try_from(REDRIVES)? {
        wrong.push(format!("its redrives are {counts:?}"));
    }
    let ends = of("ExecutionFailed").count() + of("ExecutionSucceeded").count();
    if ends != counts.len() + 1 {
        wrong.push(format!("{ends} ends after {} redrives", counts.len()));
    }
    let described = client.call("DescribeExecution", &json!({ "executionArn": execution }))?;
    if described["redriveCount"] != counts.len() {
        wrong.push(format!(
            "it is described with {}",
            described["redriveCount"]
        ));
    }
    let mut lives: HashMap<(&str, usize), usize> = HashMap::new();
    let once = made
        .iter()
        .filter(|call| call.execution == execution && call.label == "once");
    for call in once {
        // The same attempt in two lives was interrupted by the kill between them.
        let before = lives.insert((&call.key, call.attempt), call.life);
        if before == Some(call.life) {
            wrong.push("a branch that had succeeded ran again".to_owned());
        }
    }
    if lives.len() > 1 {
        wrong.push(format!("a branch that succeeds ran {} times", lives.len()));
    }
    if execution.contains(":items:") {
        wrong.extend(judge_map_run(client, execution, counts.len())?);
        let output = described["output"].as_str().unwrap_or_default();
        judge_results(&serde_json::from_str(output)?, counts.len(), bucket)
            .with_context(|| execution.to_owned())?;
    }
    Ok(wrong
        .into_iter()
        .map(|wrong| format!("{execution}: {wrong}"))
        .collect())
}

/// The last redrive's manifest lists each success once, and no failure.
fn judge_results(output: &Value, redrives: usize, bucket: &Path) -> Result<()> {
    let key = &output["ResultWriterDetails"]["Key"];
    let key = key.as_str().with_context(|| format!("{output}"))?;
    let named = key.ends_with(&format!("/Redrive-{redrives}/manifest.json"));
    ensure!(named, "the manifest is {key}");
    let read = |key: &str| -> Result<Value> {
        Ok(serde_json::from_str(&std::fs::read_to_string(
            bucket.join(key),
        )?)?)
    };
    let files = read(key)?["ResultFiles"].take();
    let mut listed = 0;
    for file in files["SUCCEEDED"].as_array().into_iter().flatten() {
        let results = read(file["Key"].as_str().unwrap_or_default())?;
        listed += results.as_array().map_or(0, Vec::len);
    }
    let right = listed as u64 == ITEMS && files["FAILED"] == json!([]);
    ensure!(right, "{listed} successes, and files {files}");
    Ok(())
}

fn judge_map_run(client: &Client, execution: &str, redrives: usize) -> Result<Option<String>> {
    let listed = client.call("ListMapRuns", &json!({ "executionArn": execution }))?;
    let runs = listed["mapRuns"].as_array().map_or(0, Vec::len);
    let run = json!({ "mapRunArn": listed["mapRuns"][0]["mapRunArn"] });
    let described = client.call("DescribeMapRun", &run)?;
    let counts = &described["executionCounts"];
    let right = runs == 1
        && described["status"] == "SUCCEEDED"
        && described["redriveCount"] == redrives
        && counts["succeeded"] == ITEMS
        && counts["total"] == ITEMS;
    Ok((!right).then(|| format!("{runs} map runs, and after {redrives} redrives {described}")))
}
