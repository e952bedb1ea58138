//! Events of executions' status to webhooks: CloudEvents with what EventBridge's events of Step Functions say, signed.
//! What it hides: the queue of each webhook, and the thread that sends.
//!
//! The engine keeps what waits (`stepwell_engine::Outbox`): an event is durable with the change that it tells of, and is
//! forgotten when a receiver took it, refused it, or was away for too long. In memory is which events wait; what they say is
//! read when they are sent. Executions never wait for a receiver.

mod config;
mod event;
mod queue;
#[cfg(test)]
mod queue_tests;
mod request;
mod sender;
mod settled;

use std::{
    collections::BTreeSet,
    fmt, io,
    sync::{
        Arc, Mutex, MutexGuard, PoisonError,
        atomic::{AtomicU64, Ordering::Relaxed},
    },
    time::{Duration, Instant, SystemTime, UNIX_EPOCH},
};

use stepwell_egress::{Client, Connector};
use stepwell_engine::{Engine, Outbox, Status, StatusEvent};
use tokio::{
    sync::{Notify, watch},
    time::timeout,
};

use super::{labelled, runtime};
use crate::{
    limits::{
        SENDING_CONNECT_MAX, SENDING_TIME_MAX, WEBHOOK_AGE_MAX, WEBHOOK_WAITING_ALL_MAX,
        WEBHOOK_WAITING_MAX, WEBHOOK_WAITING_MIN, WEBHOOK_WARN_EVERY,
    },
    metrics::{Sample, SampleKind},
};

use config::Target;
use queue::{Now, Queue, Sending};
use settled::Settled;

pub use config::{WebhookConfig, WebhookError};

/// See the module.
pub struct Webhooks {
    shared: Arc<Shared>,
    engine: watch::Sender<Option<Engine>>,
    closing: watch::Sender<bool>,
    /// Becomes true when the thread has nothing more to do.
    idle: watch::Receiver<bool>,
}

impl fmt::Debug for Webhooks {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Webhooks")
    }
}

/// What the engine's threads, the sending thread and `/metrics` share.
struct Shared {
    webhooks: Vec<Open>,
    state: Mutex<State>,
    /// Something waits, or is done with.
    news: Notify,
    began: Instant,
}

/// A webhook that is served.
struct Open {
    /// In the file, from 1: what tells it from others at the same host, as its path may hold a token.
    number: usize,
    target: Target,
    /// The name of its queue.
    queue: Arc<str>,
    counts: Counts,
}

/// What is counted of a webhook.
#[derive(Debug, Default)]
struct Counts {
    delivered: AtomicU64,
    failed_tries: AtomicU64,
    dropped: [AtomicU64; Dropped::ALL.len()],
    /// When the log last said that events are dropped, in seconds since the beginning; 0 for never.
    warned_s: AtomicU64,
}

/// Why an event is given up.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Dropped {
    /// Too many waited.
    Full,
    Refused,
    /// It waited too long.
    Old,
    /// What it is to say cannot be read.
    Unreadable,
}

impl Dropped {
    const ALL: [Dropped; 4] = [
        Dropped::Full,
        Dropped::Refused,
        Dropped::Old,
        Dropped::Unreadable,
    ];

    fn name(self) -> &'static str {
        match self {
            Dropped::Full => "full",
            Dropped::Refused => "refused",
            Dropped::Old => "old",
            Dropped::Unreadable => "unreadable",
        }
    }
}

#[derive(Default)]
struct State {
    /// In the order of the webhooks.
    queues: Vec<Queue>,
    /// Events for webhooks that the file does not have any more, with their times. They wait for it to have them again, as
    /// long as events do.
    strangers: BTreeSet<(u64, u64)>,
    settled: Settled,
}

impl Webhooks {
    /// Begins to serve them; the receivers need not be there. They wait for the engine.
    ///
    /// # Errors
    /// When one of them is wrong, and when no thread can be started.
    pub fn start(config: WebhookConfig) -> Result<Webhooks, WebhookError> {
        let targets = config.targets()?;
        let connector =
            Connector::new().map_err(|error| WebhookError::Start(io::Error::other(error)))?;
        let client = Client::new(connector, SENDING_CONNECT_MAX);
        let shared = Arc::new(Shared::new(targets));
        let engine = watch::Sender::new(None);
        let closing = watch::Sender::new(false);
        let (idle_sender, idle) = watch::channel(false);
        let sender = sender::Sender {
            shared: shared.clone(),
            client,
            engine: engine.subscribe(),
            closing: closing.subscribe(),
            idle: idle_sender,
        };
        runtime::start("stepwell-webhook", move || sender.run()).map_err(WebhookError::Start)?;
        Ok(Webhooks {
            shared,
            engine,
            closing,
            idle,
        })
    }

