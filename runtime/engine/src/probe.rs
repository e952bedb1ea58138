//! One state tried alone: no execution, nothing stored. Hides that its task, where it is not mocked, runs as any other.

use std::{sync::Arc, time::Duration};

use stepwell_asl::{Program, Target};
use stepwell_interp::{
    Env, Input, Inspection, Measures, Mock, Probe, Probed, Refusal, Setup, Start, TaskRequest,
    TimerId, Timestamp,
};
use stepwell_query::Value;
use uuid::Uuid;

use crate::{
    api::Caller,
    arn::MachineArn,
    attempt_logs::AttemptLog,
    dispatch,
    engine::Engine,
    error::Error,
    http_task::{self, HttpExchange},
    integration::{self, Served},
    node::{self, os_seed},
    runner::Signals,
    shard::Info,
};

/// What a state is tried with.
#[derive(Clone, Debug, Default)]
pub struct StateTest {
    pub input: Value,
    /// Needed where the state is a Task without a mock.
    pub role_arn: Option<String>,
    /// Workflow variables at its entry.
    pub variables: Vec<(Arc<str>, Value)>,
    /// Takes the whole context object's place.
    pub context: Option<Value>,
    pub mock: Option<Mock>,
    /// Retries so far by the retrier that matches the error.
    pub retries: u32,
    pub error_caused_by: Option<String>,
    /// Iterations of a Map that failed.
    pub failed_iterations: Option<u32>,
    /// What a Map's ItemReader has read.
    pub read_items: Option<Value>,
    /// Whether an HTTP task's exchange shows what its connection adds.
    pub reveals_secrets: bool,
}

/// What became of it.
#[derive(Debug)]
pub enum StateTested {
    /// With the exchange of an HTTP task, where it made one.
    Inspected(Box<Inspection>, Option<Box<HttpExchange>>),
    Refused(Refusal),
}

impl Engine {
    /// Tries the state that the program starts at, as an EXPRESS execution of its own would: it ends within five
    /// minutes. A task without a mock is run.
    pub async fn test_state(
        &self,
        caller: &Caller,
        program: Arc<Program>,
        test: StateTest,
    ) -> Result<StateTested, Error> {
        let reveals_secrets = test.reveals_secrets;
        let machine = MachineArn::new(caller, &Uuid::new_v4().to_string());
        let name = Uuid::new_v4().to_string();
        let setup = setup(&machine, &name, self.raised_limits(&caller.tenant), test);
        let info = Arc::new(Info {
            tenant: caller.tenant.clone(),
            execution_arn: setup.start.execution_arn.clone(),
            machine_arn: setup.start.machine_arn.clone(),
            trace_header: None,
            parent: None,
            definition: "".into(),
            revision_id: None,
            revised_ms: 0,
            logging: None,
            line: None,
            traced: false,
        });
        let mut exchange = None;
        let begun = program.clone();
        let (mut probe, mut probed) = apart(move || Probe::begin(&begun, setup, env())).await?;
        loop {
            let request = match probed {
                Probed::Task(request) => request,
                Probed::Done(inspection) => {
                    return Ok(StateTested::Inspected(inspection, exchange));
                }
                Probed::Refused(refusal) => return Ok(StateTested::Refused(refusal)),
            };
            let deadline = probe.next_timer();
            let ending = self.end_of_task(&info, &request, reveals_secrets, &mut exchange);
            let input = in_time(ending, deadline).await;
            let program = program.clone();
            (probe, probed) = apart(move || {
                let probed = probe.take(&program, input, env());
                (probe, probed)
            })
            .await?;
        }
    }

