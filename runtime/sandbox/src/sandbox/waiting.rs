//! What a call waits for before its guest runs: its plugin, a place, an instance, its secrets. Hides how it is told of that, and
//! what it is refused for.

use super::{Inner, STOPPING};
use crate::call::{TaskCall, Waits, limits_of, run, unstarted};
use crate::limits;
use crate::manifest::Limits;
use crate::origin::{Limit, Origins};
use crate::outcome::{Outcome, TaskEnd};
use crate::registry::{Loaded, Noted, Refusal};
use crate::secret::Had;
use crate::slots::{Slot, Taken, Waiting};
use crate::turns::Pace;
use std::collections::BTreeSet;
use std::future::poll_fn;
use std::sync::Arc;
use std::time::Instant;

impl Inner {
    /// Runs it, and counts its end.
    pub(super) async fn call(&self, call: &mut TaskCall, pace: &Pace) -> TaskEnd {
        let end = self.attempt(call, pace).await;
        self.ends.count(&end);
        end
    }

    /// What an attempt may have to wait for is boxed, and only when it has to: there may be very many that wait, and most do
    /// not.
    async fn attempt(&self, call: &mut TaskCall, pace: &Pace) -> TaskEnd {
        let called = pace.called;
        let bytes = call.input.len() as u64;
        let ready = self.ready_plugin(call, called);
        // One that is not in memory may have to be looked for in the plugin folder.
        let is_slow = |plugin: &Arc<Loaded>| !plugin.habit.is_quick();
        if pace.is_here() && ready.as_ref().is_none_or(is_slow) {
            pace.leave().await;
        }
        let plugin = match ready {
            Some(plugin) => plugin,
            None => match Box::pin(self.plugin(call, called)).await {
                Ok(plugin) => plugin,
                Err(outcome) => return unstarted(outcome, None, bytes, called.elapsed()),
            },
        };
        let refuse = |outcome| unstarted(outcome, Some(&plugin), bytes, called.elapsed());
        let limits = limits_of(&plugin, call);
        if bytes > limits.input_bytes {
            let mut end = refuse(Outcome::InputTooLarge {
                bytes,
                limit: limits.input_bytes,
            });
            end.setting = Origins::new(&plugin, &limits, call).of_outcome(&end.outcome);
            return end;
        }
        let Some(_place) = plugin.enter() else {
            let name = &plugin.stamp.name;
            let setting = Origins::new(&plugin, &limits, call).setting(Limit::Concurrency);
            let cause =
                format!("plugin `{name}` runs as often at once as it may; {setting} raises that");
            return refuse(Outcome::TooManyRunning { cause });
        };
        if plugin.habit.lasts() {
            pace.expect_long();
            self.ends.expect_long();
            // Goes on at a thread of the long ones.
            tokio::task::yield_now().await;
        }
        let slot = match self
            .slots
            .take((&pace.tenant, pace.weight), limits::QUEUE_MAX)
        {
            Ok(Taken::Now(slot)) => Ok(slot),
            Ok(Taken::Later(waiting)) => Box::pin(slot(waiting, call, pace)).await,
            Err(waiting) => Err(Outcome::TooManyRunning {
                cause: format!("{waiting} calls wait for an instance already; try again later"),
            }),
        };
        let _slot = match slot {
            Ok(slot) => slot,
            Err(outcome) => return refuse(outcome),
        };
        let secrets = match plugin.granted.secret_names() {
            names if names.is_empty() => Had::default(),
            names => match Box::pin(self.secrets(names, call)).await {
                Ok(secrets) => secrets,
                Err(cause) => return refuse(Outcome::HostFault { cause }),
            },
        };
        self.run(&plugin, &limits, secrets, call, pace).await
    }