    /// Tells where the executions are that events tell of.
    pub fn attach(&self, engine: Engine) {
        self.engine.send_replace(Some(engine));
    }

    /// Sends what can be sent, but not for long. What is left is sent after the next start.
    pub async fn close(&self) {
        self.closing.send_replace(true);
        let mut idle = self.idle.clone();
        let ended = idle.wait_for(|idle| *idle);
        let in_time = timeout(SENDING_TIME_MAX, ended).await.is_ok();
        let left: usize = self.shared.state().queues.iter().map(Queue::len).sum();
        if left > 0 || !in_time {
            tracing::info!(
                events = left,
                "events wait for webhooks; the next start sends them"
            );
        }
        // The engine, which tells this outbox, is to be let go of.
        self.engine.send_replace(None);
    }

    /// Their counts, by number and origin.
    pub fn samples(&self) -> Vec<Sample> {
        self.shared.samples()
    }
}

impl Outbox for Webhooks {
    fn queues(&self, tenant: &str, status: Status) -> Vec<Arc<str>> {
        self.shared.queues(tenant, status)
    }

    fn put(&self, event: StatusEvent) {
        self.shared.put(event);
    }

    fn keep(&self, partitions: &BTreeSet<u16>) {
        let mut state = self.shared.state();
        for queue in &mut state.queues {
            queue.keep(partitions);
        }
    }

    fn hold(&self, execution: u64) {
        let mut state = self.shared.state();
        for queue in &mut state.queues {
            queue.hold(execution);
        }
    }

    fn release(&self, execution: u64) {
        let mut state = self.shared.state();
        for queue in &mut state.queues {
            queue.release(execution);
        }
        drop(state);
        self.shared.news.notify_one();
    }
}

