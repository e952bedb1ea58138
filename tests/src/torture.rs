//! The seeded simulation of engine and journal: a few executions of every kind of waiting, on a store and under
//! disturbances that the seed chooses, judged by what was acknowledged. The same seed gives the same run.

use std::{collections::BTreeMap, fmt::Write as _, sync::Arc};

use stepwell_engine::{
    Status,
    sim::{DiskFaults, Script, Seen, Signal, Signals, SimStore, World, WorldOptions},
};
use stepwell_interp::{Event, FailedAt, Run, Start, TaskId, TaskOutcome, TaskRequest, What};
use stepwell_query::Value;

/// Virtual time in which everything must have ended once the disturbances stopped.
const CALM_MS: u64 = 40 * 24 * 3_600 * 1_000;

/// A state machine and what its executions must come to.
struct Template {
    name: &'static str,
    definition: &'static str,
    /// Statuses that are right; a race between an answer and a deadline has two.
    right: &'static [Status],
}

const TEMPLATES: &[Template] = &[
    Template {
        name: "passes",
        definition: r#"{"StartAt":"A","States":{"A":{"Type":"Pass","Next":"B"},"B":{"Type":"Pass","Result":{"b":1},"Next":"C"},"C":{"Type":"Choice","Choices":[{"Variable":"$.b","NumericEquals":1,"Next":"D"}],"Default":"E"},"D":{"Type":"Succeed"},"E":{"Type":"Fail"}}}"#,
        right: &[Status::Succeeded],
    },
    Template {
        name: "retry",
        definition: r#"{"StartAt":"A","States":{"A":{"Type":"Task","Resource":"wasm:flaky","Retry":[{"ErrorEquals":["Flaky"],"IntervalSeconds":1,"MaxAttempts":4,"BackoffRate":2,"JitterStrategy":"FULL"}],"Next":"B"},"B":{"Type":"Task","Resource":"wasm:echo","End":true}}}"#,
        right: &[Status::Succeeded],
    },
    Template {
        name: "catch",
        definition: r#"{"StartAt":"A","States":{"A":{"Type":"Task","Resource":"wasm:fails","Catch":[{"ErrorEquals":["States.ALL"],"Next":"B"}],"End":true},"B":{"Type":"Pass","End":true}}}"#,
        right: &[Status::Succeeded],
    },
    Template {
        name: "waits",
        definition: r#"{"StartAt":"A","States":{"A":{"Type":"Wait","Seconds":2,"Next":"B"},"B":{"Type":"Task","Resource":"wasm:echo","Next":"C"},"C":{"Type":"Wait","Seconds":86400,"End":true}}}"#,
        right: &[Status::Succeeded],
    },
    Template {
        name: "map",
        definition: r#"{"StartAt":"M","States":{"M":{"Type":"Map","ItemsPath":"$.items","MaxConcurrency":3,"ItemProcessor":{"StartAt":"T","States":{"T":{"Type":"Task","Resource":"wasm:echo","Next":"W"},"W":{"Type":"Wait","Seconds":1,"End":true}}},"End":true}}}"#,
        right: &[Status::Succeeded],
    },
    Template {
        name: "parallel",
        definition: r#"{"StartAt":"P","States":{"P":{"Type":"Parallel","Branches":[{"StartAt":"T","States":{"T":{"Type":"Task","Resource":"wasm:echo","End":true}}},{"StartAt":"W","States":{"W":{"Type":"Wait","Seconds":3,"End":true}}}],"End":true}}}"#,
        right: &[Status::Succeeded],
    },
    Template {
        name: "callback",
        definition: r#"{"StartAt":"A","States":{"A":{"Type":"Task","Resource":"arn:aws:states:::lambda:invoke.waitForTaskToken","TimeoutSeconds":30,"Parameters":{"FunctionName":"ask","Payload":{"t.$":"$$.Task.Token"}},"Catch":[{"ErrorEquals":["States.Timeout"],"Next":"B"}],"End":true},"B":{"Type":"Pass","End":true}}}"#,
        right: &[Status::Succeeded],
    },
    Template {
        name: "activity",
        definition: r#"{"StartAt":"A","States":{"A":{"Type":"Task","Resource":"arn:aws:states:us-east-1:000000000000:activity:work","TimeoutSeconds":600,"Catch":[{"ErrorEquals":["States.Timeout"],"Next":"B"}],"End":true},"B":{"Type":"Pass","End":true}}}"#,
        right: &[Status::Succeeded],
    },
    Template {
        name: "timeout",
        definition: r#"{"StartAt":"A","TimeoutSeconds":900,"States":{"A":{"Type":"Task","Resource":"wasm:hangs","TimeoutSeconds":5,"Retry":[{"ErrorEquals":["States.Timeout"],"MaxAttempts":1}],"Catch":[{"ErrorEquals":["States.ALL"],"Next":"B"}],"End":true},"B":{"Type":"Wait","Seconds":86400,"End":true}}}"#,
        right: &[Status::TimedOut],
    },
    Template {
        name: "stopped",
        definition: r#"{"StartAt":"A","States":{"A":{"Type":"Wait","Seconds":8640000,"End":true}}}"#,
        right: &[Status::Aborted],
    },
    Template {
        name: REDRIVEN,
        definition: r#"{"StartAt":"P","States":{"P":{"Type":"Parallel","Branches":[{"StartAt":"T","States":{"T":{"Type":"Task","Resource":"wasm:mended","Parameters":{"redrives.$":"$$.Execution.RedriveCount"},"Retry":[{"ErrorEquals":["Broken"],"IntervalSeconds":1,"MaxAttempts":1}],"End":true}}},{"StartAt":"W","States":{"W":{"Type":"Wait","Seconds":4,"End":true}}},{"StartAt":"E","States":{"E":{"Type":"Task","Resource":"wasm:echo","Next":"A"},"A":{"Type":"Task","Resource":"arn:aws:states:us-east-1:000000000000:activity:work","End":true}}}],"Next":"C"},"C":{"Type":"Task","Resource":"arn:aws:states:::lambda:invoke.waitForTaskToken","Parameters":{"FunctionName":"ask","Payload":{"t.$":"$$.Task.Token"}},"End":true}}}"#,
        right: &[Status::Succeeded],
    },
    Template {
        name: REDRIVEN_MAP_RUN,
        definition: r#"{"StartAt":"M","States":{"M":{"Type":"Map","ItemsPath":"$.items","Label":"M","ItemProcessor":{"ProcessorConfig":{"Mode":"DISTRIBUTED","ExecutionType":"STANDARD"},"StartAt":"T","States":{"T":{"Type":"Task","Resource":"wasm:mended-once","Parameters":{"redrives.$":"$$.Execution.RedriveCount"},"End":true}}},"End":true}}}"#,
        // A child whose process was lost too often fails for good.
        right: &[Status::Succeeded, Status::Failed],
    },
];