    /// Runs the guest, and notes for the plugin's next calls what it was.
    async fn run(
        &self,
        plugin: &Arc<Loaded>,
        limits: &Limits,
        secrets: Had,
        call: &mut TaskCall,
        pace: &Pace,
    ) -> TaskEnd {
        let noted = Noted::new(plugin, pace);
        let mut guest = Box::pin(run(plugin, limits, &self.services, secrets, call, pace));
        let end = poll_fn(|cx| {
            let polled = guest.as_mut().poll(cx);
            if polled.is_pending() {
                plugin.habit.note_turn(pace);
            }
            polled
        })
        .await;
        noted.ended(&end.outcome);
        end
    }

    /// The secrets of these names, as they are now.
    async fn secrets(&self, names: BTreeSet<&str>, call: &TaskCall) -> Result<Had, String> {
        let operators = self.services.secrets.as_ref();
        Had::gather(names, &call.tenant, operators, call.secrets.as_ref()).await
    }

    /// The plugin that the call names, if it is in memory.
    fn ready_plugin(&self, call: &TaskCall, called: Instant) -> Option<Arc<Loaded>> {
        let (tenant, name, version) = (&call.tenant, &call.plugin, call.version.as_deref());
        match &call.upload {
            Some(upload) => self.registry.ready_upload(tenant, name, upload),
            None => self.registry.ready(tenant, name, version, called),
        }
    }

    /// The plugin that the call names; waits while it is compiled, but no longer than the call may.
    async fn plugin(&self, call: &TaskCall, called: Instant) -> Result<Arc<Loaded>, Outcome> {
        let resolved = async {
            let (tenant, name) = (&call.tenant, &call.plugin);
            match &call.upload {
                Some(upload) => {
                    let loaded = self.registry.uploaded(tenant, name, upload).await;
                    loaded.map_err(|why| Refusal::Broken(format!("plugin `{name}`: {why}")))
                }
                None => {
                    let version = call.version.as_deref();
                    self.registry.resolve(tenant, name, version, called).await
                }
            }
        };
        let cancelled = async {
            match &call.cancel {
                Some(cancel) => cancel.cancelled().await,
                None => std::future::pending().await,
            }
        };
        let late = async {
            match call.deadline {
                Some(deadline) => tokio::time::sleep_until((called + deadline).into()).await,
                None => std::future::pending().await,
            }
        };
        let told = async {
            match &call.waits {
                Some(tell) => self.tell_waits(call, tell).await,
                None => std::future::pending().await,
            }
        };
        tokio::select! {
            biased;
            resolved = resolved => resolved.map_err(|refusal| match refusal {
                Refusal::Missing(cause) => Outcome::PluginMissing { cause },
                Refusal::Broken(cause) => Outcome::PluginBroken { cause },
            }),
            () = cancelled => Err(Outcome::Cancelled),
            () = late => Err(Outcome::NotReady { cause: self.waits_for(call) }),
            () = told => Err(Outcome::Cancelled),
        }
    }

    fn waits_for(&self, call: &TaskCall) -> String {
        let upload = call.upload.as_ref();
        self.registry.waits_for(&call.tenant, &call.plugin, upload)
    }

    /// Tells what a call waits for whenever that changes; ends when the sandbox does.
    async fn tell_waits(&self, call: &TaskCall, tell: &Waits) {
        let mut moves = self.registry.loader().moves();
        let mut told = self.waits_for(call);
        tell.tell(&told);
        while moves.changed().await.is_ok() {
            let why = self.waits_for(call);
            if why != told {
                tell.tell(&why);
                told = why;
                // Thousands may wait, and each plugin that is compiled moves them all.
                tokio::time::sleep(limits::WAITS_TOLD_EVERY).await;
            }
        }
    }
}

/// Waits for an instance.
async fn slot(waiting: Waiting, call: &TaskCall, pace: &Pace) -> Result<Slot, Outcome> {
    let slot = match call.deadline {
        None => waiting.slot().await,
        Some(deadline) => {
            let due = (pace.called + deadline).into();
            match tokio::time::timeout_at(due, waiting.slot()).await {
                Ok(slot) => slot,
                Err(_) => return Err(Outcome::TimedOut { wall: deadline }),
            }
        }
    };
    slot.ok_or_else(|| Outcome::HostFault {
        cause: STOPPING.into(),
    })
}
