//! The thread that sends: takes what is due out of the queues, sends it, and has the store forget what is done with. What it
//! hides: how long a webhook has been failing, and that many are sent to at once.

use std::{
    panic::AssertUnwindSafe,
    sync::{Arc, atomic::Ordering::Relaxed},
    time::{Duration, Instant},
};

use futures_util::FutureExt;
use stepwell_egress::Client;
use stepwell_engine::{Engine, Error, StatusEvent};
use tokio::{sync::watch, task::JoinSet, time::sleep};

use super::{
    Dropped, Open, Shared, event,
    queue::{Outcome, Sending},
    request::{self, Tried},
};
use crate::limits::{WEBHOOK_SETTLE_AGAIN, WEBHOOK_WARN_EVERY};

/// How long it rests when nothing is due: what is too old is looked for.
const REST: Duration = Duration::from_secs(60);

/// See the module.
pub(super) struct Sender {
    pub(super) shared: Arc<Shared>,
    pub(super) client: Client,
    pub(super) engine: watch::Receiver<Option<Engine>>,
    /// Becomes true when the server ends.
    pub(super) closing: watch::Receiver<bool>,
    pub(super) idle: watch::Sender<bool>,
}

/// What became of a webhook's event, and why it failed.
struct Sent {
    webhook: usize,
    sending: Sending,
    outcome: Outcome,
    failed: Option<String>,
}

/// What the log says of a webhook.
#[derive(Clone, Debug, Default)]
struct Said {
    failing: bool,
    /// When it last said that it fails.
    warned: Option<Instant>,
}

/// What a task of the thread did.
enum Did {
    Sent(Box<Sent>),
    /// The store forgot these, or did not.
    Settled(Vec<u64>, bool),
}

impl Sender {
    pub(super) async fn run(self) {
        let Sender {
            shared,
            client,
            engine: mut engines,
            mut closing,
            idle,
        } = self;
        // Without a sender the server has ended.
        if engines.wait_for(Option::is_some).await.is_err() {
            return;
        }
        let mut said = vec![Said::default(); shared.webhooks.len()];
        let mut tasks = JoinSet::new();
        let mut settling = false;
        loop {
            let engine = engines.borrow_and_update().clone();
            let Some(engine) = engine else {
                break;
            };
            let (sendings, due) = shared.next();
            for (webhook, sending) in sendings {
                let (shared, client) = (shared.clone(), client.clone());
                tasks.spawn(deliver(shared, client, engine.clone(), webhook, sending));
            }
            if !settling {
                let ids = shared.state().settled.take();
                settling = !ids.is_empty();
                if settling {
                    tasks.spawn(settle(engine.clone(), ids));
                }
            }
            drop(engine);
            let ends = *closing.borrow();
            if ends && tasks.is_empty() && shared.state().settled.is_empty() {
                break;
            }
            tokio::select! {
                did = tasks.join_next(), if !tasks.is_empty() => match did {
                    Some(Ok(Did::Sent(sent))) => shared.sent(*sent, &mut said),
                    Some(Ok(Did::Settled(ids, forgotten))) => {
                        settling = false;
                        if !forgotten {
                            shared.state().settled.give_back(ids);
                        }
                    }
                    // Those that send catch what they throw, so it was the one that forgets; the store keeps what it had, and
                    // sends it again at the next start.
                    Some(Err(error)) => {
                        tracing::error!(%error, "events that were delivered are not forgotten");
                        settling = false;
                    }
                    None => {}
                },
                () = shared.news.notified() => {}
                () = rest(&shared, due) => {}
                _ = closing.changed(), if !ends => {}
                _ = engines.changed() => {}
            }
        }
        idle.send_replace(true);
    }
}

/// Until something is due that waits in memory.
async fn rest(shared: &Shared, due: Option<u64>) {
    let now_ms = shared.now().steady_ms;
    let rest = due.map_or(REST, |due| {
        Duration::from_millis(due.saturating_sub(now_ms))
    });
    sleep(rest.min(REST)).await;
}