/// The machines whose executions are redriven, and how long after their ends.
const REDRIVEN: &str = "redriven";
const REDRIVEN_MAP_RUN: &str = "redriven-map-run";
const REDRIVES_MS: [u64; 2] = [0, 700];

/// Answers by the plugin's name alone, so that a redispatched attempt gets the same answer.
struct Answers {
    seed: u64,
}

impl Answers {
    /// A number below `most` that depends on the place only.
    fn roll(&self, task: TaskId, most: u64) -> u64 {
        let mixed = (self.seed ^ task.entry.rotate_left(17) ^ u64::from(task.attempt))
            .wrapping_mul(0x9e37_79b9_7f4a_7c15);
        (mixed >> 33) % most
    }
}

impl Script for Answers {
    fn dispatched(&mut self, _: &str, request: &TaskRequest) -> Signals {
        let after_ms = 1 + self.roll(request.task, 40);
        let failed = |error: &str| TaskOutcome::Failed {
            error: Some(error.into()),
            cause: None,
            at: FailedAt::Run,
        };
        let outcome = match &*request.resource.text {
            "wasm:flaky" if request.retry_count < 3 => failed("Flaky"),
            "wasm:fails" => failed("Broken"),
            "wasm:mended-once" if redrives(request) == 0 => failed("Broken"),
            "wasm:mended" if redrives(request) < REDRIVES_MS.len() as i64 => failed("Broken"),
            "wasm:hangs" => return vec![(0, Signal::Started { by: None })],
            "arn:aws:states:::lambda:invoke.waitForTaskToken" => {
                return vec![
                    (0, Signal::Started { by: None }),
                    (after_ms, Signal::Submitted(Value::Null)),
                    (after_ms + self.answer_after(request.task), answer()),
                ];
            }
            _ => TaskOutcome::Succeeded {
                output: request.parameters.clone(),
            },
        };
        vec![
            (0, Signal::Started { by: None }),
            (after_ms, Signal::Ended(outcome)),
        ]
    }

    fn opened(&mut self, _: &str, request: &TaskRequest) -> Signals {
        let by = Some("worker".into());
        vec![
            (self.roll(request.task, 2_000), Signal::Taken { by }),
            (3_000 + self.answer_after(request.task), answer()),
        ]
    }
}

impl Answers {
    /// Sometimes close to the deadline of 30 s, so that answer and timeout race.
    fn answer_after(&self, task: TaskId) -> u64 {
        match self.roll(task, 4) {
            0 => 50,
            1 => 3_000,
            2 => 29_950 + self.roll(task, 100),
            _ => 40_000,
        }
    }
}

