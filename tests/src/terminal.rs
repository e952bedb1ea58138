//! The built program on a terminal: what it shows while it goes on, and in the end. Hides the terminal, which Python brings along.

use std::{
    io::Read,
    path::Path,
    process::{Child, Command, Stdio},
    sync::{Arc, Mutex, PoisonError},
    thread::JoinHandle,
    time::{Duration, Instant},
};

use anyhow::{Context, Result, bail};

use crate::{python, server::program};

/// How long something that is to be shown may take.
const SHOWN_MAX: Duration = Duration::from_secs(60);
/// How often it is looked for.
const LOOK: Duration = Duration::from_millis(20);

/// One line is drawn anew, in its own place.
pub const REDRAWN: &str = "\u{1b}[1A\r\u{1b}[J";

/// The program on a wide terminal; killed when dropped.
#[derive(Debug)]
pub struct Terminal {
    child: Child,
    shown: Arc<Mutex<Vec<u8>>>,
    reading: Option<JoinHandle<()>>,
}

impl Terminal {
    /// The program in a folder, whose cache it uses; nobody types anything.
    ///
    /// # Errors
    /// When it is not built, or there is no Python.
    pub fn start(folder: &Path, arguments: &[&str]) -> Result<Terminal> {
        const SPAWN: &str =
            "import os, pty, sys; sys.exit(os.waitstatus_to_exitcode(pty.spawn(sys.argv[1:])))";
        const WIDE: &str = r#"stty cols 200 rows 50; exec "$0" "$@""#;
        let mut child = Command::new(python::interpreter()?)
            .args(["-c", SPAWN, "sh", "-c", WIDE])
            .arg(program()?)
            .args(arguments)
            .current_dir(folder)
            .env("TERM", "xterm")
            .env("XDG_CACHE_HOME", folder.join("user-cache"))
            .env_remove("AWS_ACCESS_KEY_ID")
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .spawn()?;
        let mut stdout = child.stdout.take().context("a pipe")?;
        let shown = Arc::<Mutex<Vec<u8>>>::default();
        let all = shown.clone();
        let reading = std::thread::spawn(move || {
            let mut chunk = [0; 4096];
            while let Ok(read) = stdout.read(&mut chunk)
                && read > 0
            {
                let mut all = all.lock().unwrap_or_else(PoisonError::into_inner);
                all.extend_from_slice(&chunk[..read]);
            }
        });
        Ok(Terminal {
            child,
            shown,
            reading: Some(reading),
        })
    }

    /// All that it has shown so far.
    fn text(&self) -> String {
        let shown = self.shown.lock().unwrap_or_else(PoisonError::into_inner);
        String::from_utf8_lossy(&shown).into_owned()
    }

    /// Waits until what it has shown is as it should be.
    ///
    /// # Errors
    /// When that does not come in time, with all that it has shown.
    pub fn shows(&self, what: &str, is_it: impl Fn(&str) -> bool) -> Result<()> {
        let begun = Instant::now();
        loop {
            let text = self.text();
            if is_it(&text) {
                return Ok(());
            }
            if begun.elapsed() > SHOWN_MAX {
                bail!("in vain waited for: {what}; shown was: {text}");
            }
            std::thread::sleep(LOOK);
        }
    }

    /// Its exit code, and all that it has shown.
    ///
    /// # Errors
    /// When its end cannot be waited for.
    pub fn ended(mut self) -> Result<(Option<i32>, String)> {
        let status = self.child.wait()?;
        if let Some(reading) = self.reading.take() {
            reading.join().ok().context("what it showed was read")?;
        }
        Ok((status.code(), self.text()))
    }
}

impl Drop for Terminal {
    fn drop(&mut self) {
        // It has ended already, or ends now: both leave nothing to do.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}
