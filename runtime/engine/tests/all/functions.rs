//! What an account may have of functions: calls at a time, code, and nothing left behind by a tenant that is removed.

use std::{
    future::Future,
    pin::Pin,
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering::SeqCst},
    },
    time::{Duration, Instant},
};

use base64::{Engine as _, engine::general_purpose::STANDARD};
use stepwell_engine::{
    Amounts, Caller, Change, Code, CreateMachine, Engine, Error, Execution, ForkRequest,
    FunctionError, FunctionSettings, FunctionVersion, Invocation, MachineKind, MachineNews,
    MachineSettings, Meter, NewFunction, Options, Package, PageRequest, PluginCall, PluginEnd,
    PluginLog, Quotas, StartRequest, Status, Store, TaskRunner, UsageKey,
};
use stepwell_interp::{Measure, Measures, OnCrash, event_type};
use stepwell_query::Value;
use tokio::sync::Semaphore;

use crate::support::{PATIENCE, caller_of};

const ACCOUNT: &str = "111111111111";
/// When a call that nobody waits for is tried again if it had a place and failed.
const FAILED_AGAIN_AFTER: Duration = Duration::from_secs(60);

/// Takes any code; calls of `waits` end when there is a permit, those of `gone` find no plugin, and all others end at once.
struct Runner {
    begun: AtomicUsize,
    ends: Arc<Semaphore>,
}

impl TaskRunner for Runner {
    fn run(&self, call: PluginCall) -> Pin<Box<dyn Future<Output = PluginEnd> + Send>> {
        self.begun.fetch_add(1, SeqCst);
        let ends = self.ends.clone();
        Box::pin(async move {
            if &*call.plugin == "gone" {
                return PluginEnd::Missing {
                    cause: "there is no plugin `gone`".to_owned(),
                };
            }
            if &*call.plugin == "waits" {
                ends.acquire().await.expect("it stays open").forget();
            }
            call.signals.used(Measures::of(&[
                (Measure::Cpu, 30),
                (Measure::Wall, 2_000),
                (Measure::Memory, 3 << 20),
                (Measure::BytesIn, call.input.len() as u64),
                (Measure::BytesOut, 1),
                (Measure::Fuel, 500),
                (Measure::Logs, 2),
                (Measure::Files, 1),
                (Measure::HttpSent, 10),
                (Measure::TcpSent, 5),
                (Measure::HttpReceived, 7),
            ]));
            PluginEnd::Succeeded {
                output: "1".to_owned(),
                log: call.log_wanted.then(|| PluginLog {
                    tail: "it tells\n".to_owned(),
                    ..PluginLog::default()
                }),
            }
        })
    }

    fn on_crash(&self, _: &str, _: &str) -> OnCrash {
        OnCrash::Redispatch
    }

    fn serves(&self, _: &str, _: &str, version: Option<&str>) -> bool {
        version.is_none_or(|version| version == "2")
    }

    fn check(
        &self,
        _: &str,
        _: &str,
        _: Arc<FunctionVersion>,
    ) -> Pin<Box<dyn Future<Output = Result<(), String>> + Send>> {
        Box::pin(async { Ok(()) })
    }
}

async fn opened() -> (Engine, Arc<Runner>) {
    let runner = Arc::new(Runner {
        begun: AtomicUsize::new(0),
        ends: Arc::new(Semaphore::new(0)),
    });
    let options = Options {
        shards: 1,
        ..Options::of(Store::Memory)
    };
    let engine = Engine::open(options, runner.clone()).expect("memory is always there");
    engine.add_tenant(ACCOUNT, "").await.expect("it is new");
    (engine, runner)
}

fn caller() -> Caller {
    caller_of(ACCOUNT)
}

async fn may_have(engine: &Engine, quotas: Quotas) {
    let set = engine.set_quotas(ACCOUNT, quotas).await;
    set.expect("there is such a tenant");
}