/// How often the execution that asks was redriven, by what it says of itself.
fn redrives(request: &TaskRequest) -> i64 {
    let told = request.parameters.get("redrives");
    told.and_then(Value::as_i64).unwrap_or(0)
}

fn answer() -> Signal {
    let output = Value::from("answered");
    Signal::Answered(TaskOutcome::Succeeded { output })
}

/// A splitmix step: the choices of a seed.
struct Dice(u64);

impl Dice {
    fn roll(&mut self, most: u64) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut mixed = self.0;
        mixed = (mixed ^ (mixed >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        (mixed ^ (mixed >> 31)) % most.max(1)
    }
}

/// What a run under one seed came to.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Report {
    pub executions: usize,
    pub acknowledged: usize,
    pub crashes: usize,
    pub dispatches: usize,
    /// All that was seen, a line each: equal for equal seeds.
    pub trace: String,
}

/// Runs one seed to its end and judges it; the error names what was wrong.
pub fn run(seed: u64) -> Result<Report, String> {
    let mut dice = Dice(seed);
    let store = if dice.roll(3) == 0 {
        SimStore::Memory
    } else {
        SimStore::Disk
    };
    let nodes = if store == SimStore::Memory && dice.roll(2) == 0 {
        2
    } else {
        1
    };
    let options = WorldOptions {
        seed,
        store,
        nodes,
        crash_every: (dice.roll(3) == 0).then(|| 1 + dice.roll(12)),
        crash_per_mille: [0, 5, 20][dice.roll(3) as usize],
        crash_after: None,
        latency_ms: 6,
        jump_per_mille: [0, 0, 5][dice.roll(3) as usize],
        pause_per_mille: if nodes > 1 { 20 } else { 0 },
    };
    let mut world = World::new(options, Box::new(Answers { seed }));
    let faults = DiskFaults {
        failures_per_mille: [0, 0, 3, 10][dice.roll(4) as usize],
        sync_fails_at: (dice.roll(4) == 0).then(|| 1 + dice.roll(40)),
        power_loss_at: (dice.roll(3) == 0).then(|| 1 + dice.roll(300)),
        capacity_bytes: (dice.roll(6) == 0).then(|| 150_000 + dice.roll(200_000)),
        ..DiskFaults::default()
    };
    world.disk_faults(faults);
    let mut expected = BTreeMap::new();
    for number in 0..2 + dice.roll(5) {
        let template = &TEMPLATES[dice.roll(TEMPLATES.len() as u64) as usize];
        // A node that just crashed takes no calls: the caller would try again.
        if let Ok(id) = world.start(0, template.definition, start(template.name, number)) {
            expected.insert(id, template);
            if template.name == "stopped" {
                world.stop_after(id, 10 + dice.roll(20_000), None, None);
            }
            if [REDRIVEN, REDRIVEN_MAP_RUN].contains(&template.name) {
                world.redrive_after(id, &REDRIVES_MS);
            }
        }
        world.run(dice.roll(60))?;
    }
    world.run(60_000)?;
    world.calm();
    world.run(CALM_MS)?;
    judge(&mut world, &expected)
}