impl Shared {
    fn new(targets: Vec<Target>) -> Shared {
        let webhooks: Vec<Open> = targets
            .into_iter()
            .zip(1..)
            .map(|(target, number)| Open {
                number,
                queue: target.queue.as_str().into(),
                target,
                counts: Counts::default(),
            })
            .collect();
        let state = State {
            queues: webhooks.iter().map(|_| Queue::default()).collect(),
            ..State::default()
        };
        Shared {
            webhooks,
            state: Mutex::new(state),
            news: Notify::new(),
            began: Instant::now(),
        }
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn now(&self) -> Now {
        let since = SystemTime::now().duration_since(UNIX_EPOCH);
        let ms = |time: Duration| u64::try_from(time.as_millis()).unwrap_or(u64::MAX);
        Now {
            steady_ms: ms(self.began.elapsed()),
            wall_ms: ms(since.unwrap_or_default()),
        }
    }

    fn queues(&self, tenant: &str, status: Status) -> Vec<Arc<str>> {
        let wanting = self.webhooks.iter();
        let mut wanting = wanting
            .filter(|open| open.target.wants(tenant, status))
            .peekable();
        if wanting.peek().is_none() {
            return Vec::new();
        }
        let has_room = self.state().has_room(tenant);
        let mut queues = Vec::new();
        for open in wanting {
            match has_room {
                true => queues.push(open.queue.clone()),
                false => self.dropped(open, Dropped::Full, 1),
            }
        }
        queues
    }

    fn put(&self, event: StatusEvent) {
        let mut state = self.state();
        if state.settled.has(event.id) {
            return;
        }
        let number = self
            .webhooks
            .iter()
            .position(|open| open.queue == event.queue);
        match number.and_then(|number| state.queues.get_mut(number)) {
            Some(queue) => queue.put(event),
            None => drop(state.strangers.insert((event.at.0, event.id))),
        }
        drop(state);
        self.news.notify_one();
    }

    /// What is to be sent now, and when there is more. What is too old is given up.
    fn next(&self) -> (Vec<(usize, Sending)>, Option<u64>) {
        let now = self.now();
        let (mut sendings, mut due, mut all_expired) = (Vec::new(), None, Vec::new());
        let mut state = self.state();
        for (number, queue) in state.queues.iter_mut().enumerate() {
            let mut expired = Vec::new();
            loop {
                match queue.next(now, &mut expired) {
                    Ok(sending) => sendings.push((number, sending)),
                    Err(later) => {
                        due = due.into_iter().chain(later).min();
                        break;
                    }
                }
            }
            all_expired.push(expired);
        }
        let strangers = state.expired_strangers(now);
        let expired = all_expired.iter().flatten().map(|event| event.id);
        let gone: Vec<u64> = expired.chain(strangers.iter().copied()).collect();
        state.settled.add(gone);
        drop(state);
        for (open, expired) in self.webhooks.iter().zip(&all_expired) {
            if !expired.is_empty() {
                self.dropped(open, Dropped::Old, expired.len() as u64);
            }
        }
        if !strangers.is_empty() {
            tracing::warn!(
                events = strangers.len(),
                "events are dropped that waited for webhooks which the file does not have any more"
            );
        }
        (sendings, due)
    }

    /// Events of a webhook are given up; the log says so now and then.
    fn dropped(&self, open: &Open, why: Dropped, events: u64) {
        let counts = &open.counts;
        let counted = Dropped::ALL.iter().zip(&counts.dropped);
        for (_, count) in counted.filter(|(reason, _)| **reason == why) {
            count.fetch_add(events, Relaxed);
        }
        let now_s = self.began.elapsed().as_secs() + 1;
        let warned = counts.warned_s.load(Relaxed);
        let silent = warned == 0 || now_s >= warned + WEBHOOK_WARN_EVERY.as_secs();
        if silent
            && counts
                .warned_s
                .compare_exchange(warned, now_s, Relaxed, Relaxed)
                .is_ok()
        {
            tracing::warn!(
                webhook = open.number,
                origin = open.target.origin(),
                reason = why.name(),
                "events for a webhook are dropped: stepwell_webhook_dropped_total counts them"
            );
        }
    }

    fn samples(&self) -> Vec<Sample> {
        let state = self.state();
        let depths: Vec<u64> = state
            .queues
            .iter()
            .map(|queue| queue.len() as u64)
            .collect();
        let oldest: Vec<Option<u64>> = state.queues.iter().map(Queue::oldest_ms).collect();
        drop(state);
        let now_ms = self.now().wall_ms;
        let age_s =
            |oldest: &Option<u64>| oldest.map_or(0, |oldest| now_ms.saturating_sub(oldest) / 1_000);
        let ages: Vec<u64> = oldest.iter().map(age_s).collect();
        let mut samples = Vec::new();
        let mut add = |kind, name, help, value: &dyn Fn(usize, &Counts) -> u64| {
            for (index, open) in self.webhooks.iter().enumerate() {
                let value = value(index, &open.counts);
                samples.push(open.sample((kind, name, help), None, value));
            }
        };
        let counter = SampleKind::Counter;
        let help = "Events that a webhook took";
        add(counter, "webhook_delivered", help, &|_, counts| {
            counts.delivered.load(Relaxed)
        });
        let help = "Requests to a webhook that failed, each try";
        add(counter, "webhook_requests_failed", help, &|_, counts| {
            counts.failed_tries.load(Relaxed)
        });
        let help = "Events that wait for a webhook";
        add(
            SampleKind::Gauge,
            "webhook_queue_depth",
            help,
            &|index, _| depths.get(index).copied().unwrap_or(0),
        );
        let help = "Age of the oldest event that waits for a webhook";
        add(
            SampleKind::Gauge,
            "webhook_queue_oldest_seconds",
            help,
            &|index, _| ages.get(index).copied().unwrap_or(0),
        );
        let told = (
            counter,
            "webhook_dropped",
            "Events that were given up, by why: no room, refused, too old, unreadable",
        );
        for open in &self.webhooks {
            for (why, count) in Dropped::ALL.iter().zip(&open.counts.dropped) {
                let value = count.load(Relaxed);
                samples.push(open.sample(told, Some(why.name()), value));
            }
        }
        samples
    }
}

impl Open {
    fn sample(
        &self,
        (kind, name, help): (SampleKind, &str, &str),
        reason: Option<&str>,
        value: u64,
    ) -> Sample {
        let (number, origin) = (self.number.to_string(), self.target.origin());
        let mut labels = vec![("webhook", number.as_str()), ("origin", origin.as_str())];
        labels.extend(reason.map(|reason| ("reason", reason)));
        labelled(kind, name, help, &labels, value)
    }
}

impl State {
    /// Whether one more event of that tenant may wait.
    fn has_room(&self, tenant: &str) -> bool {
        let own: usize = self.queues.iter().map(|queue| queue.len_of(tenant)).sum();
        let all: usize = self.queues.iter().map(Queue::len).sum();
        let crowded = all + self.strangers.len() >= WEBHOOK_WAITING_ALL_MAX;
        own < WEBHOOK_WAITING_MAX && (!crowded || own < WEBHOOK_WAITING_MIN)
    }

