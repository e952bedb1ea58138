//! Executions with a limit in the simulation: a seed draws the store, crashes, faults of the disk, nodes, and what becomes of
//! each execution.

use std::{collections::BTreeSet, sync::Arc};

use stepwell_engine::{
    Status,
    sim::{DiskFaults, ExecutionId, Script, Seen, Signal, Signals, SimStore, World, WorldOptions},
};
use stepwell_interp::{FailedAt, Start, TaskOutcome, TaskRequest};
use stepwell_query::Value;
use stepwell_tests::server::Dice;

const SEEDS: u64 = 200;
const EXECUTIONS: u64 = 14;
/// Of all, and of one key.
const MOST: usize = 3;
const MOST_OF_KEY: usize = 2;
const KEYS: [&str; 3] = ["a", "b", "c"];
/// Days, once nothing disturbs any more.
const CALM_MS: u64 = 3 * 24 * 3_600 * 1_000;

const MACHINE: &str = "arn:aws:states:us-east-1:000000000000:stateMachine:limited";
const WORKS: &str = r#"{"StartAt": "A", "States": {
    "A": {"Type": "Task", "Resource": "wasm:works", "Next": "B"}, "B": {"Type": "Wait", "Seconds": 1, "Next": "C"},
    "C": {"Type": "Task", "Resource": "wasm:works", "End": true}}}"#;
const FAILS: &str = r#"{"StartAt": "A", "States": {
    "A": {"Type": "Task", "Resource": "wasm:works", "Next": "B"}, "B": {"Type": "Task", "Resource": "wasm:fails", "End": true}}}"#;
const TIMES_OUT: &str = r#"{"StartAt": "A", "TimeoutSeconds": 2, "States": {
    "A": {"Type": "Task", "Resource": "wasm:hangs", "End": true}}}"#;
const BRIEF: &str =
    r#"{"StartAt": "A", "States": {"A": {"Type": "Pass", "Next": "B"}, "B": {"Type": "Succeed"}}}"#;

pub(super) fn all_seeds() -> Result<(), String> {
    let mut failed = Vec::new();
    let (mut crashes, mut most) = (0, 0);
    for seed in 0..SEEDS {
        match one(seed) {
            Ok(seen) => {
                crashes += seen.crashes;
                most = most.max(seen.most);
            }
            Err(wrong) => failed.push(format!("seed {seed}: {wrong}")),
        }
    }
    println!("concurrency: {SEEDS} seeds, {crashes} crashes");
    if crashes == 0 || most < MOST {
        return Err(format!(
            "{crashes} crashes, {most} at a time: they show nothing"
        ));
    }
    match failed.first() {
        None => Ok(()),
        Some(first) => Err(format!(
            "{} of {SEEDS} seeds failed, the first: {first}",
            failed.len()
        )),
    }
}

/// Tasks end as their names say.
struct Tasks;

impl Script for Tasks {
    fn dispatched(&mut self, _: &str, request: &TaskRequest) -> Signals {
        let ended = match &*request.resource.text {
            "wasm:hangs" => return vec![(0, Signal::Started { by: None })],
            "wasm:fails" => TaskOutcome::Failed {
                error: Some("Broken".into()),
                cause: None,
                at: FailedAt::Run,
            },
            _ => TaskOutcome::Succeeded {
                output: request.parameters.clone(),
            },
        };
        let after_ms = 5 + request.task.entry % 30;
        vec![
            (0, Signal::Started { by: None }),
            (after_ms, Signal::Ended(ended)),
        ]
    }

    fn opened(&mut self, _: &str, _: &TaskRequest) -> Signals {
        Vec::new()
    }
}

fn world(seed: u64, dice: &mut Dice) -> Result<World, String> {
    let store = match dice.roll(0..3) {
        0 => SimStore::Memory,
        _ => SimStore::Disk,
    };
    let nodes = match (store, dice.roll(0..2)) {
        (SimStore::Memory, 0) => 2,
        (SimStore::Memory | SimStore::Disk, _) => 1,
    };
    let options = WorldOptions {
        seed,
        store,
        nodes,
        crash_every: (dice.roll(0..3) == 0).then(|| 1 + dice.roll(0..12)),
        crash_per_mille: if dice.roll(0..2) == 0 { 0 } else { 10 },
        jump_per_mille: if dice.roll(0..3) == 0 { 5 } else { 0 },
        pause_per_mille: if nodes > 1 { 20 } else { 0 },
        ..WorldOptions::default()
    };
    let mut world = World::new(options, Box::new(Tasks));
    let usual = dice.roll(0..3) == 0;
    // More than is usual, where something is.
    let most = if usual { 10 * MOST } else { MOST }.to_string();
    let of_key = MOST_OF_KEY.to_string();
    if usual {
        world.usual_concurrency(u32::try_from(MOST).map_err(|error| error.to_string())?);
    }
    let tags = [
        ("stepwell:concurrency", most.as_str()),
        ("stepwell:concurrency-key", "{% $states.input %}"),
        ("stepwell:concurrency-per-key", of_key.as_str()),
    ];
    world.tag(MACHINE, &tags)?;
    let failing = dice.roll(0..3) == 0;
    world.disk_faults(DiskFaults {
        failures_per_mille: if failing { 5 } else { 0 },
        ..DiskFaults::default()
    });
    Ok(world)
}

