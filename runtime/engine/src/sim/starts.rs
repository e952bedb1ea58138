//! Executions that a test starts.

use std::sync::Arc;

use stepwell_interp::{Fork, Input, Start};
use tokio::sync::oneshot;

use super::{Seen, World, now};
use crate::{
    dispatch::hex,
    journal::{ExecutionId, NewExecution, Partition, ScopeId},
    programs::Programs,
    record::{self, InLine, Meta, Parent},
    shard::{Begin, In, Info, Mode, StartReply},
};

impl World {
    /// Asks a node for an execution of this definition. Its machine's list is `scope`.
    pub fn start(
        &mut self,
        node: usize,
        definition: &str,
        start: Start,
    ) -> Result<ExecutionId, String> {
        self.start_in(node, definition, start, None)
    }

    /// The same in a line.
    pub(super) fn start_in(
        &mut self,
        node: usize,
        definition: &str,
        start: Start,
        line: Option<InLine>,
    ) -> Result<ExecutionId, String> {
        let first = Input::Started(Box::new(start.clone()));
        self.begin(node, definition, start, first, line)
    }

    /// Asks a node for an execution of this definition that goes on from another one.
    pub fn fork(
        &mut self,
        node: usize,
        definition: &str,
        fork: Fork,
    ) -> Result<ExecutionId, String> {
        let start = fork.start.clone();
        self.begin(node, definition, start, Input::Forked(Arc::new(fork)), None)
    }

    fn begin(
        &mut self,
        node: usize,
        definition: &str,
        start: Start,
        first: Input,
        line: Option<InLine>,
    ) -> Result<ExecutionId, String> {
        let program = stepwell_asl::load_stored(definition).map_err(|error| error.to_string())?;
        let (hash, blob) = Programs::store(definition);
        let journal = self.journal()?;
        for verdict in now(journal.commit(vec![blob])) {
            verdict.map_err(|refused| refused.to_string())?;
        }
        let partition = self.nodes[node]
            .partition(self.counter)
            .ok_or("the node holds no partition")?;
        let id = self.next_id(partition);
        let meta = Meta {
            express_run: start.express.then(|| "run".into()),
            line,
            ..meta(&hash, start.machine_arn.clone(), None)
        };
        let (reply, started) = oneshot::channel();
        let info = Arc::new(info(&meta, &start));
        self.started.insert(id, start.execution_arn.clone());
        let begin = Begin {
            id,
            info,
            program: Arc::new(program),
            new: NewExecution {
                scope: ScopeId(1),
                version: None,
                alias: None,
                name: start.execution_name.clone(),
                unique_name: !start.express,
                started_at: self.now(),
                meta: record::encode(&meta),
            },
            mode: mode(&start),
            first,
            reply: StartReply::Started(reply, None),
        };
        self.starts.push((id, started));
        self.hand(node, In::Start(Box::new(begin)));
        Ok(id)
    }

    pub(super) fn next_id(&mut self, partition: Partition) -> ExecutionId {
        self.counter = self.counter.wrapping_add(1);
        ExecutionId::new(self.now().0, self.counter, partition)
    }

    pub(super) fn collect_starts(&mut self) {
        let mut waiting = Vec::new();
        for (id, mut reply) in std::mem::take(&mut self.starts) {
            match reply.try_recv() {
                Ok(Ok(())) => self.seen.push(Seen::Started(id)),
                // Refused, or its node is gone: it may be in the store all the same.
                Ok(Err(_)) | Err(oneshot::error::TryRecvError::Closed) => {}
                Err(oneshot::error::TryRecvError::Empty) => waiting.push((id, reply)),
            }
        }
        self.starts.extend(waiting);
    }
}

/// What a row has of an execution that nothing else is said of.
pub(super) fn meta(hash: &[u8; 32], machine_arn: Arc<str>, parent: Option<Parent>) -> Meta {
    Meta {
        tenant: "000000000000".into(),
        machine_arn,
        definition: hex(hash),
        express_run: None,
        version_arn: None,
        alias_arn: None,
        revision_id: None,
        revised_ms: 0,
        trace_header: None,
        parent,
        map_run: None,
        logging: None,
        traced: false,
        items: 0,
        line: None,
    }
}

fn info(meta: &Meta, start: &Start) -> Info {
    Info {
        tenant: meta.tenant.clone(),
        execution_arn: start.execution_arn.clone(),
        machine_arn: start.machine_arn.clone(),
        trace_header: None,
        parent: None,
        definition: meta.definition.as_str().into(),
        revision_id: None,
        revised_ms: 0,
        logging: None,
        line: meta.line.clone(),
        traced: false,
    }
}

fn mode(start: &Start) -> Mode {
    if start.express {
        Mode::ExpressAsync
    } else {
        Mode::Durable
    }
}
