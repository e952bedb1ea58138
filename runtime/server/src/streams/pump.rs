//! Brings messages to a client that may be slow. Hides that a few wait for him, and that a stream does not last for ever.

use std::{
    future::Future,
    pin::pin,
    sync::{
        Arc,
        atomic::{
            AtomicBool,
            Ordering::{AcqRel, Release},
        },
    },
    time::Duration,
};

use bytes::Bytes;
use futures_util::{Stream, StreamExt, stream};
use tokio::{
    sync::mpsc::{self, error::SendTimeoutError},
    time::timeout,
};

use super::{
    Reason,
    message::{self, Message},
};
use crate::limits::{STREAM_MESSAGES_MAX, STREAM_SLOW_TIME_MAX};

/// See the module.
pub(super) struct Pump {
    /// When he has taken no message for so long.
    pub(super) slow_after: Duration,
    pub(super) over_after: Duration,
    /// After so long without a message he gets a comment.
    pub(super) silence: Duration,
}

impl Pump {
    /// The messages as the client gets them: to their end, or to the message that he is too slow.
    pub(super) fn start(
        self,
        messages: impl Stream<Item = Message> + Send + 'static,
        draining: impl Future<Output = ()> + Send + 'static,
    ) -> impl Stream<Item = Bytes> + Send {
        let (sender, receiver) = mpsc::channel(STREAM_MESSAGES_MAX);
        let slow = Arc::new(AtomicBool::new(false));
        let (told, silence) = (slow.clone(), self.silence);
        tokio::spawn(async move { self.pump(messages, draining, sender, &told).await });
        stream::unfold((receiver, slow), move |(mut receiver, slow)| async move {
            let text = match timeout(silence, receiver.recv()).await {
                Err(_) => message::comment("heartbeat", None),
                Ok(Some(message)) => message.text,
                Ok(None) if slow.swap(false, AcqRel) => too_slow(),
                Ok(None) => return None,
            };
            Some((text, (receiver, slow)))
        })
    }

    async fn pump(
        &self,
        messages: impl Stream<Item = Message> + Send,
        draining: impl Future<Output = ()> + Send,
        sender: mpsc::Sender<Message>,
        slow: &AtomicBool,
    ) {
        let mut messages = pin!(messages);
        let mut over = pin!(tokio::time::sleep(self.over_after));
        let mut draining = pin!(draining);
        loop {
            let message = tokio::select! {
                message = messages.next() => message,
                () = sender.closed() => None,
                () = &mut draining => None,
                () = &mut over => None,
            };
            let Some(message) = message else { return };
            match sender.send_timeout(message, self.slow_after).await {
                Ok(()) => {}
                Err(SendTimeoutError::Timeout(_)) => {
                    slow.store(true, Release);
                    return;
                }
                Err(SendTimeoutError::Closed(_)) => return,
            }
        }
    }
}

fn too_slow() -> Bytes {
    let seconds = STREAM_SLOW_TIME_MAX.as_secs();
    let reason = format!(
        "you took no message for {seconds} seconds: ask again with the id of the last one as Last-Event-ID"
    );
    message::last("dropped", &Reason { reason: &reason })
}
