//! The program `stepwell` as a process: served, killed, asked over its API. Hides where it is built, how it says its
//! address, and HTTP.

use std::{
    fs::{File, OpenOptions},
    io::{BufRead, BufReader, Read, Write},
    net::{SocketAddr, TcpStream},
    path::{Path, PathBuf},
    process::{Child, Command, Stdio},
    time::{Duration, Instant},
};

use anyhow::{Context, Result, anyhow, bail};
use serde_json::Value;

/// How long a started server may take until it is healthy.
const START_MAX: Duration = Duration::from_secs(30);
/// How long a server that was told to stop may take.
const STOP_MAX: Duration = Duration::from_secs(30);
/// How long an answer may take: longer than the 60 s of a long poll.
const ANSWER_MAX: Duration = Duration::from_secs(75);
/// Between two looks at something that is waited for.
const LOOK: Duration = Duration::from_millis(20);

/// The account that a server without accounts serves.
pub const ACCOUNT: &str = "000000000000";
/// What every state machine of the tests is created with.
pub const ROLE: &str = "arn:aws:iam::000000000000:role/tests";

/// The workspace's root.
pub fn root() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR"))
        .parent()
        .expect("the tests lie in the workspace")
        .to_owned()
}

/// The built program.
///
/// # Errors
/// One line that names the command that builds it.
pub fn program() -> Result<PathBuf> {
    let path = root()
        .join("target/debug")
        .join(format!("stepwell{}", std::env::consts::EXE_SUFFIX));
    built(path, "cargo build -p stepwell")
}

/// A built test guest: `behave`, `command`, ….
///
/// # Errors
/// One line that names the command that builds it.
pub fn guest(name: &str) -> Result<PathBuf> {
    let path = root().join("target/guests").join(format!("{name}.wasm"));
    built(path, "cargo xtask guests")
}

/// The folder with the built plugins of an example.
///
/// # Errors
/// One line that names the command that builds it.
pub fn example_plugins(example: &str) -> Result<PathBuf> {
    let path = root().join("target/examples").join(example).join("plugins");
    built(path, "cargo xtask plugins")
}

fn built(path: PathBuf, command: &str) -> Result<PathBuf> {
    if !path.exists() {
        let shown = path.strip_prefix(root()).unwrap_or(&path).display();
        bail!("{shown} is missing; build it with: {command}");
    }
    Ok(path)
}

/// Puts a guest into a plugin folder under a name, with a `plugin.toml` that says `manifest`.
///
/// # Errors
/// When the guest is not built or the folder cannot be written.
pub fn install(plugins: &Path, name: &str, guest_name: &str, manifest: &str) -> Result<()> {
    let folder = plugins.join(name);
    std::fs::create_dir_all(&folder)?;
    std::fs::copy(guest(guest_name)?, folder.join("plugin.wasm"))?;
    let manifest = format!("name = \"{name}\"\nmodule = \"plugin.wasm\"\n{manifest}\n");
    std::fs::write(folder.join("plugin.toml"), manifest)?;
    Ok(())
}

/// A running `stepwell serve`; killed when dropped.
pub struct Server {
    child: Child,
    log: PathBuf,
    address: Option<SocketAddr>,
    secure: bool,
}

impl Server {
    /// Starts a server on a free port. Its stderr goes to the end of `DATA.log`.
    ///
    /// # Errors
    /// When the program is not built or cannot be started.
    pub fn spawn(data: &Path, plugins: &Path) -> Result<Server> {
        Server::spawn_with(data, plugins, &[])
    }

    /// As [`Server::spawn`], with more flags.
    ///
    /// # Errors
    /// As [`Server::spawn`].
    pub fn spawn_with(data: &Path, plugins: &Path, flags: &[&str]) -> Result<Server> {
        let log = data.with_extension("log");
        let errors = OpenOptions::new().create(true).append(true).open(&log)?;
        let mut command = Command::new(program()?);
        command
            .args(["serve", "--listen", "127.0.0.1:0", "--data"])
            .arg(data)
            .arg("--plugins")
            .arg(plugins)
            .args(flags)
            // What it tells its callers is judged where there would be most to tell.
            .env("RUST_BACKTRACE", "1")
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .stderr(errors);
        let child = command.spawn().context("stepwell cannot be started")?;
        Ok(Server {
            child,
            log,
            address: None,
            secure: false,
        })
    }