/// What a seed came to.
struct Came {
    crashes: usize,
    /// How many had a place at a time; 0 where redrives may go beyond the limit.
    most: usize,
}

fn one(seed: u64) -> Result<Came, String> {
    let mut dice = Dice::of(seed);
    let mut world = world(seed, &mut dice)?;
    let redrives = dice.roll(0..4) == 0;
    let express = dice.roll(0..4) == 0;
    let mut expected: Vec<(ExecutionId, Option<Status>)> = Vec::new();
    for number in 0..EXECUTIONS {
        let key = KEYS[usize::try_from(dice.roll(0..3)).unwrap_or(0)];
        let (definition, end) = match dice.roll(0..6) {
            0 => (FAILS, Some(Status::Failed)),
            1 => (TIMES_OUT, Some(Status::TimedOut)),
            2 => (BRIEF, Some(Status::Succeeded)),
            _ => (WORKS, Some(Status::Succeeded)),
        };
        let start = start(number, express);
        // A node that just crashed takes no calls: the caller would try again.
        let Ok(id) = world.start_limited(0, definition, start, key) else {
            continue;
        };
        let stops = dice.roll(0..5) == 0;
        if stops {
            world.stop_after(id, 1 + dice.roll(0..3_000), None, None);
        }
        if redrives && definition == FAILS && !express {
            world.redrive_after(id, &[0]);
        }
        expected.push((id, end.filter(|_| !stops)));
        world.run(dice.roll(0..80))?;
    }
    world.run(60_000)?;
    world.calm();
    world.run(CALM_MS)?;
    judge(&mut world, &expected, redrives)
}

fn start(number: u64, express: bool) -> Start {
    Start {
        execution_arn: Arc::from(format!(
            "arn:aws:states:us-east-1:000000000000:execution:limited:e{number}"
        )),
        execution_name: format!("e{number}").into(),
        machine_arn: MACHINE.into(),
        machine_name: "limited".into(),
        role_arn: "arn:aws:iam::000000000000:role/none".into(),
        version_arn: None,
        alias_arn: None,
        express,
        raised_limits: false,
        processor_of: None,
        forked_from: None,
        input: Value::from("a"),
    }
}

fn judge(
    world: &mut World,
    expected: &[(ExecutionId, Option<Status>)],
    redrives: bool,
) -> Result<Came, String> {
    let seen = world.seen().to_vec();
    let acknowledged: BTreeSet<ExecutionId> = seen
        .iter()
        .filter_map(|one| match one {
            Seen::Started(id) => Some(*id),
            Seen::Dispatched { .. }
            | Seen::Answered { .. }
            | Seen::Stopped(_)
            | Seen::Redriven { .. }
            | Seen::Crashed => None,
        })
        .collect();
    let crashed = |one: &&Seen| matches!(one, Seen::Crashed);
    let crashes = seen.iter().filter(crashed).count();
    for (id, end) in expected {
        match (world.execution(*id)?, end) {
            (None, _) if acknowledged.contains(id) => {
                return Err(format!("{id:?} was acknowledged and is not in the store"));
            }
            (None, _) => {}
            (Some((Status::Running, events)), _) => {
                let last = events.last().map(|event| format!("{:?}", event.what));
                let left = world.left_in_line()?;
                return Err(format!(
                    "{id:?} did not end: {last:?}; {left:?} left in its line"
                ));
            }
            // Who waits for long times out, or is let in by a clock that jumped.
            (Some(_), None | Some(Status::TimedOut)) => {}
            // A task that runs whenever its process dies is given up in the end.
            (Some((Status::Failed, _)), Some(_)) if crashes > 0 => {}
            (Some((found, _)), Some(end)) if found != *end => {
                return Err(format!("{id:?} ended {found:?}, not {end:?}"));
            }
            (Some(_), Some(_)) => {}
        }
    }
    let most = world.most_at_once();
    if (most.all > MOST || most.of_key > MOST_OF_KEY) && !redrives {
        return Err(format!("{most:?} had a place at a time"));
    }
    // The last ones to end may not have been heard yet.
    for _ in 0..1_000 {
        if world.left_in_line()? == (0, 0) {
            break;
        }
        world.run(1_000)?;
    }
    let left = world.left_in_line()?;
    if left != (0, 0) {
        return Err(format!("{left:?} places and messages are left in the line"));
    }
    leaves_nothing(world)?;
    Ok(Came {
        crashes,
        most: if redrives { 0 } else { most.all },
    })
}

/// With its state machine a line goes, whatever it had.
fn leaves_nothing(world: &mut World) -> Result<(), String> {
    // The disk may refuse it; deleting is tried until it is done.
    let mut deleted = Err(String::new());
    for _ in 0..100 {
        deleted = world.delete_limited(MACHINE);
        if deleted.is_ok() {
            break;
        }
    }
    deleted?;
    for _ in 0..1_000 {
        if !world.line_is_stored()? && world.left_in_line()? == (0, 0) {
            return Ok(());
        }
        world.run(1_000)?;
    }
    Err("the line of a deleted state machine is kept".to_owned())
}
