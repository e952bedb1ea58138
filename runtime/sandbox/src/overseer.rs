//! A process that compiles, watched until it ends or has to be ended. Hides its pipes, and how it is told that it hangs.

use crate::limits;
use std::io::{Read as _, Write as _};
use std::process::{Child, ExitStatus};
use std::sync::mpsc::{self, RecvTimeoutError};
use std::time::{Duration, Instant};

/// How long is waited for an answer.
pub(crate) struct Patience {
    /// By the clock, in all.
    pub(crate) wall: Duration,
    /// Until it has to be asked whether others wait.
    pub(crate) share: Duration,
    /// How often the process is looked at.
    pub(crate) look_every: Duration,
    /// Size of the answer.
    pub(crate) answer_bytes_max: u64,
}

/// What a process said until it ended.
pub(crate) struct Said {
    pub(crate) ended: Ended,
    pub(crate) answer: Vec<u8>,
    pub(crate) stderr: String,
}

/// How it ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Ended {
    Itself(ExitStatus),
    /// Killed: the time was over.
    Late,
    /// Killed: it did nothing any more.
    Stalled,
    /// Killed: it had its share, and others wait.
    Yielded,
}

/// Hands the plugin over and hears the answer. All pipes are served at once: neither side waits for the other. Once the
/// share is over, `may_stay` is asked at each look.
pub(crate) fn talk(
    mut child: Child,
    wasm: &[u8],
    patience: &Patience,
    may_stay: &mut dyn FnMut() -> bool,
) -> std::io::Result<Said> {
    let pipes = (child.stdin.take(), child.stdout.take(), child.stderr.take());
    let (Some(mut stdin), Some(stdout), Some(stderr)) = pipes else {
        return Err(std::io::Error::other("it has no pipes"));
    };
    std::thread::scope(|scope| {
        // Who ends before it has read everything says why on the other pipes.
        scope.spawn(move || drop(stdin.write_all(wasm)));
        let complaints = scope.spawn(move || {
            let mut text = Vec::new();
            let _ = stderr
                .take(limits::COMPILE_STDERR_BYTES_MAX)
                .read_to_end(&mut text);
            String::from_utf8_lossy(&text).into_owned()
        });
        let (heard, hear) = mpsc::channel();
        let bytes_max = patience.answer_bytes_max;
        scope.spawn(move || {
            let mut answer = Vec::new();
            let read = stdout.take(bytes_max).read_to_end(&mut answer);
            // Nobody listens any more when the time is over.
            let _ = heard.send(read.map(|_| answer));
        });
        let answer = wait(&hear, child.id(), patience, may_stay);
        if answer.is_err() {
            child.kill()?;
        }
        let status = child.wait()?;
        let stderr = complaints.join().unwrap_or_default();
        let (ended, answer) = match answer {
            Ok(answer) => (Ended::Itself(status), answer?),
            Err(ended) => (ended, Vec::new()),
        };
        Ok(Said {
            ended,
            answer,
            stderr,
        })
    })
}

/// Waits for the answer, or says why no longer.
fn wait<T>(
    hear: &mpsc::Receiver<std::io::Result<T>>,
    process: u32,
    patience: &Patience,
    may_stay: &mut dyn FnMut() -> bool,
) -> Result<std::io::Result<T>, Ended> {
    let began = Instant::now();
    let mut pulse = Pulse::default();
    loop {
        let passed = began.elapsed();
        let next = [patience.share, patience.wall]
            .into_iter()
            .filter_map(|due| due.checked_sub(passed))
            .filter(|left| !left.is_zero())
            .fold(patience.look_every, Duration::min);
        match hear.recv_timeout(next) {
            Ok(answer) => return Ok(answer),
            Err(RecvTimeoutError::Disconnected) => {
                return Ok(Err(std::io::Error::other("its answer cannot be read")));
            }
            Err(RecvTimeoutError::Timeout) => {}
        }
        let passed = began.elapsed();
        if passed >= patience.wall {
            return Err(Ended::Late);
        }
        if pulse.look(cpu_ticks(process)) {
            return Err(Ended::Stalled);
        }
        if passed >= patience.share && !may_stay() {
            return Err(Ended::Yielded);
        }
    }
}

/// Looks at a process in which nothing happened. They are counted, not timed: when the whole machine stood still, one look
/// saw nothing happen.
#[derive(Default)]
struct Pulse {
    ticks: u64,
    idle_looks: u32,
}

impl Pulse {
    /// Takes the CPU time seen now, where it can be seen; true when it has not changed for too many looks.
    fn look(&mut self, ticks: Option<u64>) -> bool {
        match ticks {
            Some(ticks) if ticks == self.ticks => self.idle_looks += 1,
            Some(ticks) => {
                *self = Self {
                    ticks,
                    idle_looks: 0,
                }
            }
            None => {}
        }
        self.idle_looks >= limits::COMPILE_IDLE_LOOKS_MAX
    }
}

/// CPU time of all threads of a process, in the system's ticks.
#[cfg(target_os = "linux")]
fn cpu_ticks(process: u32) -> Option<u64> {
    ticks_in(&std::fs::read_to_string(format!("/proc/{process}/stat")).ok()?)
}

/// Nothing tells it here: the clock alone bounds the process.
#[cfg(not(target_os = "linux"))]
fn cpu_ticks(_process: u32) -> Option<u64> {
    None
}

/// The sum of user and system time in the text of `/proc/PID/stat` (proc(5): fields 14 and 15; the second field is a name
/// that may have anything in it, a parenthesis too).
#[cfg(any(target_os = "linux", test))]
fn ticks_in(stat: &str) -> Option<u64> {
    let (_, after_name) = stat.rsplit_once(')')?;
    let mut fields = after_name.split_ascii_whitespace().skip(11);
    let (user, system): (u64, u64) = (fields.next()?.parse().ok()?, fields.next()?.parse().ok()?);
    Some(user + system)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn times_are_found_behind_any_name() {
        let stat = "7 (a) b (c) S 1 7 7 0 -1 4194304 100 0 0 0 250 31 0 0 20 0 1 0 5 0 0";
        assert_eq!(ticks_in(stat), Some(281));
        assert_eq!(ticks_in("7 (a) S 1 2"), None);
        assert_eq!(ticks_in(""), None);
    }

    #[test]
    fn only_a_process_that_does_nothing_stalls() {
        let mut pulse = Pulse::default();
        let most = limits::COMPILE_IDLE_LOOKS_MAX;
        for look in 1..most {
            assert!(!pulse.look(Some(0)), "{look}");
        }
        // It did something after all.
        assert!(!pulse.look(Some(1)));
        for look in 1..most {
            assert!(!pulse.look(Some(1)), "{look}");
        }
        assert!(pulse.look(Some(1)));
        let mut unseen = Pulse::default();
        assert!((0..2 * most).all(|_| !unseen.look(None)));
    }

    /// A process that sleeps uses no CPU time: it hangs, as one does that was stopped.
    #[cfg(target_os = "linux")]
    #[test]
    fn a_process_that_hangs_is_killed_long_before_its_time() {
        let piped = std::process::Stdio::piped;
        let child = std::process::Command::new("sleep")
            .arg("100000")
            .stdin(piped())
            .stdout(piped())
            .stderr(piped())
            .spawn()
            .unwrap();
        let hour = Duration::from_secs(3600);
        let patience = Patience {
            wall: hour,
            share: hour,
            look_every: Duration::from_millis(5),
            answer_bytes_max: 10,
        };
        let said = talk(child, b"", &patience, &mut || true).unwrap();
        assert_eq!(said.ended, Ended::Stalled);
    }
}