    /// Starts a server and waits until it is healthy.
    ///
    /// # Errors
    /// As [`Server::spawn`] and [`Server::ready`].
    pub fn start(data: &Path, plugins: &Path) -> Result<Server> {
        Server::start_with(data, plugins, &[])
    }

    /// As [`Server::start`], with more flags.
    ///
    /// # Errors
    /// As [`Server::start`].
    pub fn start_with(data: &Path, plugins: &Path, flags: &[&str]) -> Result<Server> {
        let mut server = Server::spawn_with(data, plugins, flags)?;
        server.ready()?;
        Ok(server)
    }

    /// Waits until the server is healthy; of one that speaks TLS, until it listens.
    ///
    /// # Errors
    /// When it ends before, with the end of what it wrote, or is not healthy in time.
    pub fn ready(&mut self) -> Result<Client> {
        let address = self.announced()?;
        self.address = Some(address);
        let client = Client { address };
        if self.secure {
            return Ok(client);
        }
        let begun = Instant::now();
        while begun.elapsed() < START_MAX {
            if client.get("/health").is_ok_and(|(status, _)| status == 200) {
                return Ok(client);
            }
            if self.child.try_wait()?.is_some() {
                bail!("the server ended: {}", self.said());
            }
            std::thread::sleep(LOOK);
        }
        bail!("the server is not healthy: {}", self.said())
    }

    /// The address in the line `export AWS_ENDPOINT_URL_SFN=http://ADDRESS` (or `https`) of its stdout.
    fn announced(&mut self) -> Result<SocketAddr> {
        let stdout = self
            .child
            .stdout
            .take()
            .context("the server is waited for once")?;
        for line in BufReader::new(stdout).lines() {
            let line = line?;
            let endpoint = line.strip_prefix("export AWS_ENDPOINT_URL_SFN=");
            if let Some((scheme, address)) = endpoint.and_then(|line| line.split_once("://")) {
                self.secure = scheme == "https";
                return Ok(address.trim().parse()?);
            }
        }
        Err(anyhow!("the server said no address: {}", self.said()))
    }

    /// The way to this server, which is ready.
    pub fn client(&self) -> Client {
        Client {
            address: self.address.expect("the server is ready"),
        }
    }

    /// Ends the process at once (SIGKILL) and waits until it is gone.
    ///
    /// # Errors
    /// When it had ended by itself before, with the end of what it wrote.
    pub fn kill(mut self) -> Result<()> {
        if let Some(status) = self.child.try_wait()? {
            bail!("the server ended by itself ({status}): {}", self.said());
        }
        self.child.kill()?;
        self.child.wait()?;
        Ok(())
    }

    /// Tells the process to stop (SIGTERM) and waits until it has.
    ///
    /// # Errors
    /// When it does not in time, or ends with another code than 0.
    pub fn stop(mut self) -> Result<()> {
        let pid = self.child.id().to_string();
        Command::new("kill").args(["-TERM", &pid]).status()?;
        let begun = Instant::now();
        while begun.elapsed() < STOP_MAX {
            if let Some(status) = self.child.try_wait()? {
                if status.success() {
                    return Ok(());
                }
                bail!("the server stopped with {status}: {}", self.said());
            }
            std::thread::sleep(LOOK);
        }
        bail!("the server does not stop: {}", self.said())
    }

    /// Sends the process a signal by its name, such as `HUP`.
    ///
    /// # Errors
    /// When there is no program `kill`.
    pub fn signal(&self, name: &str) -> Result<()> {
        let pid = self.child.id().to_string();
        Command::new("kill")
            .args([&format!("-{name}"), &pid])
            .status()?;
        Ok(())
    }

    /// Waits until the server has written a text to stderr so often.
    ///
    /// # Errors
    /// When it does not in time.
    pub fn says(&self, text: &str, times: usize) -> Result<()> {
        let begun = Instant::now();
        while begun.elapsed() < START_MAX {
            let log = std::fs::read_to_string(&self.log).unwrap_or_default();
            if log.matches(text).count() >= times {
                return Ok(());
            }
            std::thread::sleep(LOOK);
        }
        bail!("the server does not say `{text}`: {}", self.said())
    }