impl Shared {
    fn sent(&self, sent: Sent, said: &mut [Said]) {
        let Sent {
            webhook,
            sending,
            outcome,
            failed,
        } = sent;
        let now = self.now();
        let mut state = self.state();
        if let Some(queue) = state.queues.get_mut(webhook) {
            queue.done(&sending, outcome, now);
        }
        if outcome == Outcome::Settled {
            state.settled.add([sending.event.id]);
        }
        drop(state);
        if let (Some(open), Some(said)) = (self.webhooks.get(webhook), said.get_mut(webhook)) {
            said.note(open, failed);
        }
    }
}

impl Said {
    /// Says that a webhook fails, or no more. One that fails now and then is not told of each time.
    fn note(&mut self, open: &Open, failed: Option<String>) {
        let (webhook, origin) = (open.number, open.target.origin());
        let recent = |warned: Instant| warned.elapsed() < WEBHOOK_WARN_EVERY;
        match failed {
            Some(why) if !self.failing && !self.warned.is_some_and(recent) => {
                tracing::warn!(webhook, origin, "a webhook takes no events: {why}");
                self.failing = true;
                self.warned = Some(Instant::now());
            }
            None if self.failing => {
                tracing::info!(webhook, origin, "a webhook takes events again");
                self.failing = false;
            }
            Some(_) | None => {}
        }
    }
}

async fn settle(engine: Engine, ids: Vec<u64>) -> Did {
    let settled = engine.settle_status_events(&ids).await;
    if let Err(error) = &settled {
        tracing::error!(%error, "events of webhooks that are done with stay in the store; trying again");
        sleep(WEBHOOK_SETTLE_AGAIN).await;
    }
    Did::Settled(ids, settled.is_ok())
}

async fn deliver(
    shared: Arc<Shared>,
    client: Client,
    engine: Engine,
    webhook: usize,
    sending: Sending,
) -> Did {
    let trying = try_once(&shared, &client, &engine, webhook, &sending.event);
    let tried = AssertUnwindSafe(trying).catch_unwind().await;
    let (outcome, failed) = tried.unwrap_or_else(|_| {
        let why = "what makes it broke down; an earlier line of the log says where".to_owned();
        (Outcome::Failed, Some(why))
    });
    Did::Sent(Box::new(Sent {
        webhook,
        sending,
        outcome,
        failed,
    }))
}

async fn try_once(
    shared: &Shared,
    client: &Client,
    engine: &Engine,
    webhook: usize,
    event: &StatusEvent,
) -> (Outcome, Option<String>) {
    let Some(open) = shared.webhooks.get(webhook) else {
        return (Outcome::Unsent, None);
    };
    let change = match engine.status_change(event).await {
        Ok(change) => change,
        Err(error @ Error::Damaged(_)) => {
            tracing::error!(%error, "an event of a webhook cannot be told");
            shared.dropped(open, Dropped::Unreadable, 1);
            return (Outcome::Settled, None);
        }
        Err(error) => {
            tracing::error!(%error, "what an event of a webhook tells cannot be read; trying again");
            return (Outcome::Unsent, None);
        }
    };
    let body = event::body(event, &change);
    let id = event::id(&change.execution_arn, event.event);
    match request::send(client, &open.target, id, &body).await {
        Tried::Taken => {
            open.counts.delivered.fetch_add(1, Relaxed);
            (Outcome::Settled, None)
        }
        Tried::Refused(why) => {
            open.counts.failed_tries.fetch_add(1, Relaxed);
            shared.dropped(open, Dropped::Refused, 1);
            (Outcome::Settled, Some(why))
        }
        Tried::Busy(why) => {
            open.counts.failed_tries.fetch_add(1, Relaxed);
            (Outcome::Failed, Some(why))
        }
    }
}
