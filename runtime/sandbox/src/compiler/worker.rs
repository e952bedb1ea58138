//! Compiling a plugin, bounded in memory and time: in a process of its own, which is told what to do on its stdin and
//! answers on its stdout. Hides that process and both ends of the talk with it.
//!
//! A few megabytes of WebAssembly can be made to take gigabytes and minutes of a compiler. What a process takes the
//! system bounds, and nothing else does; the host takes the answer only when it is whole and made for the engine that it
//! was asked for.

use super::{Blame, CompileBounds, Fault, Job, engine_hash, precompile};
use crate::code::{Format, chain};
use crate::limits;
use crate::machine::{Metering, engine_for};
use crate::overseer::{Ended, Patience, talk};
use crate::precompiled::{Ahead, Made, Profile};
use crate::queue::{Lane, Leave};
use sha2::{Digest as _, Sha256};
use std::ffi::OsString;
use std::io::{Read, Write};
use std::path::PathBuf;
use std::process::{Command, ExitStatus, Stdio};
use std::time::Duration;
use wasmtime::Engine;

/// A process that compiles one plugin: a program whose `main` hands the one argument that it is given after these to
/// [`compile_worker`].
#[derive(Debug, Clone)]
pub struct CompileWorker {
    /// The program, usually this one.
    pub program: PathBuf,
    /// Its arguments before the one that is added.
    pub arguments: Vec<OsString>,
    /// What it may take.
    pub bounds: CompileBounds,
    /// How long one plugin may hold others up, by the clock; one that takes longer goes on beside them.
    pub share: Duration,
}

impl CompileWorker {
    /// That program with the usual bounds.
    pub fn new(program: impl Into<PathBuf>, arguments: Vec<OsString>) -> Self {
        Self {
            program: program.into(),
            arguments,
            bounds: CompileBounds::default(),
            share: limits::COMPILE_SHARE,
        }
    }
}

/// What a worker is told on its command line, as `off,module,2147483648,120,1,here`, or at the end
/// `…,edge,aarch64-unknown-linux-musl` when it is for another machine.
#[derive(Debug, Clone, PartialEq, Eq)]
struct Order {
    made: Made,
    metering: Metering,
    format: Format,
    memory_bytes: u64,
    cpu_s: u64,
    threads: usize,
}

/// The first bytes of an answer, with a version of what follows.
const MAGIC: &[u8; 8] = b"STEPWLC1";
/// Magic, what it is ([`CODE`] or one of [`COMPLAINTS`]), the engine's hash, the length, the SHA-256.
const HEAD_BYTES: usize = 8 + 1 + 8 + 8 + 32;
const CODE: u8 = 0;
/// Why there is none, by who can mend it: that of a kind which is not known here is the file's.
const COMPLAINTS: [(u8, Blame); 3] = [(1, Blame::File), (2, Blame::Toolchain), (3, Blame::Parts)];

impl CompileWorker {
    /// The code of a plugin for an engine that is configured as `made` says. Blocks.
    pub(super) fn code(
        &self,
        engine: &Engine,
        made: &Made,
        job: &Job<'_>,
        leave: &mut Leave<'_>,
    ) -> Result<Vec<u8>, Fault> {
        let answer = self.ask(made, job, leave)?;
        open(answer, engine_hash(engine))
    }

