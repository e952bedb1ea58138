//! State machines that wait in every way, and what their executions put out. Hides the definitions.

use serde_json::{Map, Value, json};

/// The plugin that writes down its calls.
pub(super) const PLUGIN: &str = "note";
/// Where the plugin writes, as it sees it.
const PATH: &str = "/notes/calls";
/// Waits of an execution, in `$.waits`.
pub(super) const WAITS: usize = 4;
/// Rounds of the loop.
const ROUNDS: u64 = 40;
/// Items of each Map.
const ITEMS: u64 = 8;

/// A state machine and what its executions add to their input.
pub(super) struct Kind {
    pub(super) name: &'static str,
    pub(super) definition: Value,
    /// Members of the output that the input has not. Of an answer from outside, without its nonce.
    pub(super) adds: Map<String, Value>,
}

/// All kinds; `activity` is an ARN.
pub(super) fn kinds(activity: &str) -> Vec<Kind> {
    let chain = |build: &dyn Fn(&mut Chain)| {
        let mut chain = Chain::default();
        build(&mut chain);
        chain
    };
    let timer = chain(&|chain| {
        for n in 0..WAITS {
            chain.wait(n);
            chain.task(&format!("t{n}"), 0);
        }
    });
    let backoff = chain(&|chain| {
        for n in 0..4 {
            chain.task(&format!("b{n}"), 2);
        }
    });
    let callback = chain(&|chain| {
        for n in 0..4 {
            chain.callback(&format!("c{n}"));
            chain.task(&format!("after{n}"), 0);
        }
    });
    let worker = chain(&|chain| {
        for n in 0..4 {
            chain.activity(&format!("a{n}"), activity);
        }
    });
    let map = chain(&|chain| {
        for n in 0..3 {
            chain.map(&format!("m{n}"));
        }
    });
    let parallel = chain(&|chain| {
        for n in 0..3 {
            chain.parallel(&format!("p{n}"), activity);
        }
    });
    vec![
        timer.kind("timer"),
        backoff.kind("backoff"),
        running(),
        callback.kind("callback"),
        worker.kind("activity"),
        map.kind("map"),
        parallel.kind("parallel"),
    ]
}

/// States in a row, and what each adds.
#[derive(Default)]
struct Chain {
    states: Vec<(String, Value)>,
    adds: Map<String, Value>,
}

impl Chain {
    fn add(&mut self, label: &str, state: Value, adds: Value) {
        self.states.push((label.to_owned(), state));
        self.adds.insert(label.to_owned(), adds);
    }

    fn wait(&mut self, n: usize) {
        let state = json!({ "Type": "Wait", "SecondsPath": format!("$.waits[{n}]") });
        self.states.push((format!("wait {n}"), state));
    }

    fn task(&mut self, label: &str, fail_first: u64) {
        let mut state = task(json!({ "call": label, "fail_first": fail_first }));
        state["ResultPath"] = json!(format!("$.{label}"));
        self.add(label, state, json!({ "call": label }));
    }

    fn callback(&mut self, label: &str) {
        let state = json!({
            "Type": "Task",
            "Resource": "arn:aws:states:::lambda:invoke.waitForTaskToken",
            "Parameters": {
                "FunctionName": PLUGIN,
                "Payload": {
                    "do": "append", "path": PATH, "call": label, "ms.$": "$.ms", "token.$": "$$.Task.Token",
                },
            },
            "Retry": retry(),
            "ResultPath": format!("$.{label}"),
        });
        self.add(label, state, json!({ "call": label }));
    }

    fn activity(&mut self, label: &str, activity: &str) {
        let mut state = worked_on(label, activity);
        state["ResultPath"] = json!(format!("$.{label}"));
        self.add(label, state, json!({ "call": label }));
    }

    fn map(&mut self, label: &str) {
        let call = format!("States.Format('{label}-{{}}', $.index)");
        let work = task(json!({ "call.$": call }));
        let processor = in_row(vec![
            (
                "item waits".to_owned(),
                json!({ "Type": "Wait", "Seconds": 1 }),
            ),
            ("item works".to_owned(), work),
        ]);
        let state = json!({
            "Type": "Map",
            "ItemsPath": "$.items",
            "MaxConcurrency": 3,
            "ItemSelector": { "index.$": "$$.Map.Item.Index", "ms.$": "$.ms" },
            "ItemProcessor": renamed(processor, label),
            "ResultPath": format!("$.{label}"),
        });
        let adds = (0..ITEMS).map(|n| json!({ "call": format!("{label}-{n}") }));
        self.add(label, state, adds.collect());
    }

