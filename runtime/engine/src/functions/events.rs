//! Calls of functions that nobody waits for. Each is an execution of a state machine of one Task state that has no record: it is
//! durable when the call is answered, is tried again as the function service does, and survives a crash. It is described, listed,
//! stopped and redriven as other executions are. Hides that state machine.

use std::sync::Arc;

use serde_json::json;

use super::{FunctionError, check_name, invoke::check_payload};
use crate::{
    api::{Caller, MachineKind},
    arn::MachineArn,
    engine::Engine,
    error::Error,
    journal::ScopeId,
    lambda::EVENT_BYTES_MAX,
    limits::{
        EVENT_FULL_RETRIES_MAX, EVENT_FULL_RETRY_AFTER_S, EVENT_FULL_RETRY_AFTER_S_MAX,
        EVENT_RETRIES_MAX, EVENT_RETRY_AFTER_S,
    },
    machines,
    programs::Programs,
    startable::{Chosen, Startable},
};

/// Before the function's name in the name of the state machine; no one can create one with such a name.
pub const EVENTS_PREFIX: &str = "$lambda-";

impl Engine {
    /// Calls a function some time from now on; it will be when this answers. Gives the ARN of the execution that does it.
    pub async fn invoke_later(
        &self,
        caller: &Caller,
        name: &str,
        qualifier: Option<&str>,
        payload: &str,
        request_id: &str,
    ) -> Result<Arc<str>, FunctionError> {
        let payload = check_payload(payload, EVENT_BYTES_MAX)?;
        self.may_invoke(caller, name, qualifier).await?;
        let chosen = self.event_machine(caller, name, qualifier).await?;
        Ok(self
            .start_chosen(caller, chosen, request_id, &payload)
            .await?)
    }

    async fn event_machine(
        &self,
        caller: &Caller,
        name: &str,
        qualifier: Option<&str>,
    ) -> Result<Chosen, FunctionError> {
        let machine = machine(caller, name);
        let text = definition(&super::arn(caller, name, qualifier));
        let (hash, write) = Programs::store(&text);
        if self.node().programs.cached(hash).is_none() {
            self.write(write).await?;
        }
        let (_, program) = self.node().programs.get(hash).await?;
        let kind = MachineKind::Standard;
        let scope = self.scope(caller, &machine, kind, true).await?;
        let scope = scope.ok_or_else(|| super::crossed(name))?;
        let startable = Startable {
            arn: machine.to_string().into(),
            name: machine.name.as_str().into(),
            role_arn: "".into(),
            express: false,
            definition: crate::dispatch::hex(&hash),
            program,
            scope,
            version: None,
            revision_id: None,
            revised_ms: 0,
            logging: None,
            concurrency: None,
            traced: false,
        };
        Ok(Chosen {
            machine,
            startable: Arc::new(startable),
            alias: None,
        })
    }
}

impl Engine {
    /// The list of a state machine of [`is_of_events`], `None` as long as there were no calls. What was called of a function that
    /// is gone by now is listed still.
    pub(crate) async fn list_of_events(
        &self,
        caller: &Caller,
        machine: &MachineArn,
    ) -> Result<Option<ScopeId>, Error> {
        let kind = MachineKind::Standard;
        let scope = self.scope(caller, machine, kind, false).await?;
        if scope.is_none() && !self.has_function_of(caller, machine).await? {
            return Err(machines::absent(&machine.to_string()));
        }
        Ok(scope)
    }

    /// Whether that state machine is one of a function that is there now, whether it may be called or not.
    async fn has_function_of(&self, caller: &Caller, machine: &MachineArn) -> Result<bool, Error> {
        let name = machine.name.strip_prefix(EVENTS_PREFIX);
        let Some(name) = name.filter(|name| check_name(name).is_ok()) else {
            return Ok(false);
        };
        match self.may_invoke(caller, name, None).await {
            Err(FunctionError::NotFound(_)) => Ok(false),
            Err(FunctionError::Engine(error)) => Err(error),
            Ok(())
            | Err(
                FunctionError::Conflict(_)
                | FunctionError::Invalid(_)
                | FunctionError::Stale(_)
                | FunctionError::Full(_)
                | FunctionError::LongPolicy(_)
                | FunctionError::TooLarge(_)
                | FunctionError::NotJson(_)
                | FunctionError::TooMany(_)
                | FunctionError::ReservedTaken(_)
                | FunctionError::Unusable(_),
            ) => Ok(true),
        }
    }
}