fn start(machine: &str, number: u64) -> Start {
    let arn = |kind: &str, tail: &str| {
        Arc::from(format!(
            "arn:aws:states:us-east-1:000000000000:{kind}:{machine}{tail}"
        ))
    };
    Start {
        execution_arn: arn("execution", &format!(":e{number}")),
        execution_name: format!("{machine}-{number}").into(),
        machine_arn: arn("stateMachine", ""),
        machine_name: machine.into(),
        role_arn: "arn:aws:iam::000000000000:role/none".into(),
        version_arn: None,
        alias_arn: None,
        express: false,
        raised_limits: false,
        processor_of: None,
        forked_from: None,
        input: Value::parse(r#"{"items":[1,2,3,4,5]}"#).unwrap_or(Value::Null),
    }
}

fn judge(
    world: &mut World,
    expected: &BTreeMap<stepwell_engine::sim::ExecutionId, &Template>,
) -> Result<Report, String> {
    let seen = world.seen().to_vec();
    let mut report = Report {
        executions: expected.len(),
        ..Report::default()
    };
    for one in &seen {
        writeln!(report.trace, "{one:?}").map_err(|error| error.to_string())?;
        match one {
            Seen::Started(_) => report.acknowledged += 1,
            Seen::Crashed => report.crashes += 1,
            Seen::Dispatched { .. } => report.dispatches += 1,
            Seen::Answered { .. } | Seen::Stopped(_) | Seen::Redriven { .. } => {}
        }
    }
    for (id, template) in expected {
        let acknowledged = seen.contains(&Seen::Started(*id));
        let Some((status, events)) = world.execution(*id)? else {
            if acknowledged {
                return Err(format!(
                    "{} {id:?} was acknowledged and is not in the store",
                    template.name
                ));
            }
            continue;
        };
        let wrong =
            |what: String| format!("{} {id:?}: {what}\n{}", template.name, history(&events));
        let stopped = seen.contains(&Seen::Stopped(*id));
        let never_stopped = template.name == "stopped" && !stopped;
        let right = template.right.contains(&status) || never_stopped || gave_up(&events);
        if !right {
            return Err(wrong(format!("it is {status:?}")));
        }
        fold(&events).map_err(wrong)?;
        attempts(*id, &events, &seen).map_err(wrong)?;
        let left = world.inbox(*id)?;
        if left > 0 && status != Status::Running {
            return Err(wrong(format!("{left} messages are left in its inbox")));
        }
    }
    Ok(report)
}

/// Whether an attempt was lost more often than it is redispatched; its failure is then right.
fn gave_up(events: &[Event]) -> bool {
    events.iter().any(|event| matches!(event.what, What::Redispatched { count } if count >= stepwell_interp::REDISPATCH_MAX))
}

/// The log folds, its ids are contiguous, and nothing is open at its end.
fn fold(events: &[Event]) -> Result<(), String> {
    let mut run = Run::default();
    let mut public = 0;
    let mut at = stepwell_interp::Timestamp(0);
    for event in events {
        if event.at < at {
            return Err(format!("time goes back at {event:?}"));
        }
        at = event.at;
        if event.what.is_public() {
            public += 1;
            if event.previous >= public {
                return Err(format!(
                    "event {public} says that it follows {}",
                    event.previous
                ));
            }
        }
        run.evolve(event);
    }
    if run.next_public_id() != public + 1 || run.next_position() != events.len() as u64 + 1 {
        return Err("the fold counts other events than there are".to_owned());
    }
    if run.ending().is_some() && run.open_tasks().next().is_some() {
        return Err("it is closed and has open tasks".to_owned());
    }
    Ok(())
}

/// Every attempt has one outcome at most; no attempt was dispatched after its outcome was durable; every answer that
/// was accepted is the outcome of its task, unless the execution was closed first.
fn attempts(
    id: stepwell_engine::sim::ExecutionId,
    events: &[Event],
    seen: &[Seen],
) -> Result<(), String> {
    for one in seen {
        match one {
            Seen::Dispatched {
                execution,
                task,
                durable: Some(durable),
            } if *execution == id => {
                let mut run = Run::default();
                for event in events
                    .iter()
                    .take(usize::try_from(*durable).unwrap_or(usize::MAX))
                {
                    run.evolve(event);
                }
                if run.open_task(*task).is_none() {
                    return Err(format!(
                        "{task:?} was dispatched when {durable} events were durable, and is not open there"
                    ));
                }
            }
            Seen::Answered {
                execution,
                task,
                accepted: true,
            } if *execution == id => {
                if !answered(events, *task) {
                    return Err(format!("the accepted answer of {task:?} is lost"));
                }
            }
            Seen::Dispatched { .. }
            | Seen::Answered { .. }
            | Seen::Started(_)
            | Seen::Stopped(_)
            | Seen::Redriven { .. }
            | Seen::Crashed => {}
        }
    }
    let scheduled = events
        .iter()
        .filter(|event| matches!(event.what, What::Scheduled(_)))
        .count();
    let outcomes = events
        .iter()
        .filter(|event| is_outcome(&event.what))
        .count();
    if outcomes > scheduled {
        return Err(format!("{scheduled} attempts have {outcomes} outcomes"));
    }
    Ok(())
}

fn is_outcome(what: &What) -> bool {
    matches!(
        what,
        What::Succeeded { .. } | What::Failed { .. } | What::TimedOut { .. }
    )
}

/// Whether the event that closed this task is its success; a closed execution closes all.
fn answered(events: &[Event], task: TaskId) -> bool {
    let mut run = Run::default();
    for event in events {
        let open = run.open_task(task).is_some();
        run.evolve(event);
        if open && run.open_task(task).is_none() {
            // What ends its branch ends it, too.
            let decided = matches!(
                event.what,
                What::Succeeded { .. } | What::StateAborted { .. }
            );
            return decided || run.ending().is_some();
        }
    }
    false
}

fn history(events: &[Event]) -> String {
    events
        .iter()
        .map(|event| format!("  {} {}\n", event.at, stepwell_interp::label(event)))
        .collect()
}