    /// The end of what the server wrote to stderr.
    fn said(&self) -> String {
        let text = std::fs::read_to_string(&self.log).unwrap_or_default();
        let lines: Vec<&str> = text.lines().collect();
        lines[lines.len().saturating_sub(12)..].join("\n")
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        // It has ended already, or ends now: both leave nothing to do.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// Why a call has no result.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum CallError {
    /// The service refused it.
    Refused { code: String, message: String },
    /// No whole answer came: whether the call was carried out is unknown.
    Lost(String),
}

impl std::fmt::Display for CallError {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            CallError::Refused { code, message } => write!(f, "{code}: {message}"),
            CallError::Lost(why) => write!(f, "no answer: {why}"),
        }
    }
}

impl std::error::Error for CallError {}

/// Calls a server, one connection a call.
#[derive(Debug, Clone, Copy)]
pub struct Client {
    pub address: SocketAddr,
}

impl Client {
    pub fn endpoint(&self) -> String {
        format!("http://{}", self.address)
    }

    /// One call of the Step Functions API.
    ///
    /// # Errors
    /// See [`CallError`].
    pub fn call(&self, operation: &str, request: &Value) -> Result<Value, CallError> {
        self.call_with(operation, request, "")
    }

    /// As [`Client::call`], with more headers, each with its end of line.
    ///
    /// # Errors
    /// See [`CallError`].
    pub fn call_with(
        &self,
        operation: &str,
        request: &Value,
        headers: &str,
    ) -> Result<Value, CallError> {
        let body = request.to_string();
        // Names of the service's own operations have no dot.
        let service = if operation.contains('.') {
            ""
        } else {
            "AWSStepFunctions."
        };
        let head = format!(
            "POST / HTTP/1.1\r\nHost: {}\r\nX-Amz-Target: {service}{operation}\r\nContent-Type: application/x-amz-json-1.0\r\nContent-Length: {}\r\n{headers}Connection: close\r\n\r\n",
            self.address,
            body.len()
        );
        let lost = |error: anyhow::Error| CallError::Lost(format!("{error:#}"));
        let (status, text) = self.exchange(&head, &body).map_err(lost)?;
        let answer: Value = serde_json::from_str(&text).map_err(|error| {
            CallError::Lost(format!("HTTP {status}, no JSON ({error}): {text}"))
        })?;
        if status == 200 {
            return Ok(answer);
        }
        let part = |name: &str| answer[name].as_str().unwrap_or_default().to_owned();
        Err(CallError::Refused {
            code: part("__type")
                .rsplit('#')
                .next()
                .unwrap_or_default()
                .to_owned(),
            message: part("message"),
        })
    }

    /// Status and body of a path.
    ///
    /// # Errors
    /// When no whole answer comes.
    pub fn get(&self, path: &str) -> Result<(u16, String)> {
        let head = format!(
            "GET {path} HTTP/1.1\r\nHost: {}\r\nConnection: close\r\n\r\n",
            self.address
        );
        self.exchange(&head, "")
    }

    /// Status and body of a request that brings a body.
    ///
    /// # Errors
    /// When no whole answer comes.
    pub fn post(&self, path: &str, headers: &[(&str, &str)], body: &str) -> Result<(u16, String)> {
        let more: String = headers
            .iter()
            .map(|(name, value)| format!("{name}: {value}\r\n"))
            .collect();
        let head = format!(
            "POST {path} HTTP/1.1\r\nHost: {}\r\n{more}Content-Length: {}\r\nConnection: close\r\n\r\n",
            self.address,
            body.len()
        );
        self.exchange(&head, body)
    }

    /// The same of one that puts something in its place.
    ///
    /// # Errors
    /// When no whole answer comes.
    pub fn put(&self, path: &str, body: &str) -> Result<(u16, String)> {
        let head = format!(
            "PUT {path} HTTP/1.1\r\nHost: {}\r\nContent-Type: application/json\r\nContent-Length: {}\r\nConnection: close\r\n\r\n",
            self.address,
            body.len()
        );
        self.exchange(&head, body)
    }

    fn exchange(&self, head: &str, body: &str) -> Result<(u16, String)> {
        let mut stream = TcpStream::connect(self.address)?;
        stream.set_read_timeout(Some(ANSWER_MAX))?;
        stream.set_nodelay(true)?;
        stream.write_all(format!("{head}{body}").as_bytes())?;
        let mut bytes = Vec::new();
        stream.read_to_end(&mut bytes)?;
        let text = String::from_utf8(bytes)?;
        let (head, body) = text
            .split_once("\r\n\r\n")
            .context("the answer was cut off")?;
        let status = head
            .split_whitespace()
            .nth(1)
            .context("no status line")?
            .parse()?;
        let length = head
            .lines()
            .filter_map(|line| line.split_once(':'))
            .find(|(name, _)| name.eq_ignore_ascii_case("content-length"));
        let length: usize = length.context("no Content-Length")?.1.trim().parse()?;
        if body.len() != length {
            bail!("the answer was cut off: {} of {length} bytes", body.len());
        }
        Ok((status, body.to_owned()))
    }

