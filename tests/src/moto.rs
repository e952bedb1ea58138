//! moto's server: stand-ins of AWS services for clients that are ours. Hides how it is installed and found.

use std::{
    net::{TcpListener, TcpStream},
    path::{Path, PathBuf},
    process::{Child, Command, Stdio},
    time::{Duration, Instant},
};

use anyhow::{Context, Result, bail, ensure};

use crate::python;

/// What is installed, by version.
const REQUIREMENTS: &str = "tests/clients/moto/requirements.txt";
/// Python takes its time to load all that moto can do.
const START_MAX: Duration = Duration::from_secs(180);
const LOOK: Duration = Duration::from_millis(50);

/// A server in a process of its own; ends with this.
pub struct Moto {
    child: Child,
    python: PathBuf,
    /// Where it listens.
    pub url: String,
}

impl Moto {
    /// Starts it, and installs it before where it is not there.
    ///
    /// # Errors
    /// When it cannot be installed, or does not listen in time.
    pub fn start() -> Result<Moto> {
        let python = python::with(REQUIREMENTS)?;
        let port = TcpListener::bind("127.0.0.1:0")?.local_addr()?.port();
        let mut child = Command::new(&python)
            .args(["-m", "moto.server", "-H", "127.0.0.1", "-p"])
            .arg(port.to_string())
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .spawn()
            .context("moto's server does not start")?;
        let begun = Instant::now();
        while TcpStream::connect(("127.0.0.1", port)).is_err() {
            if let Some(status) = child.try_wait()? {
                bail!("moto's server ended with {status}");
            }
            if begun.elapsed() > START_MAX {
                let _ = child.kill();
                bail!("moto's server does not listen after {START_MAX:?}");
            }
            std::thread::sleep(LOOK);
        }
        let url = format!("http://127.0.0.1:{port}");
        Ok(Moto { child, python, url })
    }

    /// Runs a script with moto's Python and gives what it prints; its arguments begin with moto's address.
    ///
    /// # Errors
    /// What the script says when it fails.
    pub fn run(&self, script: &Path, arguments: &[&str]) -> Result<String> {
        let output = Command::new(&self.python)
            .arg(script)
            .args(["--moto", &self.url])
            .args(arguments)
            .output()?;
        let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
        let printed = text(&output.stdout);
        ensure!(output.status.success(), "{printed}{}", text(&output.stderr));
        Ok(printed)
    }
}

impl Drop for Moto {
    fn drop(&mut self) {
        // It has ended already, or ends now: both leave nothing to do.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}