    fn parallel(&mut self, label: &str, activity: &str) {
        let name = |part: &str| format!("{label}-{part}");
        let branches = vec![
            vec![
                (
                    name("waits"),
                    json!({ "Type": "Wait", "SecondsPath": "$.waits[0]" }),
                ),
                (name("works"), task(json!({ "call": name("works") }))),
            ],
            vec![(
                name("fails"),
                task(json!({ "call": name("fails"), "fail_first": 2 })),
            )],
            vec![(name("outside"), worked_on(&name("outside"), activity))],
        ];
        let state = json!({
            "Type": "Parallel",
            "Branches": branches.into_iter().map(in_row).collect::<Vec<_>>(),
            "ResultPath": format!("$.{label}"),
        });
        let adds = ["works", "fails", "outside"].map(|part| json!({ "call": name(part) }));
        self.add(label, state, json!(adds));
    }

    fn kind(self, name: &'static str) -> Kind {
        Kind {
            name,
            definition: in_row(self.states),
            adds: self.adds,
        }
    }
}

/// One state entered again and again.
fn running() -> Kind {
    let mut step = task(json!({ "call.$": "States.Format('step-{}', $.count.n)" }));
    step["ResultPath"] = json!("$.last");
    step["Next"] = json!("Count");
    let definition = json!({
        "StartAt": "Begin",
        "States": {
            "Begin": { "Type": "Pass", "Result": { "n": 0 }, "ResultPath": "$.count", "Next": "Step" },
            "Step": step,
            "Count": {
                "Type": "Pass",
                "Parameters": { "n.$": "States.MathAdd($.count.n, 1)" },
                "ResultPath": "$.count",
                "Next": "Enough?",
            },
            "Enough?": {
                "Type": "Choice",
                "Choices": [{ "Variable": "$.count.n", "NumericLessThan": ROUNDS, "Next": "Step" }],
                "Default": "Done",
            },
            "Done": { "Type": "Succeed" },
        },
    });
    let last = json!({ "call": format!("step-{}", ROUNDS - 1) });
    let adds = [("count", json!({ "n": ROUNDS })), ("last", last)];
    Kind {
        name: "running",
        definition,
        adds: adds
            .map(|(key, value)| (key.to_owned(), value))
            .into_iter()
            .collect(),
    }
}

/// A task that writes its call down.
pub(super) fn task(more: Value) -> Value {
    let mut parameters = json!({ "do": "append", "path": PATH, "ms.$": "$.ms" });
    for (key, value) in more.as_object().into_iter().flatten() {
        parameters[key] = value.clone();
    }
    json!({
        "Type": "Task",
        "Resource": format!("wasm:{PLUGIN}"),
        "Parameters": parameters,
        "Retry": retry(),
    })
}

fn worked_on(label: &str, activity: &str) -> Value {
    json!({
        "Type": "Task",
        "Resource": activity,
        "HeartbeatSeconds": 2,
        "Parameters": { "call": label, "ms.$": "$.ms", "execution.$": "$$.Execution.Id" },
        "Retry": retry(),
    })
}

/// A planned failure, and what crashes do to a task: too many redispatches, a worker that never learnt of its task.
fn retry() -> Value {
    json!([
        { "ErrorEquals": ["NotYet"], "IntervalSeconds": 1, "BackoffRate": 1.5, "MaxAttempts": 20 },
        { "ErrorEquals": ["States.ALL"], "IntervalSeconds": 1, "BackoffRate": 1, "MaxAttempts": 20 },
    ])
}

/// A state machine, or the inner one of a branch.
fn in_row(states: Vec<(String, Value)>) -> Value {
    let names: Vec<String> = states.iter().map(|(name, _)| name.clone()).collect();
    let linked = states
        .into_iter()
        .enumerate()
        .map(|(n, (name, mut state))| {
            match names.get(n + 1) {
                Some(next) => state["Next"] = json!(next),
                None => state["End"] = json!(true),
            }
            (name, state)
        });
    json!({ "StartAt": names[0], "States": linked.collect::<Map<_, _>>() })
}

/// State names are unique in the whole machine: those within get the label before them.
fn renamed(machine: Value, label: &str) -> Value {
    let text = machine
        .to_string()
        .replace("\"item ", &format!("\"{label} item "));
    serde_json::from_str(&text).expect("names hold no quotes")
}

/// The input of the nth execution.
pub(super) fn input(n: usize, ms: u64, waits: [u64; WAITS]) -> Value {
    let items: Vec<u64> = (0..ITEMS).collect();
    json!({ "n": n, "ms": ms, "waits": waits, "items": items })
}
