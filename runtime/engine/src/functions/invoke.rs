//! Calls of functions from outside: their payload in, their answer out, in the function service's words. A plugin of the
//! folder is called alike.

use std::sync::{Arc, Mutex, PoisonError};

use stepwell_interp::Measures;
use stepwell_query::Value;

use super::{
    Callable, FunctionError, Resolved, absent, calls::FunctionCall, events, in_use::CodeUse,
};
use crate::{
    api::Caller,
    attempt,
    attempt_logs::AttemptLog,
    dispatch::hex,
    engine::Engine,
    journal::UsageKey,
    lambda::{self, LATEST, REQUEST_BYTES_MAX, RESPONSE_BYTES_MAX},
    node::{Seat, now},
    programs::sha256,
    runner::{PluginCall, PluginEnd, PluginLog, Signals},
    shard::In,
};

/// A call of a function.
#[derive(Clone, Debug)]
pub struct Invocation {
    pub name: String,
    /// A version, an alias or `$LATEST`.
    pub qualifier: Option<String>,
    /// JSON text; empty is the empty object.
    pub payload: String,
    /// Whether the end of the log is wanted.
    pub log_wanted: bool,
    pub request_id: String,
}

/// What a call came to.
#[derive(Clone, Debug, PartialEq)]
pub struct Invoked {
    /// JSON text: the answer, or what went wrong.
    pub payload: String,
    pub fault: Option<FunctionFault>,
    /// A number, or `$LATEST`.
    pub version: String,
    /// The end of the log in base64, where it was asked for.
    pub log: Option<String>,
}

/// Whose words a failed function's payload is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum FunctionFault {
    /// Of the function itself or of what runs it: all that the service tells apart today.
    Unhandled,
}

impl Engine {
    /// Calls a function and waits for its answer. A function that fails is an answer, not an error. Dropping the future
    /// ends the function.
    pub async fn invoke(
        &self,
        caller: &Caller,
        invocation: Invocation,
    ) -> Result<Invoked, FunctionError> {
        let payload = check_payload(&invocation.payload, REQUEST_BYTES_MAX)?;
        let (call, version, _held, signals) = self.call_of(caller, &invocation, payload).await?;
        let end = match self.node().allowances.begin_call(&caller.tenant) {
            // Held until it has ended, or nobody waits for it any more.
            Ok(_place) => self.node().runner.run(call).await,
            Err(cause) => PluginEnd::TooManyRunning { cause },
        };
        answer(caller, &invocation, version, end, signals.take_log())
    }

    /// Looks whether a call could be made, and makes none.
    pub async fn may_invoke(
        &self,
        caller: &Caller,
        name: &str,
        qualifier: Option<&str>,
    ) -> Result<(), FunctionError> {
        let (tenant, plugin) = (&caller.tenant, Arc::from(name));
        let resolved = self
            .node()
            .resolve_function(tenant, &plugin, qualifier)
            .await;
        match resolved.map_err(unreadable)? {
            // A call that nobody waits for waits for its place.
            Resolved::Function(_) => Ok(()),
            Resolved::Missing(_) => Err(absent(caller, name, qualifier)),
            Resolved::Off(why) => Err(reserved_taken(&why)),
            Resolved::Folder => {
                let version = qualifier.filter(|text| *text != LATEST);
                match self.node().runner.serves(tenant, name, version) {
                    true => Ok(()),
                    false => Err(absent(caller, name, qualifier)),
                }
            }
        }
    }