    fn ask(&self, made: &Made, job: &Job<'_>, leave: &mut Leave<'_>) -> Result<Vec<u8>, Fault> {
        let threads = match self.bounds.threads {
            0 => std::thread::available_parallelism().map_or(1, |cores| (cores.get() / 2).max(1)),
            threads => threads,
        };
        let order = Order {
            made: made.clone(),
            metering: job.metering,
            format: job.format,
            memory_bytes: self.bounds.memory_bytes,
            cpu_s: self.bounds.cpu.as_secs().max(1),
            threads,
        };
        let child = self.command(&order).spawn().map_err(|error| {
            let program = self.program.display();
            Fault::passing(format!(
                "the process that compiles plugins ({program}) cannot be started: {error}"
            ))
        })?;
        let patience = Patience {
            wall: self.bounds.patience(),
            share: self.share,
            look_every: limits::COMPILE_LOOK_EVERY,
            answer_bytes_max: self.bounds.memory_bytes,
        };
        let said = talk(child, job.wasm, &patience, &mut || leave.goes_on());
        let said = said.map_err(|error| {
            Fault::passing(format!(
                "the process that compiles plugins was lost: {error}"
            ))
        })?;
        match said.ended {
            Ended::Itself(status) if status.success() => Ok(said.answer),
            Ended::Itself(status) => Err(self.verdict(status, &said.stderr)),
            Ended::Late => {
                let wall = patience.wall.as_secs();
                Err(Fault::passing(format!(
                    "compiling it did not end within {wall} s; is the machine overloaded? The next call tries again"
                )))
            }
            Ended::Stalled => Err(Fault::passing(
                "compiling it hung: the process that does it was stopped, or waited for ever; the next call tries again"
                    .to_owned(),
            )),
            Ended::Yielded => Err(Fault::takes_turn(Lane::Long)),
        }
    }

    fn command(&self, order: &Order) -> Command {
        let mut command = Command::new(&self.program);
        command
            .args(&self.arguments)
            .arg(order.to_string())
            .env_clear()
            // A pool of memory for each thread would take most of a bounded address space.
            .env("MALLOC_ARENA_MAX", "2")
            .env("RAYON_NUM_THREADS", order.threads.to_string())
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped());
        #[cfg(unix)]
        {
            use std::os::unix::process::CommandExt as _;
            // Ctrl-C is for the host, which may go on compiling while it shuts down.
            command.process_group(0);
        }
        command
    }

    /// What the end of a process that did not answer means.
    fn verdict(&self, status: ExitStatus, stderr: &str) -> Fault {
        let bounds = &self.bounds;
        #[cfg(unix)]
        if let Some(signal) = std::os::unix::process::ExitStatusExt::signal(&status) {
            use rustix::process::Signal;
            if signal == Signal::XCPU.as_raw() {
                return of_bounds(format!(
                    "compiling it takes more than {} s of CPU time, the bound of one compilation; make the module \
                     smaller, or raise the bound (--compile-cpu)",
                    bounds.cpu.as_secs()
                ));
            }
            if signal == Signal::ABORT.as_raw() && stderr.contains("memory allocation of") {
                return self.too_much_memory();
            }
            if signal == Signal::KILL.as_raw() {
                return Fault::passing(
                    "compiling it was killed from outside; is the machine short of memory? The next call tries again"
                        .to_owned(),
                );
            }
        }
        // A thread or a mapping that there is no address space for is an error, not an abort.
        if stderr.contains("Cannot allocate memory") || stderr.contains("os error 12") {
            return self.too_much_memory();
        }
        let last = stderr.trim().lines().last().unwrap_or("it said nothing");
        Fault::from(format!(
            "the compiler broke down over it ({status}): {last}; this is a defect of the compiler or of the file: \
             build it with other options"
        ))
    }

    fn too_much_memory(&self) -> Fault {
        let mib = self.bounds.memory_bytes >> 20;
        of_bounds(format!(
            "compiling it takes more than {mib} MiB of memory, the bound of one compilation; make the module smaller, or \
             raise the bound (--compile-memory)"
        ))
    }
}

fn of_bounds(why: String) -> Fault {
    Fault {
        why,
        blame: Blame::Bounds,
    }
}