    /// Takes out the events without a webhook that are too old.
    fn expired_strangers(&mut self, now: Now) -> Vec<u64> {
        let age = u64::try_from(WEBHOOK_AGE_MAX.as_millis()).unwrap_or(u64::MAX);
        let from = (now.wall_ms.saturating_sub(age), 0);
        if self.strangers.first().is_none_or(|first| *first >= from) {
            return Vec::new();
        }
        let young = self.strangers.split_off(&from);
        let old = std::mem::replace(&mut self.strangers, young);
        old.into_iter().map(|(_, id)| id).collect()
    }
}

#[cfg(test)]
mod tests {
    use stepwell_interp::Timestamp;

    use super::*;

    fn config(text: &str) -> Vec<Target> {
        let config: WebhookConfig = serde_json::from_str(text).expect("it is JSON");
        config.targets().expect("they are webhooks")
    }

    fn event(tenant: &str, queue: &Arc<str>, id: u64) -> StatusEvent {
        StatusEvent {
            id,
            queue: queue.clone(),
            tenant: tenant.into(),
            execution: id,
            partition: 0,
            event: 1,
            status: Status::Running,
            at: Timestamp(u64::MAX / 2),
            redrives: 0,
            redriven_at: None,
        }
    }

    const ONE: &str = r#"{"webhook":[{"url":"https://one.example/","secret":"0123456789abcdef"}]}"#;

    fn dropped(shared: &Shared, why: Dropped) -> u64 {
        let counts = shared.webhooks[0].counts.dropped.iter();
        let mut own = Dropped::ALL.iter().zip(counts);
        own.find(|(reason, _)| **reason == why)
            .map_or(0, |(_, count)| count.load(Relaxed))
    }

    #[test]
    fn what_waits_is_bounded_by_account_and_nobody_is_kept_out() {
        let shared = Shared::new(config(ONE));
        let queue = shared.webhooks[0].queue.clone();
        let mut id = 0;
        let mut fill = |tenant: &str, many: usize| {
            for _ in 0..many {
                id += 1;
                shared.put(event(tenant, &queue, id));
            }
        };
        let may = |tenant: &str| !shared.queues(tenant, Status::Running).is_empty();
        fill("a", WEBHOOK_WAITING_MAX);
        assert!(!may("a") && may("b"));
        assert_eq!(dropped(&shared, Dropped::Full), 1);
        for tenant in ["b", "c", "d", "e"] {
            fill(tenant, WEBHOOK_WAITING_MAX);
        }
        assert!(may("f"), "it has none");
        fill("f", WEBHOOK_WAITING_MIN);
        assert!(!may("f"));
        assert_eq!(dropped(&shared, Dropped::Full), 2);
    }

    #[test]
    fn events_of_a_webhook_that_left_the_file_wait_and_grow_too_old() {
        let shared = Shared::new(config(ONE));
        let stranger: Arc<str> = "another".into();
        let now = shared.now().wall_ms;
        let day = u64::try_from(WEBHOOK_AGE_MAX.as_millis()).unwrap();
        for (id, at) in [(1, now - day - 1_000), (2, now)] {
            shared.put(StatusEvent {
                at: Timestamp(at),
                ..event("a", &stranger, id)
            });
        }
        let (sendings, _) = shared.next();
        assert_eq!(sendings, []);
        let mut state = shared.state();
        assert_eq!(state.settled.take(), [1]);
        assert_eq!(state.strangers.len(), 1);
        drop(state);
        // It is not put again by a read that was under way.
        shared.put(event("a", &stranger, 1));
        assert_eq!(shared.state().strangers.len(), 1);
    }
}