    async fn call_of(
        &self,
        caller: &Caller,
        invocation: &Invocation,
        input: String,
    ) -> Result<(PluginCall, String, Option<Held>, Arc<Metered>), FunctionError> {
        let plugin: Arc<str> = invocation.name.as_str().into();
        let qualifier = invocation.qualifier.as_deref();
        let (tenant, node) = (&caller.tenant, self.node());
        let resolved = node.resolve_function(tenant, &plugin, qualifier).await;
        let (function, version, held) = match resolved.map_err(unreadable)? {
            Resolved::Missing(_) => return Err(absent(caller, &plugin, qualifier)),
            Resolved::Off(why) => return Err(reserved_taken(&why)),
            Resolved::Folder => (None, qualifier.filter(|text| *text != LATEST), None),
            Resolved::Function(Callable {
                version,
                in_use,
                entrance,
            }) => {
                let place = entrance.enter().map_err(|why| reserved_taken(&why))?;
                (Some(version), None, Some((in_use, place)))
            }
        };
        let executed = match (&function, version) {
            (Some(function), _) => function.version.map(|number| number.to_string()),
            (None, version) => version.map(str::to_owned),
        };
        let signals = Arc::new(Metered {
            seat: node.usage_seat(),
            key: UsageKey {
                day: 0,
                tenant: tenant.clone(),
                machine: events::machine(caller, &plugin).to_string().into(),
                plugin: plugin.clone(),
            },
            failed_log: Mutex::new(None),
        });
        let arn = super::arn(caller, &plugin, Some(executed.as_deref().unwrap_or(LATEST)));
        let call = PluginCall {
            tenant: tenant.clone(),
            plugin,
            version: version.map(Into::into),
            function: function.map(Arc::new),
            input,
            execution_arn: arn.into(),
            machine_arn: "".into(),
            state: "".into(),
            attempt: 1,
            idempotency_key: hex(&sha256(invocation.request_id.as_bytes())),
            task_token: None,
            remaining: None,
            trace_parent: None,
            log_wanted: invocation.log_wanted,
            limits: None,
            secrets: Some(node.secrets_of(tenant)),
            signals: signals.clone(),
            permit: None,
            alone: false,
        };
        let executed = executed.unwrap_or_else(|| LATEST.to_owned());
        Ok((call, executed, held, signals))
    }
}

/// What a call of a function has for as long as it runs: its code, and its place.
type Held = (CodeUse, FunctionCall);

/// Nobody waits for signs of life; what was used is counted as that of a call that nobody waits for is.
struct Metered {
    seat: Arc<Seat>,
    /// Of no day as yet.
    key: UsageKey,
    /// The end of the log of a call that failed, where it was wanted.
    failed_log: Mutex<Option<PluginLog>>,
}

impl Metered {
    fn take_log(&self) -> Option<PluginLog> {
        let mut log = self
            .failed_log
            .lock()
            .unwrap_or_else(PoisonError::into_inner);
        log.take()
    }
}

impl Signals for Metered {
    fn started(&self, _version: &str) {}

    fn waits(&self, _why: &str) {}

    fn heartbeat(&self, _note: Option<&str>) {}

    fn used(&self, used: Measures) {
        let day = UsageKey::day_of(now());
        self.seat.leave(In::Used {
            key: UsageKey {
                day,
                ..self.key.clone()
            },
            usage: attempt::amounts(&used),
        });
    }

    // A call that belongs to no execution has no history to keep it with.
    fn logged(&self, _log: AttemptLog) {}

    fn failed_log(&self, log: PluginLog) {
        *self
            .failed_log
            .lock()
            .unwrap_or_else(PoisonError::into_inner) = Some(log);
    }
}

/// The payload as the function gets it.
pub(super) fn check_payload(payload: &str, bytes_max: usize) -> Result<String, FunctionError> {
    let bytes = payload.len();
    if bytes > bytes_max {
        return Err(FunctionError::TooLarge(format!(
            "{bytes} byte payload is too large for the operation (limit {bytes_max} bytes)"
        )));
    }
    if payload.trim().is_empty() {
        return Ok("{}".to_owned());
    }
    match Value::parse(payload) {
        Ok(_) => Ok(payload.to_owned()),
        Err(error) => Err(FunctionError::NotJson(format!(
            "Could not parse request body into json: {}",
            error.message
        ))),
    }
}