/// The state machine that a function's calls are executions of.
pub(super) fn machine(caller: &Caller, name: &str) -> MachineArn {
    MachineArn::new(caller, &format!("{EVENTS_PREFIX}{name}"))
}

/// Whether a state machine is one of those. There is one for every function, also when nothing was called so far.
pub(crate) fn is_of_events(machine: &MachineArn) -> bool {
    machine.qualifier.is_none() && machine.name.starts_with(EVENTS_PREFIX)
}

/// Calls the function, and twice more when it fails, as the function service does with what nobody waits for; while there is
/// no place for the call, for hours, at times that are drawn: those that wait would all come at once, and all but few in vain.
/// What is not there is not tried again.
fn definition(function: &str) -> String {
    let retry = json!({"ErrorEquals": ["States.ALL"], "IntervalSeconds": EVENT_RETRY_AFTER_S,
        "MaxAttempts": EVENT_RETRIES_MAX, "BackoffRate": 2});
    let full = json!({"ErrorEquals": ["Lambda.TooManyRequestsException"], "IntervalSeconds": EVENT_FULL_RETRY_AFTER_S,
        "MaxAttempts": EVENT_FULL_RETRIES_MAX, "BackoffRate": 2, "MaxDelaySeconds": EVENT_FULL_RETRY_AFTER_S_MAX,
        "JitterStrategy": "FULL"});
    let gone = json!({"ErrorEquals": ["Lambda.ResourceNotFoundException"], "MaxAttempts": 0});
    let retries = [full, gone, retry];
    let invoke = json!({"Type": "Task", "Resource": function, "Retry": retries, "End": true});
    json!({"StartAt": "Invoke", "States": {"Invoke": invoke}}).to_string()
}

#[cfg(test)]
mod tests {
    use super::definition;

    #[test]
    fn the_definition_is_one() {
        let text = definition("arn:aws:lambda:us-east-1:000000000000:function:pay:live");
        let loaded = stepwell_asl::load(&text, &stepwell_asl::Options::default());
        assert!(loaded.program.is_some(), "{:?}", loaded.diagnostics);
    }

    #[test]
    fn a_call_without_a_place_is_tried_for_six_hours() {
        let read: serde_json::Value = serde_json::from_str(&definition("pay")).unwrap();
        let full = &read["States"]["Invoke"]["Retry"][0];
        assert_eq!(
            full["ErrorEquals"],
            serde_json::json!(["Lambda.TooManyRequestsException"])
        );
        let number = |field: &str| full[field].as_u64().unwrap();
        let (first, most) = (number("IntervalSeconds"), number("MaxDelaySeconds"));
        let waits = (0..number("MaxAttempts")).map(|retry| (first << retry.min(20)).min(most));
        // With full jitter a wait is half of that in the mean, and those that wait do not come all at once.
        assert_eq!(full["JitterStrategy"], "FULL");
        let hours = waits.sum::<u64>() as f64 / 2.0 / 3_600.0;
        assert!((5.9..6.1).contains(&hours), "{hours}");
    }

    #[test]
    fn no_name_writes_states_of_its_own() {
        let function = r#"pay:x","End":true},"E":{"Type":"Pass","#;
        let text = definition(function);
        let read: serde_json::Value = serde_json::from_str(&text).unwrap();
        assert_eq!(read["States"]["Invoke"]["Resource"], function);
        assert_eq!(
            read["States"].as_object().map(serde_json::Map::len),
            Some(1)
        );
    }
}
