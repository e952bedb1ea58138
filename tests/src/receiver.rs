//! An HTTP server that keeps what it is sent: a collector of telemetry, a webhook's receiver. Hides sockets and threads.

use std::{
    collections::{BTreeMap, VecDeque},
    io::{BufRead, BufReader, Read, Write},
    net::{SocketAddr, TcpListener, TcpStream},
    sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError},
    thread,
    time::{Duration, Instant},
};

use anyhow::{Context, Result, bail};

/// How long something is waited for that must come.
const PATIENCE: Duration = Duration::from_secs(40);

/// A request.
#[derive(Clone, Debug, Default)]
pub struct Received {
    pub path: String,
    /// With names in lower case.
    pub headers: BTreeMap<String, String>,
    pub body: Vec<u8>,
    /// What it was answered with.
    pub status: u16,
}

/// Answers each request with the next status, when there is one, and with 200 else. Its threads end with the process.
#[derive(Clone, Debug)]
pub struct Receiver {
    pub address: SocketAddr,
    shared: Arc<Shared>,
}

#[derive(Debug, Default)]
struct Shared {
    state: Mutex<State>,
    news: Condvar,
}

#[derive(Debug, Default)]
struct State {
    received: Vec<Received>,
    statuses: VecDeque<u16>,
    /// Answers have a head, and a body that never comes.
    endless: bool,
    /// Requests whose bodies hold this text are answered with 500.
    poison: Option<String>,
}

impl Receiver {
    /// Listens on a free port; the first requests are answered with these statuses.
    ///
    /// # Errors
    /// When there is no port.
    pub fn start(statuses: &[u16]) -> Result<Receiver> {
        let any = SocketAddr::from(([127, 0, 0, 1], 0));
        let receiver = Receiver::start_at(any)?;
        receiver.shared.state().statuses.extend(statuses);
        Ok(receiver)
    }

    /// An address of which nobody listens at the moment.
    ///
    /// # Errors
    /// When there is no port.
    pub fn nobody() -> Result<SocketAddr> {
        Ok(TcpListener::bind("127.0.0.1:0")?.local_addr()?)
    }

    /// From now on the bodies of answers never end.
    pub fn never_ends(&self) {
        self.shared.state().endless = true;
    }

    /// From now on requests whose bodies hold this text are answered with 500.
    pub fn refuse(&self, poison: &str) {
        self.shared.state().poison = Some(poison.to_owned());
    }

    /// Listens at an address.
    ///
    /// # Errors
    /// When somebody else does.
    pub fn start_at(address: SocketAddr) -> Result<Receiver> {
        let listener = TcpListener::bind(address)?;
        let address = listener.local_addr()?;
        let shared = Arc::<Shared>::default();
        let receiver = Receiver {
            address,
            shared: shared.clone(),
        };
        thread::spawn(move || {
            for stream in listener.incoming().flatten() {
                let shared = shared.clone();
                // A client that breaks off has sent nothing.
                thread::spawn(move || drop(serve(&stream, &shared)));
            }
        });
        Ok(receiver)
    }

    /// All that came so far.
    pub fn all(&self) -> Vec<Received> {
        self.shared.state().received.clone()
    }

    /// Waits until what came holds what is looked for.
    ///
    /// # Errors
    /// When it does not come.
    pub fn wait<T>(&self, what: &str, mut find: impl FnMut(&[Received]) -> Option<T>) -> Result<T> {
        let until = Instant::now() + PATIENCE;
        let mut state = self.shared.state();
        loop {
            if let Some(found) = find(&state.received) {
                return Ok(found);
            }
            let Some(left) = until.checked_duration_since(Instant::now()) else {
                bail!("{what} did not come; {} requests did", state.received.len());
            };
            let waited = self.shared.news.wait_timeout(state, left);
            state = waited.unwrap_or_else(PoisonError::into_inner).0;
        }
    }
}

impl Shared {
    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

fn serve(stream: &TcpStream, shared: &Shared) -> Result<()> {
    let mut reader = BufReader::new(stream);
    let mut line = String::new();
    reader.read_line(&mut line)?;
    let path = line.split_whitespace().nth(1).context("a request line")?;
    let mut received = Received {
        path: path.to_owned(),
        ..Received::default()
    };
    loop {
        let mut line = String::new();
        reader.read_line(&mut line)?;
        let Some((name, value)) = line.trim_end().split_once(':') else {
            break;
        };
        let name = name.to_ascii_lowercase();
        received.headers.insert(name, value.trim().to_owned());
    }
    let length = received.headers.get("content-length");
    let length: usize = length.map_or(Ok(0), |length| length.parse())?;
    received.body = vec![0; length];
    reader.read_exact(&mut received.body)?;
    let (status, endless) = {
        let mut state = shared.state();
        let body = String::from_utf8_lossy(&received.body);
        let poison = state.poison.as_deref();
        received.status = match poison.is_some_and(|poison| body.contains(poison)) {
            true => 500,
            false => state.statuses.pop_front().unwrap_or(200),
        };
        let status = received.status;
        state.received.push(received);
        (status, state.endless)
    };
    shared.news.notify_all();
    let mut stream = stream;
    if endless {
        write!(
            stream,
            "HTTP/1.1 {status} S\r\nContent-Length: 10\r\n\r\nbegun"
        )?;
        // Until the client goes.
        reader.read_to_end(&mut Vec::new())?;
        return Ok(());
    }
    write!(
        stream,
        "HTTP/1.1 {status} S\r\nContent-Length: 0\r\nConnection: close\r\n\r\n"
    )?;
    Ok(())
}