async fn called(engine: &Engine, name: &str) -> Result<String, FunctionError> {
    let invocation = Invocation {
        name: name.to_owned(),
        qualifier: None,
        payload: String::new(),
        log_wanted: false,
        request_id: "r".to_owned(),
    };
    let invoked = engine.invoke(&caller(), invocation).await;
    invoked.map(|invoked| invoked.payload)
}

async fn called_later(engine: &Engine, qualifier: &str) -> Result<Arc<str>, FunctionError> {
    let (caller, id) = (caller(), "request-of-some-id");
    let called = engine.invoke_later(&caller, "plain", Some(qualifier), "{}", id);
    called.await
}

#[tokio::test]
async fn calls_count_as_running_tasks() {
    let (engine, runner) = opened().await;
    let most = Quotas {
        running_tasks: Some(1),
        ..Quotas::default()
    };
    may_have(&engine, most).await;
    let first = tokio::spawn({
        let engine = engine.clone();
        async move { called(&engine, "waits").await }
    });
    let asked = Instant::now();
    while runner.begun.load(SeqCst) == 0 {
        assert!(asked.elapsed() < PATIENCE, "the first call does not begin");
        tokio::task::yield_now().await;
    }
    let refused = called(&engine, "quick").await;
    let text = "Rate Exceeded: the tenant's quota of 1 running tasks is reached";
    assert_eq!(refused, Err(FunctionError::TooMany(text.to_owned())));
    runner.ends.add_permits(1);
    assert_eq!(first.await.expect("it ends"), Ok("1".to_owned()));
    assert_eq!(called(&engine, "quick").await, Ok("1".to_owned()));
}

/// A call of `waits` that has begun.
async fn begun(
    engine: &Engine,
    runner: &Runner,
) -> tokio::task::JoinHandle<Result<String, FunctionError>> {
    let before = runner.begun.load(SeqCst);
    let call = tokio::spawn({
        let engine = engine.clone();
        async move { called(&engine, "waits").await }
    });
    let asked = Instant::now();
    while runner.begun.load(SeqCst) == before {
        assert!(asked.elapsed() < PATIENCE, "the call does not begin");
        tokio::task::yield_now().await;
    }
    call
}

