//! The real server as a child process. Hides how it is started, found and ended.

use std::{
    fs::File,
    io::{BufRead, BufReader},
    net::SocketAddr,
    path::{Path, PathBuf},
    process::{Child, Command, Stdio},
};

use anyhow::{Context, Result, bail};

use crate::procfs;

/// Where everything lies.
pub(crate) struct Paths {
    /// The release build of `stepwell`.
    pub(crate) stepwell: PathBuf,
    /// Folder with the test guests.
    pub(crate) guests: PathBuf,
    /// Folder for data directories, on the disk to be measured.
    pub(crate) scratch: PathBuf,
}

/// How a server is started.
#[derive(Clone, Copy, Default)]
pub(crate) struct Setup {
    /// Limits beyond AWS's.
    pub(crate) raised: bool,
    /// With its syncs of files counted by strace.
    pub(crate) traced: bool,
    /// With the plugins of [`Paths::behaving`] instead of `noop`.
    pub(crate) behaving: bool,
    /// With the plugins of [`Paths::many`] instead.
    pub(crate) many: bool,
}

/// See the module. Dropping it kills the process.
pub(crate) struct Server {
    child: Child,
    pub(crate) pid: u32,
    pub(crate) address: SocketAddr,
    trace: Option<PathBuf>,
}

impl Paths {
    /// An empty data directory of that name.
    pub(crate) fn fresh(&self, name: &str) -> Result<PathBuf> {
        let data = self.scratch.join(name);
        if data.exists() {
            std::fs::remove_dir_all(&data)?;
        }
        std::fs::create_dir_all(&data).with_context(|| data.display().to_string())?;
        Ok(data)
    }

    /// The plugin folder: `noop` alone.
    pub(crate) fn plugins(&self) -> Result<PathBuf> {
        let folder = self.scratch.join("plugins");
        std::fs::create_dir_all(&folder)?;
        let to = folder.join("noop.wasm");
        if !to.exists() {
            std::fs::copy(self.guests.join("noop.wasm"), &to)
                .context("the guests are built by `cargo xtask guests`")?;
        }
        Ok(folder)
    }
}

/// Accounts that have those plugins too.
pub(crate) const TENANTS: [&str; 2] = ["111111111111", "222222222222"];
impl Paths {
    /// A plugin folder that a row fills itself.
    pub(crate) fn many(&self) -> Result<PathBuf> {
        let folder = self.scratch.join("plugins-many");
        std::fs::create_dir_all(&folder)?;
        Ok(folder)
    }
}

/// Plugins of one program, `behave`, under different limits.
const BEHAVING: [(&str, &str); 3] = [
    ("short", ""),
    ("endless", "[limits]\nwall = \"900s\"\ncpu = \"900s\"\n"),
    ("bounded", "[limits]\nwall = \"500ms\"\n"),
];

impl Paths {
    /// A plugin folder with `short`, `endless` and `bounded`, which do what their input says, for the default account and
    /// those of [`TENANTS`].
    pub(crate) fn behaving(&self) -> Result<PathBuf> {
        let folder = self.scratch.join("plugins-behaving");
        let accounts = ["."].into_iter().chain(TENANTS);
        let plugins = accounts.flat_map(|account| BEHAVING.map(|plugin| (account, plugin)));
        for (account, (name, limits)) in plugins {
            let plugin = folder.join(account).join(name);
            std::fs::create_dir_all(&plugin)?;
            std::fs::write(plugin.join("plugin.toml"), limits)?;
            std::fs::copy(self.guests.join("behave.wasm"), plugin.join("behave.wasm"))
                .context("the guests are built by `cargo xtask guests`")?;
        }
        Ok(folder)
    }
}

impl Server {
    pub(crate) fn start(paths: &Paths, data: &Path, setup: Setup) -> Result<Server> {
        let trace = setup.traced.then(|| data.join("syncs.txt"));
        let mut command = match &trace {
            None => Command::new(&paths.stepwell),
            Some(trace) => {
                let mut strace = Command::new("strace");
                strace
                    .args(["-f", "-qq", "--seccomp-bpf", "-e", "signal=none"])
                    .args(["-e", "trace=fdatasync,fsync,sync_file_range,msync", "-o"])
                    .arg(trace)
                    .arg(&paths.stepwell);
                strace
            }
        };
        command
            .args(["serve", "--listen", "127.0.0.1:0", "--data"])
            .arg(data)
            .arg("--plugins")
            .arg(match (setup.many, setup.behaving) {
                (true, _) => paths.many()?,
                (false, true) => paths.behaving()?,
                (false, false) => paths.plugins()?,
            })
            .args(["--limits", if setup.raised { "raised" } else { "strict" }])
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .stderr(File::create(data.join("server.log"))?);
        let mut child = command
            .spawn()
            .with_context(|| format!("`{}` cannot be started", paths.stepwell.display()))?;
        let stdout = child.stdout.take().context("its output is piped")?;
        let mut address = None;
        for line in BufReader::new(stdout).lines() {
            if let Some(url) = line?.strip_prefix("export AWS_ENDPOINT_URL_SFN=http://") {
                address = Some(url.parse::<SocketAddr>()?);
                break;
            }
        }
        let Some(address) = address else {
            let _ = child.wait();
            let log = std::fs::read_to_string(data.join("server.log")).unwrap_or_default();
            bail!("the server did not start: {log}");
        };
        let pid = match &trace {
            None => child.id(),
            Some(_) => only_child(child.id())?,
        };
        Ok(Server {
            child,
            pid,
            address,
            trace,
        })
    }

    pub(crate) fn resident(&self) -> Result<f64> {
        procfs::resident(self.pid)
    }

    /// Calls so far that made a file durable, of a traced server.
    pub(crate) fn syncs(&self) -> Result<u64> {
        let trace = self.trace.as_ref().context("a traced server")?;
        let text = std::fs::read_to_string(trace)?;
        let calls = text.lines().filter(|line| !line.contains("resumed>"));
        Ok(calls.count() as u64)
    }

    /// Ends the server as an operator does and waits for it.
    pub(crate) fn stop(mut self) -> Result<()> {
        let pid = self.pid.to_string();
        Command::new("kill").args(["-TERM", &pid]).status()?;
        self.child.wait()?;
        Ok(())
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        if let Ok(None) = self.child.try_wait() {
            let pid = self.pid.to_string();
            let _ = Command::new("kill").args(["-KILL", &pid]).status();
            let _ = self.child.wait();
        }
    }
}

fn only_child(pid: u32) -> Result<u32> {
    let children = std::fs::read_to_string(format!("/proc/{pid}/task/{pid}/children"))?;
    let first = children.split_whitespace().next();
    let first = first.context("strace has started the server")?;
    Ok(first.parse()?)
}