/// An answer on the wire.
fn seal(engine: u64, compiled: Result<Vec<u8>, Fault>) -> Vec<u8> {
    let (kind, body) = match compiled {
        Ok(code) => (CODE, code),
        Err(Fault { why, blame }) => {
            let known = COMPLAINTS.iter().find(|(_, of)| *of == blame);
            let kind = known.map_or(COMPLAINTS[0].0, |(kind, _)| *kind);
            (kind, why.into_bytes())
        }
    };
    let mut answer = Vec::with_capacity(HEAD_BYTES + body.len());
    answer.extend_from_slice(MAGIC);
    answer.push(kind);
    answer.extend_from_slice(&engine.to_le_bytes());
    answer.extend_from_slice(&(body.len() as u64).to_le_bytes());
    answer.extend_from_slice(&Sha256::digest(&body));
    answer.extend_from_slice(&body);
    answer
}

/// The code in an answer, if it is whole and for this engine.
fn open(mut answer: Vec<u8>, engine: u64) -> Result<Vec<u8>, Fault> {
    let damaged =
        || Fault::passing("the answer of the process that compiles plugins is damaged".to_owned());
    if answer.len() < HEAD_BYTES || !answer.starts_with(MAGIC) {
        return Err(damaged());
    }
    let body = answer.split_off(HEAD_BYTES);
    let (kind, rest) = (answer[8], &answer[9..]);
    let (hash, rest) = rest.split_at(8);
    let (length, sha256) = rest.split_at(8);
    let whole = (body.len() as u64).to_le_bytes() == *length && *Sha256::digest(&body) == *sha256;
    if !whole {
        return Err(damaged());
    }
    match kind {
        CODE if engine.to_le_bytes() == *hash => Ok(body),
        CODE => Err(Fault::passing(
            "the process that compiles plugins is of another version than this one; restart the server".to_owned(),
        )),
        kind => {
            let why = String::from_utf8_lossy(&body).into_owned();
            let known = COMPLAINTS.iter().find(|(of, _)| *of == kind);
            let blame = known.map_or(Blame::File, |(_, blame)| *blame);
            Err(Fault { why, blame })
        }
    }
}

impl std::fmt::Display for Order {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let metering = match self.metering {
            Metering::Off => "off",
            Metering::Fuel => "fuel",
        };
        let format = match self.format {
            Format::Component => "component",
            Format::Module => "module",
        };
        let Self {
            memory_bytes,
            cpu_s,
            threads,
            ..
        } = self;
        write!(f, "{metering},{format},{memory_bytes},{cpu_s},{threads},")?;
        match &self.made {
            Made::Here => f.write_str("here"),
            Made::Ahead(ahead) => write!(f, "{},{}", ahead.profile, ahead.target),
        }
    }
}

impl std::str::FromStr for Order {
    type Err = ();

    fn from_str(text: &str) -> Result<Self, ()> {
        let parts: Vec<&str> = text.split(',').collect();
        let [metering, format, memory_bytes, cpu_s, threads, made @ ..] = parts.as_slice() else {
            return Err(());
        };
        Ok(Self {
            made: match made {
                ["here"] => Made::Here,
                [profile, target] => Made::Ahead(Ahead {
                    profile: Profile::named(profile).ok_or(())?,
                    target: (*target).to_owned(),
                }),
                _ => return Err(()),
            },
            metering: match *metering {
                "off" => Metering::Off,
                "fuel" => Metering::Fuel,
                _ => return Err(()),
            },
            format: match *format {
                "component" => Format::Component,
                "module" => Format::Module,
                _ => return Err(()),
            },
            memory_bytes: memory_bytes.parse().map_err(drop)?,
            cpu_s: cpu_s.parse().map_err(drop)?,
            threads: threads.parse().map_err(drop)?,
        })
    }
}

/// The life of a process that compiles one plugin for a [`CompileWorker`], told by the argument that was added: bounds
/// itself, reads the plugin from stdin, writes the answer to stdout. Call it before anything else in `main`; gives the
/// exit code. Run by hand it is of no use.
pub fn compile_worker(order: &str) -> u8 {
    let Ok(order) = order.parse::<Order>() else {
        let _ = writeln!(
            std::io::stderr(),
            "this command compiles a plugin for a server that is running, and is started by it alone"
        );
        return 2;
    };
    let done = bound(&order).and_then(|()| answer(&order));
    match done {
        Ok(()) => 0,
        Err(error) => {
            let _ = writeln!(std::io::stderr(), "{error}");
            3
        }
    }
}