/// The error of an execution whose one task calls `waits`.
async fn task_error(engine: &Engine, name: &str) -> Option<Arc<str>> {
    error_of(engine, "calls", name, r#""Resource":"wasm:waits""#).await
}

/// The error of an execution whose one task is so.
async fn error_of(engine: &Engine, machine: &str, name: &str, task: &str) -> Option<Arc<str>> {
    ended(engine, machine, name, task).await.error
}

/// The end of an execution whose one task is so.
async fn ended(engine: &Engine, machine: &str, name: &str, task: &str) -> Execution {
    let task = format!(r#"{{"Type":"Task",{task},"End":true}}"#);
    let machine = CreateMachine {
        name: machine.into(),
        definition: format!(r#"{{"StartAt":"T","States":{{"T":{task}}}}}"#),
        role_arn: "arn:aws:iam::111111111111:role/none".into(),
        kind: MachineKind::Standard,
        settings: MachineSettings::default(),
        tags: Vec::new(),
        publish: None,
    };
    let made = engine.create_machine(&caller(), machine).await;
    let request = StartRequest {
        machine_arn: made.expect("it is sound").machine.arn.to_string(),
        name: Some(name.to_owned()),
        input: None,
        trace_header: None,
    };
    let started = engine.start(&caller(), request).await.expect("it starts");
    let ended = engine.wait(&caller(), &started.execution_arn).await;
    ended.expect("it is there")
}

/// Waits until an attempt of an execution's task has failed.
async fn has_failed(engine: &Engine, arn: &str) {
    let asked = Instant::now();
    loop {
        let page = PageRequest::default();
        let history = engine.history(&caller(), arn, false, page).await;
        let events = history.expect("it is there").items;
        let mut types = events
            .iter()
            .filter_map(|entry| event_type(&entry.event.what));
        if types.any(|name| name.starts_with("LambdaFunction") && name.ends_with("Failed")) {
            return;
        }
        assert!(asked.elapsed() < PATIENCE, "no attempt fails");
        tokio::task::yield_now().await;
    }
}

#[tokio::test]
async fn no_more_calls_run_than_are_reserved() {
    let (engine, runner) = opened().await;
    create_named(&engine, "waits", code("1"))
        .await
        .expect("it is new");
    let caller = caller();
    let reserve = async |reserved| {
        let done = engine.reserve_function_concurrency(&caller, "waits", reserved);
        done.await.expect("it is there");
    };
    reserve(Some(1)).await;
    let first = begun(&engine, &runner).await;
    // What began under another number counts too.
    reserve(Some(2)).await;
    let second = begun(&engine, &runner).await;
    let refused = called(&engine, "waits").await;
    assert!(
        matches!(&refused, Err(FunctionError::ReservedTaken(text)) if text.contains("`waits` is 2")),
        "{refused:?}"
    );
    let error = task_error(&engine, "full").await;
    assert_eq!(error.as_deref(), Some("Stepwell.TooManyRunning"));
    let other = called(&engine, "quick").await;
    assert_eq!(other, Ok("1".to_owned()), "other names are not counted");

    reserve(Some(3)).await;
    let third = begun(&engine, &runner).await;
    reserve(None).await;
    runner.ends.add_permits(4);
    for call in [first, second, third] {
        assert_eq!(call.await.expect("it ends"), Ok("1".to_owned()));
    }
    assert_eq!(task_error(&engine, "room").await, None);
    reserve(Some(1)).await;
    let last = begun(&engine, &runner).await;
    let event = engine.invoke_later(&caller, "waits", None, "{}", "an-event");
    let event = event.await.expect("it waits for its place");
    has_failed(&engine, &event).await;
    let failed = Instant::now();
    runner.ends.add_permits(2);
    assert_eq!(last.await.expect("it ends"), Ok("1".to_owned()));
    let ended = engine.wait(&caller, &event).await.expect("it is there");
    assert_eq!(ended.error, None);
    let took = failed.elapsed();
    assert!(
        took < FAILED_AGAIN_AFTER / 2,
        "{took:?}: it is tried again as one that has failed is"
    );
}

/// As the executions of a state machine are, by an ARN that they all have in common.
#[tokio::test]
async fn calls_that_nobody_waits_for_are_listed_by_their_function() {
    let (engine, runner) = opened().await;
    let other = caller_of("222222222222");
    engine
        .add_tenant(&other.tenant, "")
        .await
        .expect("it is new");
    let listed = async |caller: &Caller, function: &str, status: Option<Status>| {
        let account = &caller.tenant;
        let machine = format!("arn:aws:states:us-east-1:{account}:stateMachine:$lambda-{function}");
        let page = PageRequest::default();
        let found = engine.executions(caller, &machine, status, page).await;
        let found = found.expect("there is such a list").items;
        assert!(found.iter().all(|one| *one.machine_arn == *machine));
        found.iter().map(|one| one.arn.clone()).collect::<Vec<_>>()
    };
    let own = caller();
    assert!(listed(&own, "waits", None).await.is_empty(), "none so far");
    let call = async |name: &str, id: &str| {
        let event = engine.invoke_later(&own, name, None, "{}", id).await;
        event.expect("it is taken")
    };
    let first = call("waits", "first").await;
    let second = call("waits", "second").await;
    let done = call("plain", "done").await;
    engine.wait(&own, &done).await.expect("it ends");
    let both = [second.clone(), first.clone()];
    assert_eq!(listed(&own, "waits", None).await, both, "newest first");
    assert_eq!(listed(&own, "waits", Some(Status::Running)).await, both);
    assert_eq!(listed(&own, "plain", Some(Status::Succeeded)).await, [done]);
    for name in ["waits", "plain", "missing"] {
        assert!(listed(&other, name, None).await.is_empty(), "{name}");
    }
    // What was stopped goes on when it is redriven, as a failed one does.
    let stopped = engine.stop(&own, &first, None, None).await;
    stopped.expect("it is there");
    assert_eq!(
        listed(&own, "waits", Some(Status::Aborted)).await,
        std::slice::from_ref(&first)
    );
    engine.redrive(&own, &first, None).await.expect("it may");
    runner.ends.add_permits(2);
    for event in [&first, &second] {
        let ended = engine.wait(&own, event).await.expect("it is there");
        assert_eq!(ended.status, Status::Succeeded);
    }
}

/// Who listens is told of them as of the executions of a state machine; nothing goes on from one.
#[tokio::test]
async fn calls_that_nobody_waits_for_are_told_and_not_forked() {
    let (engine, _) = opened().await;
    let own = caller();
    let machine = |function: &str| {
        format!("arn:aws:states:us-east-1:{ACCOUNT}:stateMachine:$lambda-{function}")
    };
    let watch = engine.watch_machine(&own, &machine("plain"), None).await;
    let mut watch = watch.expect("there is such a function");
    let event = engine
        .invoke_later(&own, "plain", None, "{}", "a-call")
        .await;
    let event = event.expect("it is taken");
    let mut statuses = Vec::new();
    while statuses.len() < 2 {
        let news = tokio::time::timeout(PATIENCE, watch.next()).await;
        let Some(MachineNews::Changes(changes)) = news.expect("it is told") else {
            panic!("it listens from before the call on");
        };
        for told in changes {
            assert_eq!(told.change.execution_arn, event);
            statuses.push(told.change.status);
        }
    }
    assert_eq!(statuses, [Status::Running, Status::Succeeded]);
    let nobody = engine.watch_machine(&own, &machine("a.b"), None).await;
    assert!(matches!(
        nobody,
        Err(Error::Rejected {
            code: Code::StateMachineDoesNotExist,
            ..
        })
    ));
    let fork = ForkRequest {
        execution_arn: event.to_string(),
        ..ForkRequest::default()
    };
    let Err(Error::Rejected { code, message }) = engine.fork(&own, fork).await else {
        panic!("it has one state, which is the call");
    };
    assert_eq!(code, Code::ExecutionNotForkable);
    assert!(message.contains("redrive it if it failed"), "{message}");
}

#[tokio::test]
async fn a_call_of_what_is_not_there_any_more_ends() {
    let (engine, runner) = opened().await;
    let caller = caller();
    let called = engine.invoke_later(&caller, "gone", None, "{}", "an-event");
    let event = called.await.expect("it was there then");
    let failed = async || {
        let ended = engine.wait(&caller, &event).await.expect("it is there");
        assert_eq!(
            (ended.status, ended.error.as_deref()),
            (Status::Failed, Some("Lambda.ResourceNotFoundException"))
        );
    };
    failed().await;
    engine.redrive(&caller, &event, None).await.expect("it may");
    failed().await;
    assert_eq!(runner.begun.load(SeqCst), 2, "no retry can help");
}

#[tokio::test]
async fn a_direct_call_is_metered_as_a_task_is() {
    let (engine, _) = opened().await;
    for _ in 0..2 {
        assert_eq!(called(&engine, "quick").await, Ok("1".to_owned()));
    }
    let asked = Instant::now();
    loop {
        let used = engine.usage(Some(ACCOUNT), (0, u32::MAX), None, 1_000);
        let used = used.await.expect("readable");
        // A call that nobody waits for is counted in the same row.
        let of = |key: &UsageKey| {
            key.machine.ends_with(":stateMachine:$lambda-quick") && &*key.plugin == "quick"
        };
        let found = used.iter().find(|(key, _)| of(key));
        let counts = |amounts: &Amounts| {
            [
                Meter::Tasks,
                Meter::CpuMicros,
                Meter::MemoryTime,
                Meter::BytesIn,
                Meter::BytesOut,
                Meter::Executions,
                Meter::Fuel,
                Meter::HostCalls,
                Meter::BytesSent,
                Meter::BytesReceived,
            ]
            .map(|meter| amounts.get(meter))
        };
        let both = [2, 60, 12, 4, 2, 0, 1_000, 6, 30, 14];
        if found.is_some_and(|(_, amounts)| counts(amounts) == both) {
            return;
        }
        assert!(asked.elapsed() < PATIENCE, "usage is {used:?}");
        tokio::task::yield_now().await;
    }
}

#[tokio::test]
async fn a_function_of_another_account_is_not_called() {
    let (engine, runner) = opened().await;
    let arn = |account: &str| format!("arn:aws:lambda:us-east-1:{account}:function:pay");
    let invoke = |function: &str| {
        format!(
            r#""Resource":"arn:aws:states:::lambda:invoke","Parameters":{{"FunctionName":"{function}"}}"#
        )
    };
    let other = "222222222222";
    let denied = [
        format!(r#""Resource":"{}""#, arn(other)),
        invoke(&arn(other)),
        invoke(&format!("{other}:function:pay:3")),
    ];
    for (number, task) in denied.iter().enumerate() {
        let error = error_of(&engine, &format!("denied-{number}"), "one", task).await;
        assert_eq!(
            error.as_deref(),
            Some("Lambda.AWSLambdaException"),
            "{task}"
        );
    }
    assert_eq!(runner.begun.load(SeqCst), 0, "nothing is called");
    let own = [
        format!(r#""Resource":"{}""#, arn(ACCOUNT)),
        invoke(&arn(ACCOUNT)),
        invoke("pay"),
    ];
    for (number, task) in own.iter().enumerate() {
        let error = error_of(&engine, &format!("own-{number}"), "one", task).await;
        assert_eq!(error, None, "{task}");
    }
}

#[tokio::test]
async fn a_task_that_asks_for_the_log_of_its_function_has_it_in_its_output() {
    let (engine, _) = opened().await;
    let asked = [
        (r#","LogType":"Tail""#, true),
        (r#","LogType":"None""#, false),
        (r#","LogType":null"#, false),
        ("", false),
    ];
    for (number, (asks, told)) in asked.iter().enumerate() {
        for (language, field) in [("JSONPath", "Parameters"), ("JSONata", "Arguments")] {
            let task = format!(
                r#""QueryLanguage":"{language}","Resource":"arn:aws:states:::lambda:invoke","{field}":{{"FunctionName":"pay"{asks}}}"#
            );
            let ended = ended(&engine, &format!("{language}-{number}"), "one", &task).await;
            let output = ended
                .output
                .unwrap_or_else(|| panic!("{task}: {:?}", ended.cause));
            assert_eq!(
                output.get("Payload").map(Value::to_json).as_deref(),
                Some("1")
            );
            let log = output.get("LogResult");
            assert_eq!(log.is_some(), *told, "{task}: {}", output.to_json());
            let metadata = output.get("SdkHttpMetadata").unwrap();
            let header = metadata.get("HttpHeaders").unwrap().get("X-Amz-Log-Result");
            assert_eq!(header, log, "{task}");
            if let Some(log) = log {
                let text = STANDARD.decode(log.as_str().unwrap()).unwrap();
                let text = String::from_utf8(text).unwrap();
                assert!(text.contains("\nit tells\nEND RequestId: "), "{text}");
            }
        }
    }
    let task = r#""Resource":"arn:aws:states:::lambda:invoke","Parameters":{"FunctionName":"pay","LogType":"All"}"#;
    let ended = ended(&engine, "all", "one", task).await;
    assert_eq!(ended.error.as_deref(), Some("Lambda.AWSLambdaException"));
    let cause = ended.cause.unwrap();
    assert!(
        cause.contains("Value 'All' at 'logType'") && cause.contains("[None, Tail]"),
        "{cause}"
    );
}

#[tokio::test]
async fn a_version_that_is_not_there_is_not_called_later() {
    let (engine, _) = opened().await;
    for qualifier in ["3", r#"x","End":true},"E":{"Type":"Pass","#] {
        let refused = called_later(&engine, qualifier).await;
        assert!(
            matches!(refused, Err(FunctionError::NotFound(_))),
            "{qualifier}: {refused:?}"
        );
    }
    assert!(called_later(&engine, "2").await.is_ok());
}

fn code(text: &str) -> Package {
    Package {
        wasm: text.as_bytes().into(),
        sha256: text.to_owned(),
        bytes: text.len() as u64,
    }
}

async fn create(engine: &Engine, package: Package) -> Result<(), FunctionError> {
    create_named(engine, "pay", package).await
}

async fn create_named(engine: &Engine, name: &str, package: Package) -> Result<(), FunctionError> {
    let new = NewFunction {
        name: name.to_owned(),
        settings: FunctionSettings {
            role: "arn:aws:iam::111111111111:role/r".to_owned(),
            runtime: None,
            handler: None,
            architecture: "x86_64".to_owned(),
            description: String::new(),
            timeout_s: 3,
            memory_mb: 128,
            environment: Default::default(),
            told: Default::default(),
        },
        package,
        tags: Vec::new(),
        publish: false,
    };
    engine.create_function(&caller(), new).await.map(drop)
}

async fn update(engine: &Engine, text: &str, dry_run: bool) -> Result<(), FunctionError> {
    let change = Change {
        dry_run,
        ..Change::default()
    };
    let updated = engine
        .update_function_code(&caller(), "pay", code(text), change)
        .await;
    updated.map(drop)
}

async fn stored(engine: &Engine) -> u64 {
    let (_, taken) = engine.quotas(ACCOUNT).await.expect("readable");
    let used = engine.usage(Some(ACCOUNT), (0, u32::MAX), None, 1_000);
    let used = used.await.expect("readable");
    let sum: u64 = used
        .iter()
        .map(|(_, amounts)| amounts.get(Meter::BytesStored))
        .sum();
    assert_eq!(sum, taken.stored_bytes, "what is told is what counts");
    sum
}

#[tokio::test]
async fn code_is_counted_when_it_is_kept() {
    let (engine, _) = opened().await;
    create(&engine, code("12345")).await.expect("it is new");
    assert_eq!(stored(&engine).await, 5);
    update(&engine, "123456789", true).await.expect("it fits");
    assert_eq!(stored(&engine).await, 5, "a dry run keeps nothing");
    update(&engine, "12345", false).await.expect("it fits");
    assert_eq!(stored(&engine).await, 5, "the same code is kept once");
    update(&engine, "123", false).await.expect("it fits");
    assert_eq!(stored(&engine).await, 8);
    let most = Quotas {
        stored_bytes: Some(8),
        ..Quotas::default()
    };
    may_have(&engine, most).await;
    for dry_run in [true, false] {
        let refused = update(&engine, "1", dry_run).await;
        assert!(
            matches!(refused, Err(FunctionError::Full(_))),
            "{refused:?}"
        );
    }
    assert_eq!(stored(&engine).await, 8);
}

#[tokio::test]
async fn an_account_has_as_much_code_as_aws_lets_it() {
    let (engine, _) = opened().await;
    let large = |bytes| Package {
        bytes,
        ..code("12345")
    };
    let most: u64 = 75 << 30;
    let refused = create(&engine, large(most + 1)).await;
    assert!(
        matches!(refused, Err(FunctionError::Full(_))),
        "{refused:?}"
    );
    assert_eq!(stored(&engine).await, 0, "what is refused is not kept");
    create(&engine, large(most)).await.expect("it is just that");
    let refused = update(&engine, "1", false).await;
    assert!(
        matches!(&refused, Err(FunctionError::Full(text)) if text.starts_with("Code storage limit exceeded.")),
        "{refused:?}"
    );
}

#[tokio::test]
async fn a_tenant_with_functions_is_not_removed() {
    let (engine, _) = opened().await;
    create(&engine, code("1")).await.expect("it is new");
    let refused = engine.remove_tenant(ACCOUNT).await;
    assert!(
        matches!(&refused, Err(Error::Rejected { message, .. }) if message.contains("functions")),
        "{refused:?}"
    );
    let deleted = engine.delete_function(&caller(), "pay", None).await;
    deleted.expect("it is there");
    engine
        .remove_tenant(ACCOUNT)
        .await
        .expect("it has nothing any more");
}