fn answer(
    caller: &Caller,
    invocation: &Invocation,
    version: String,
    end: PluginEnd,
    failed_log: Option<PluginLog>,
) -> Result<Invoked, FunctionError> {
    let request_id = invocation.request_id.as_str();
    let failed_log = failed_log.map(|log| lambda::log_result(&log, &version, request_id));
    let failed = |error: &str, message: &str| Invoked {
        payload: lambda::report(error, message),
        fault: Some(FunctionFault::Unhandled),
        version: version.clone(),
        log: failed_log.clone(),
    };
    let exited = |why: &str| {
        let message = format!("RequestId: {request_id} Error: {why}");
        failed("Runtime.ExitError", &message)
    };
    let late = |why: &str| {
        let message = format!("RequestId: {request_id} Error: Task timed out: {why}");
        failed("Sandbox.Timedout", &message)
    };
    Ok(match end {
        PluginEnd::Succeeded { output, log } if output.len() > RESPONSE_BYTES_MAX => Invoked {
            log: log.map(|log| lambda::log_result(&log, &version, request_id)),
            ..failed(
                "Function.ResponseSizeTooLarge",
                &format!(
                    "Response payload size exceeded maximum allowed payload size ({RESPONSE_BYTES_MAX} bytes)."
                ),
            )
        },
        PluginEnd::Succeeded { output, log } => Invoked {
            log: log.map(|log| lambda::log_result(&log, &version, request_id)),
            payload: output,
            fault: None,
            version,
        },
        PluginEnd::Failed { error, cause } => Invoked {
            payload: lambda::own_report(&error, &cause),
            ..failed("", "")
        },
        PluginEnd::OutputTooLarge { cause } => failed("Function.ResponseSizeTooLarge", &cause),
        PluginEnd::InvalidOutput { cause } => failed("Runtime.MarshalError", &cause),
        PluginEnd::Exited { cause }
        | PluginEnd::Trapped { cause }
        | PluginEnd::OutOfMemory { cause } => exited(&cause),
        PluginEnd::WallTime { cause }
        | PluginEnd::CpuTime { cause }
        | PluginEnd::OutOfFuel { cause } => late(&cause),
        PluginEnd::Deadline => late("its time was over"),
        PluginEnd::Cancelled => exited("the call was cancelled"),
        PluginEnd::GrantRefused { cause } => failed("AccessDenied", &cause),
        PluginEnd::InputTooLarge { cause } => return Err(FunctionError::TooLarge(cause)),
        PluginEnd::TooManyRunning { cause } | PluginEnd::NotReady { cause } => {
            return Err(FunctionError::TooMany(format!("Rate Exceeded: {cause}")));
        }
        PluginEnd::Missing { cause } => {
            tracing::warn!(function = invocation.name, "{cause}");
            let qualifier = invocation.qualifier.as_deref();
            return Err(absent(caller, &invocation.name, qualifier));
        }
        PluginEnd::Broken { cause } => return Err(FunctionError::Unusable(cause)),
        PluginEnd::Internal { cause } => {
            return Err(FunctionError::Engine(crate::error::Error::Broken(cause)));
        }
    })
}

fn reserved_taken(why: &str) -> FunctionError {
    FunctionError::ReservedTaken(format!("Rate Exceeded: {why}"))
}

fn unreadable(why: String) -> FunctionError {
    FunctionError::Engine(crate::error::Error::Broken(why))
}

#[cfg(test)]
mod tests {
    use base64::{Engine as _, engine::general_purpose::STANDARD};

    use super::*;

    #[test]
    fn who_fails_has_a_log_too() {
        let caller = Caller {
            tenant: "000000000000".into(),
            region: "us-east-1".into(),
        };
        let invocation = Invocation {
            name: "pay".to_owned(),
            qualifier: None,
            payload: String::new(),
            log_wanted: true,
            request_id: "r".to_owned(),
        };
        let cause = || "why".to_owned();
        let ends = [
            PluginEnd::Failed {
                error: "Declined".to_owned(),
                cause: cause(),
            },
            PluginEnd::Trapped { cause: cause() },
            PluginEnd::WallTime { cause: cause() },
            PluginEnd::InvalidOutput { cause: cause() },
        ];
        for end in ends {
            let log = PluginLog {
                tail: "the last words".to_owned(),
                ..PluginLog::default()
            };
            let told = answer(&caller, &invocation, "3".to_owned(), end, Some(log)).unwrap();
            assert_eq!(told.fault, Some(FunctionFault::Unhandled));
            let log = STANDARD.decode(told.log.unwrap()).unwrap();
            let log = String::from_utf8(log).unwrap();
            assert!(
                log.starts_with("START RequestId: r Version: 3\nthe last words\n"),
                "{log}"
            );
        }
    }
}