    /// Runs the task until it ends.
    async fn end_of_task(
        &self,
        info: &Arc<Info>,
        request: &TaskRequest,
        reveals_secrets: bool,
        exchange: &mut Option<Box<HttpExchange>>,
    ) -> Input {
        let task = request.task;
        if request.resource.target == Target::HttpInvoke {
            let settings = http_task::Settings {
                raised_limits: self.raised_limits(&info.tenant),
                reveals_secrets,
            };
            let done = http_task::serve(self.node(), info, request, settings).await;
            *exchange = done.exchange;
            let outcome = done.outcome;
            return Input::TaskEnded { task, outcome };
        }
        if integration::is_own(&request.resource.target) {
            return self.own_task(info, request).await;
        }
        let mut plan = match dispatch::plan(info, request) {
            Ok(plan) => plan,
            Err(outcome) => return Input::TaskEnded { task, outcome },
        };
        let call = dispatch::call(info, request, &plan, node::now(), Arc::new(NoSignals));
        let end = dispatch::run(self.node(), &mut plan, call).await;
        match dispatch::meaning(&plan.form, end) {
            dispatch::Meaning::Ended(outcome) => Input::TaskEnded { task, outcome },
            dispatch::Meaning::Submitted(output) => Input::TaskSubmitted { task, output },
        }
    }
}

impl Engine {
    /// A task that calls the engine's own API.
    async fn own_task(&self, info: &Info, request: &TaskRequest) -> Input {
        let task = request.task;
        // Nobody has this id: what the task starts has no parent to tell.
        let served = match self.node().new_execution_id(node::now()) {
            Ok(id) => integration::serve(self, id, info, request).await,
            Err(_) => Served::Ended(dispatch::lost()),
        };
        match served {
            Served::Ended(outcome) => Input::TaskEnded { task, outcome },
            Served::Submitted(output) => Input::TaskSubmitted { task, output },
            // Only a task that waits for its child is told so, and such a task needs a mock.
            Served::Told => Input::TaskEnded {
                task,
                outcome: dispatch::lost(),
            },
        }
    }
}

/// The end of a task, or the deadline that comes before it.
async fn in_time(
    ending: impl Future<Output = Input>,
    deadline: Option<(Timestamp, TimerId)>,
) -> Input {
    let Some((due, timer)) = deadline else {
        return ending.await;
    };
    let left = Duration::from_millis(due.since_ms(node::now()));
    match tokio::time::timeout(left, ending).await {
        Ok(input) => input,
        Err(_) => Input::TimerDue { timer },
    }
}

fn setup(machine: &MachineArn, name: &str, raised_limits: bool, test: StateTest) -> Setup {
    let MachineArn {
        region, account, ..
    } = machine;
    // Without the run's id that an EXPRESS execution's ARN ends with: here it is the name.
    let execution_arn = format!(
        "arn:aws:states:{region}:{account}:express:{}:{name}",
        machine.name
    );
    Setup {
        start: Start {
            execution_arn: execution_arn.into(),
            execution_name: name.into(),
            machine_arn: machine.to_string().into(),
            machine_name: machine.name.as_str().into(),
            role_arn: test.role_arn.unwrap_or_default().into(),
            version_arn: None,
            alias_arn: None,
            express: true,
            raised_limits,
            processor_of: None,
            forked_from: None,
            input: test.input,
        },
        variables: test.variables,
        context: test.context,
        mock: test.mock,
        retries: test.retries,
        error_caused_by: test.error_caused_by.map(Into::into),
        failed_iterations: test.failed_iterations,
        read_items: test.read_items,
    }
}

/// Evaluates on a thread that may take its time.
async fn apart<T: Send + 'static>(work: impl FnOnce() -> T + Send + 'static) -> Result<T, Error> {
    tokio::task::spawn_blocking(work)
        .await
        .map_err(|error| Error::Broken(error.to_string()))
}

fn env() -> Env {
    Env {
        at: node::now(),
        seed: os_seed(),
    }
}

/// Nobody waits for signs of life.
struct NoSignals;

impl Signals for NoSignals {
    fn started(&self, _version: &str) {}

    fn waits(&self, _why: &str) {}

    fn heartbeat(&self, _note: Option<&str>) {}

    fn used(&self, _used: Measures) {}

    fn logged(&self, _log: AttemptLog) {}
}