    /// Creates a STANDARD state machine. Gives its ARN.
    ///
    /// # Errors
    /// See [`CallError`].
    pub fn create_machine(&self, name: &str, definition: &Value) -> Result<String, CallError> {
        let request = serde_json::json!({
            "name": name,
            "definition": definition.to_string(),
            "roleArn": ROLE,
        });
        let answer = self.call("CreateStateMachine", &request)?;
        Ok(text(&answer, "stateMachineArn"))
    }

    /// Starts an execution. Gives its ARN.
    ///
    /// # Errors
    /// See [`CallError`].
    pub fn start(&self, machine: &str, name: &str, input: &Value) -> Result<String, CallError> {
        let request = serde_json::json!({
            "stateMachineArn": machine,
            "name": name,
            "input": input.to_string(),
        });
        Ok(text(
            &self.call("StartExecution", &request)?,
            "executionArn",
        ))
    }

    /// All events of an execution, over all pages.
    ///
    /// # Errors
    /// See [`CallError`].
    pub fn history(&self, execution: &str) -> Result<Vec<Value>, CallError> {
        let mut events = Vec::new();
        let mut request = serde_json::json!({ "executionArn": execution, "maxResults": 1000 });
        loop {
            let mut page = self.call("GetExecutionHistory", &request)?;
            if let Value::Array(more) = page["events"].take() {
                events.extend(more);
            }
            match page["nextToken"].take() {
                Value::Null => return Ok(events),
                token => request["nextToken"] = token,
            }
        }
    }

    /// Waits until an execution has ended. Gives its description.
    ///
    /// # Errors
    /// When it has not in time, or as [`CallError`].
    pub fn ended(&self, execution: &str, within: Duration) -> Result<Value> {
        let begun = Instant::now();
        loop {
            let request = serde_json::json!({ "executionArn": execution });
            let answer = self.call("DescribeExecution", &request)?;
            if answer["status"] != "RUNNING" {
                return Ok(answer);
            }
            if begun.elapsed() > within {
                bail!("{execution} has not ended within {within:?}");
            }
            std::thread::sleep(LOOK);
        }
    }
}

fn text(answer: &Value, member: &str) -> String {
    answer[member].as_str().unwrap_or_default().to_owned()
}

/// Splitmix64: what a seeded suite draws from.
#[derive(Debug, Clone)]
pub struct Dice(u64);

impl Dice {
    /// From `STEPWELL_SEED`, else from the clock. The caller prints the seed.
    ///
    /// # Errors
    /// When `STEPWELL_SEED` is no number.
    pub fn seeded() -> Result<(u64, Dice)> {
        let seed = match std::env::var("STEPWELL_SEED") {
            Ok(text) => text
                .parse()
                .with_context(|| format!("STEPWELL_SEED is `{text}`, which is no number"))?,
            Err(_) => std::time::UNIX_EPOCH.elapsed()?.as_secs(),
        };
        Ok((seed, Dice(seed)))
    }

    /// Those of a seed.
    pub fn of(seed: u64) -> Dice {
        Dice(seed)
    }

    /// Dice that go their own way.
    pub fn fork(&mut self) -> Dice {
        Dice(self.draw())
    }

    /// A number from `range`, its end excluded.
    pub fn roll(&mut self, range: std::ops::Range<u64>) -> u64 {
        range.start + self.draw() % (range.end - range.start).max(1)
    }

    fn draw(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        z ^ (z >> 31)
    }
}

/// Suites with a server run one after the other, since they measure time and take all cores. Holds the lock file
/// until dropped.
#[derive(Debug)]
pub struct Turn(#[expect(dead_code, reason = "it is held")] File);

impl Turn {
    /// Waits until no other suite has a server.
    ///
    /// # Errors
    /// When the lock file cannot be written.
    pub fn take() -> Result<Turn> {
        let path = root().join("target/server-suites.lock");
        let file = OpenOptions::new()
            .create(true)
            .truncate(false)
            .write(true)
            .open(&path)
            .with_context(|| format!("{} cannot be written", path.display()))?;
        file.lock()?;
        Ok(Turn(file))
    }
}
