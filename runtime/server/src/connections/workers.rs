//! The threads that serve connections. A connection stays on the thread it was given to: threads that share their work
//! wake each other for it, which costs a lone client more than its request does.

use std::{io, thread};

use tokio::{
    net::{TcpListener, TcpStream},
    runtime,
    sync::{mpsc, oneshot},
};

use super::{Connections, table::Admitted};

/// See the module.
pub(crate) struct Workers {
    workers: Vec<Worker>,
    acceptor: Connections,
}

struct Worker {
    /// Holds no more than the table admits, and those that had to make room for others before they were served.
    connections: mpsc::Sender<(std::net::TcpStream, Admitted)>,
    /// Completes when its connections are closed.
    ended: oneshot::Receiver<()>,
}

impl Workers {
    /// Starts a thread a core.
    ///
    /// # Errors
    /// When the system has no room for a thread or its event queue.
    pub(crate) fn start(connections: Connections) -> io::Result<Workers> {
        let cores = thread::available_parallelism().map_or(1, usize::from);
        let most = connections.table.bounds().connections.div_ceil(cores);
        let workers = (0..cores)
            .map(|index| Worker::start(index, connections.beside(), most))
            .collect::<io::Result<_>>()?;
        Ok(Workers {
            workers,
            acceptor: connections,
        })
    }

    /// Accepts for ever, and gives each thread a connection in turn.
    pub(crate) async fn accept(&self, listener: &TcpListener) {
        let mut turns = self.workers.iter().cycle();
        let place = |stream: TcpStream, admitted| {
            // The event queue of the thread that serves it is another.
            match (stream.into_std(), turns.next()) {
                (Ok(stream), Some(worker)) => worker.take(stream, admitted),
                (Err(error), _) => tracing::warn!(%error, "a connection could not be handed on"),
                (Ok(_), None) => {}
            }
        };
        self.acceptor.accept(listener, place).await;
    }

    /// Lets requests in progress end, for as long as a shutdown may take.
    pub(crate) async fn close(self) {
        let mut ends = Vec::new();
        for worker in self.workers {
            drop(worker.connections);
            ends.push(worker.ended);
        }
        for ended in ends {
            // One that panicked has nothing left to close.
            let _ = ended.await;
        }
    }
}

impl Worker {
    /// Hands a connection on. One that finds the queue full, or the worker at its end, is closed.
    fn take(&self, stream: std::net::TcpStream, admitted: Admitted) {
        if let Err(mpsc::error::TrySendError::Full(_)) =
            self.connections.try_send((stream, admitted))
        {
            tracing::warn!("a connection is closed: too many wait to be served");
        }
    }

    /// For so many connections that wait to be served.
    fn start(index: usize, served: Connections, most: usize) -> io::Result<Worker> {
        let runtime = runtime::Builder::new_current_thread()
            .enable_all()
            .build()?;
        let (connections, mut placed) = mpsc::channel(most.max(1));
        let (end, ended) = oneshot::channel();
        let body = async move {
            while let Some((stream, admitted)) = placed.recv().await {
                match TcpStream::from_std(stream) {
                    Ok(stream) => served.open(stream, admitted),
                    Err(error) => tracing::warn!(%error, "a connection could not be taken up"),
                }
            }
            served.close().await;
            // Nobody waits when the server was cut off.
            let _ = end.send(());
        };
        thread::Builder::new()
            .name(format!("stepwell-http-{index}"))
            .spawn(move || runtime.block_on(body))?;
        Ok(Worker { connections, ended })
    }
}
