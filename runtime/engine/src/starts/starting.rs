//! An execution about to start, and what is stored and known of it from its start on. Hides which of it comes from the state
//! machine.

use std::sync::Arc;

use stepwell_interp::{Start, Timestamp};
use stepwell_query::Value;

use super::fork::Forking;
use crate::{
    api::Caller,
    arn::MachineArn,
    journal::ExecutionId,
    quotas::START_EXPRESS,
    record::{InLine, Meta, Parent},
    shard::Info,
    startable::{Qualified, Startable},
};

/// An execution about to start.
pub(super) struct Starting {
    pub(super) machine: MachineArn,
    pub(super) startable: Arc<Startable>,
    pub(super) alias: Option<Qualified>,
    pub(super) name: Arc<str>,
    pub(super) input: Value,
    pub(super) trace_header: Option<Arc<str>>,
    pub(super) parent: Option<Parent>,
    pub(super) at: Timestamp,
    pub(super) id: ExecutionId,
    /// Where it waits for a place.
    pub(super) line: Option<InLine>,
    /// It goes on from another one.
    pub(super) fork: Option<Box<Forking>>,
}

impl Starting {
    pub(super) fn version_arn(&self) -> Option<Arc<str>> {
        let version = self.startable.version.as_ref();
        version.map(|version| version.arn.clone())
    }

    pub(super) fn info(&self, caller: &Caller, execution_arn: &Arc<str>) -> Info {
        let startable = &self.startable;
        Info {
            tenant: caller.tenant.clone(),
            execution_arn: execution_arn.clone(),
            machine_arn: startable.arn.clone(),
            trace_header: self.trace_header.clone(),
            parent: self.parent,
            definition: startable.definition.as_str().into(),
            revision_id: startable.revision_id.clone(),
            revised_ms: startable.revised_ms,
            logging: startable.logging.clone(),
            line: self.line.clone(),
            traced: startable.traced,
        }
    }

    /// Whether that execution of its name was begun by the same call.
    pub(super) fn is_again(&self, known: &Start) -> bool {
        match (&self.fork, &known.forked_from) {
            (None, None) => known.input == self.input,
            (Some(fork), Some(from)) => fork.is_again(from),
            (Some(_), None) | (None, Some(_)) => false,
        }
    }

    /// The operation that its start counts as.
    pub(super) fn operation(&self) -> &'static str {
        match self.startable.express {
            true => START_EXPRESS,
            false => "StartExecution",
        }
    }

    pub(super) fn alias_arn(&self) -> Option<Arc<str>> {
        self.alias.as_ref().map(|alias| alias.arn.clone())
    }

    pub(super) fn meta(&self, caller: &Caller, express_run: Option<Arc<str>>) -> Meta {
        let startable = &self.startable;
        Meta {
            tenant: caller.tenant.clone(),
            machine_arn: startable.arn.clone(),
            definition: startable.definition.clone(),
            express_run,
            version_arn: self.version_arn(),
            alias_arn: self.alias_arn(),
            revision_id: startable.revision_id.clone(),
            revised_ms: startable.revised_ms,
            trace_header: self.trace_header.clone(),
            parent: self.parent,
            map_run: None,
            logging: startable.logging.clone(),
            traced: startable.traced,
            items: 0,
            line: self.line.clone(),
        }
    }
}