/// Gives up what a compilation may not take.
fn bound(order: &Order) -> std::io::Result<()> {
    #[cfg(unix)]
    {
        use rustix::process::{Resource, Rlimit, nice, setrlimit};
        let set = |resource, bound: u64, grace: u64| {
            setrlimit(
                resource,
                Rlimit {
                    current: Some(bound),
                    maximum: Some(bound.saturating_add(grace)),
                },
            )
        };
        set(Resource::Core, 0, 0)?;
        set(Resource::As, order.memory_bytes, 0)?;
        // The soft bound ends the process by a signal of its own, by which it is told apart.
        set(Resource::Cpu, order.cpu_s, 1)?;
        // Tasks that run are served first. Who may not be nicer compiles all the same.
        let _ = nice(limits::COMPILE_NICE);
    }
    #[cfg(target_os = "linux")]
    rustix::process::set_parent_process_death_signal(Some(rustix::process::Signal::KILL))?;
    Ok(())
}

fn answer(order: &Order) -> std::io::Result<()> {
    let mut wasm = Vec::new();
    let stdin = std::io::stdin().lock();
    stdin.take(limits::WASM_BYTES_MAX).read_to_end(&mut wasm)?;
    let engine = engine_for(order.metering, &order.made, order.threads > 1)
        .map_err(|error| std::io::Error::other(chain(&error)))?;
    let compiled = precompile(&engine, order.format, &wasm);
    let compiled = compiled.map_err(|error| Fault::invalid(&error));
    let answer = seal(engine_hash(&engine), compiled);
    let mut stdout = std::io::stdout().lock();
    stdout.write_all(&answer)?;
    stdout.flush()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn orders_are_read_as_they_are_written() {
        let ahead = Made::Ahead(Ahead {
            profile: Profile::Edge,
            target: "aarch64-unknown-linux-musl".to_owned(),
        });
        for (metering, format, made) in [
            (Metering::Off, Format::Module, Made::Here),
            (Metering::Fuel, Format::Component, ahead),
        ] {
            let order = Order {
                made,
                metering,
                format,
                memory_bytes: 1 << 31,
                cpu_s: 120,
                threads: 2,
            };
            assert_eq!(order.to_string().parse(), Ok(order));
        }
        for text in [
            "",
            "off,module,1,1,1",
            "on,module,1,1,1,here",
            "off,module,x,1,1,here",
            "off,module,1,1,1,there",
            "off,module,1,1,1,small,x86_64-unknown-linux-gnu",
            "off,module,1,1,1,edge,x86_64-unknown-linux-gnu,1",
        ] {
            assert_eq!(text.parse::<Order>(), Err(()), "{text}");
        }
    }

    #[test]
    fn only_whole_answers_for_this_engine_are_taken() {
        let answer = seal(7, Ok(b"code".to_vec()));
        assert_eq!(open(answer.clone(), 7).unwrap(), b"code");
        assert!(
            open(answer.clone(), 8)
                .unwrap_err()
                .why
                .contains("another version")
        );
        for at in [0, HEAD_BYTES - 1, HEAD_BYTES, answer.len() - 1] {
            let mut damaged = answer.clone();
            damaged[at] ^= 1;
            assert!(
                open(damaged, 7).unwrap_err().blame == Blame::Circumstances,
                "{at}"
            );
            assert!(open(answer[..at].to_vec(), 7).is_err(), "{at}");
        }
    }

    #[test]
    fn a_complaint_keeps_who_can_mend_it() {
        for blame in [Blame::File, Blame::Toolchain, Blame::Parts] {
            let why = "no".to_owned();
            let refused = open(seal(8, Err(Fault { why, blame })), 7).unwrap_err();
            assert_eq!((refused.why.as_str(), refused.blame), ("no", blame));
        }
    }
}
