//! What stands behind a guest's imports during one attempt: its limits, log, configuration, secrets and heartbeat.

use crate::bindings::stepwell::task as wit;
use crate::call::{CancelHandle, CancelReason, Heartbeat};
use crate::egress::Egress;
use crate::limits;
use crate::origin::Limit;
use crate::outcome::{LogLevel, LogLine};
use crate::stdio::Capture;
use crate::tally::Count;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Instant;
use tokio::sync::watch;
use wasmtime::ResourceLimiter;
use wasmtime_wasi::p1::WasiP1Ctx;
use wasmtime_wasi::{WasiCtxView, WasiView};
use wasmtime_wasi_http::{WasiHttpCtx, WasiHttpCtxView, WasiHttpView};

/// The state of one attempt.
pub(crate) struct Guest {
    pub(crate) wasi: WasiP1Ctx,
    pub(crate) http: WasiHttpCtx,
    /// Outgoing HTTP; and for the other imports too the plugin, its secrets, what is refused and what is counted.
    pub(crate) egress: Egress,
    pub(crate) meter: Meter,
    pub(crate) log: Log,
    pub(crate) heartbeats: Option<watch::Sender<Heartbeat>>,
    pub(crate) cancel: Option<CancelHandle>,
}

impl WasiView for Guest {
    fn ctx(&mut self) -> WasiCtxView<'_> {
        self.wasi.ctx()
    }
}

impl WasiHttpView for Guest {
    fn http(&mut self) -> WasiHttpCtxView<'_> {
        WasiHttpCtxView {
            hooks: &mut self.egress,
            table: self.wasi.ctx().table,
            ctx: &mut self.http,
        }
    }
}

/// Counts memory and tables of all of an attempt's instances together.
#[derive(Debug, Default)]
pub(crate) struct Meter {
    memory_limit: u64,
    table_limit: u64,
    memory: u64,
    pub(crate) memory_max: u64,
    tables: u64,
    /// Set once a limit stopped the guest: which, and the sentence for people.
    pub(crate) exceeded: Option<(Limit, String)>,
}

impl ResourceLimiter for Meter {
    fn memory_growing(
        &mut self,
        current: usize,
        desired: usize,
        maximum: Option<usize>,
    ) -> wasmtime::Result<bool> {
        if maximum.is_some_and(|maximum| desired > maximum) {
            // The module's own maximum: growth fails as the guest itself declared.
            return Ok(false);
        }
        let wanted = self.memory + (desired - current) as u64;
        if wanted > self.memory_limit {
            let (wanted, limit) = sizes(wanted, self.memory_limit);
            let why = format!("the task needs {wanted} of memory and may use {limit}");
            return self.stop(Limit::Memory, why);
        }
        self.memory = wanted;
        self.memory_max = self.memory_max.max(wanted);
        Ok(true)
    }

    fn table_growing(
        &mut self,
        current: usize,
        desired: usize,
        maximum: Option<usize>,
    ) -> wasmtime::Result<bool> {
        if maximum.is_some_and(|maximum| desired > maximum) {
            return Ok(false);
        }
        let wanted = self.tables + (desired - current) as u64;
        if wanted > self.table_limit {
            let limit = self.table_limit;
            let why = format!("the task needs {wanted} table elements and may use {limit}");
            return self.stop(Limit::TableElements, why);
        }
        self.tables = wanted;
        Ok(true)
    }

    // Where there is a pool, what has more is not even loaded.
    fn instances(&self) -> usize {
        limits::CORE_INSTANCES_PER_CALL as usize
    }

    fn memories(&self) -> usize {
        limits::MEMORIES_PER_CALL as usize
    }

    fn tables(&self) -> usize {
        limits::TABLES_PER_CALL as usize
    }
}

impl Meter {
    /// Bytes of memory and elements of tables, each in all.
    pub(crate) fn new(memory_limit: u64, table_limit: u64) -> Self {
        Self {
            memory_limit,
            table_limit,
            ..Self::default()
        }
    }

    /// Begins to count for another attempt: what the instance holds, it holds already.
    pub(crate) fn renew(&mut self) {
        self.memory_max = self.memory;
        self.exceeded = None;
    }

    /// Bytes of memory that are held now.
    pub(crate) fn held(&self) -> u64 {
        self.memory
    }

    fn stop(&mut self, limit: Limit, why: String) -> wasmtime::Result<bool> {
        self.exceeded = Some((limit, why.clone()));
        Err(wasmtime::Error::msg(why))
    }
}

/// Both in the largest unit in which the limit is exact: `17 MiB` and `16 MiB`.
fn sizes(wanted: u64, limit: u64) -> (String, String) {
    let units = [(20, "MiB"), (10, "KiB")];
    let exact = |(bits, _): &(u32, &str)| limit > 0 && limit.is_multiple_of(1 << *bits);
    match units.into_iter().find(exact) {
        Some((bits, unit)) => (
            format!("{} {unit}", wanted.div_ceil(1 << bits)),
            format!("{} {unit}", limit >> bits),
        ),
        None => (format!("{wanted} bytes"), format!("{limit} bytes")),
    }
}

/// Log lines within a bound.
pub(crate) struct Log {
    pub(crate) lines: Vec<LogLine>,
    pub(crate) cut: bool,
    /// Gets each line as text, those beyond the bound too.
    pub(crate) copied_to: Option<Capture>,
    room: u64,
    begun: Instant,
}

impl Log {
    pub(crate) fn new(bound: u64, begun: Instant) -> Self {
        Self {
            lines: Vec::new(),
            cut: false,
            copied_to: None,
            room: bound,
            begun,
        }
    }

    fn add(&mut self, level: LogLevel, message: String, fields: Vec<(String, String)>) {
        if let Some(all) = &self.copied_to {
            all.add(line(level, &message, &fields).as_bytes());
        }
        // A line costs its text and a little for its frame, so that empty lines are bounded too.
        let text: usize = fields
            .iter()
            .map(|(name, value)| name.len() + value.len())
            .sum();
        let size = (message.len() + text + 16) as u64;
        match self.room.checked_sub(size) {
            Some(room) if !self.cut => {
                self.room = room;
                self.lines.push(LogLine {
                    level,
                    message,
                    fields,
                    after: self.begun.elapsed(),
                });
            }
            Some(_) | None => self.cut = true,
        }
    }
}

/// A log line as it stands among what was printed.
fn line(level: LogLevel, message: &str, fields: &[(String, String)]) -> String {
    let level = match level {
        LogLevel::Trace => "TRACE",
        LogLevel::Debug => "DEBUG",
        LogLevel::Info => "INFO",
        LogLevel::Warn => "WARN",
        LogLevel::Error => "ERROR",
    };
    let fields: String = fields
        .iter()
        .map(|(name, value)| format!(" {name}={value}"))
        .collect();
    format!("{level} {message}{fields}\n")
}

/// What was refused during an attempt; shared with the requests in flight.
#[derive(Clone, Default)]
pub(crate) struct Refused(Arc<Mutex<Vec<String>>>);

impl Refused {
    pub(crate) fn note(&self, what: String) {
        let mut refused = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        if refused.len() < limits::REFUSED_MAX && !refused.contains(&what) {
            refused.push(what);
        }
    }

    pub(crate) fn take(&self) -> Vec<String> {
        std::mem::take(&mut self.0.lock().unwrap_or_else(PoisonError::into_inner))
    }
}

impl wit::types::Host for Guest {}

impl wit::log::Host for Guest {
    fn emit(&mut self, level: wit::log::Level, message: String, fields: Vec<(String, String)>) {
        self.egress.tally.one(Count::Logs);
        let level = match level {
            wit::log::Level::Trace => LogLevel::Trace,
            wit::log::Level::Debug => LogLevel::Debug,
            wit::log::Level::Info => LogLevel::Info,
            wit::log::Level::Warn => LogLevel::Warn,
            wit::log::Level::Error => LogLevel::Error,
        };
        self.log.add(level, message, fields);
    }
}

impl wit::config::Host for Guest {
    fn get(&mut self, key: String) -> Option<String> {
        self.egress.tally.one(Count::Configs);
        self.egress.plugin.granted.config.get(&key).cloned()
    }
}

impl wit::secrets::Host for Guest {
    fn get(&mut self, name: String) -> Result<String, wit::secrets::SecretError> {
        let of = &self.egress;
        of.tally.one(Count::Secrets);
        if !of.plugin.granted.secrets.contains(&name) {
            of.refused.note(format!("secret `{name}`"));
            return Err(wit::secrets::SecretError::NotGranted);
        }
        of.secrets
            .get(&name)
            .ok_or(wit::secrets::SecretError::NotFound)
    }
}

impl wit::heartbeat::Host for Guest {
    fn beat(&mut self, progress: Option<String>) -> Result<(), wit::heartbeat::Cancelled> {
        self.egress.tally.one(Count::Heartbeats);
        if let Some(heartbeats) = &self.heartbeats {
            // Notes are seen at once, so they cannot wait for the end of the attempt to be masked.
            let masked = progress.map(|note| self.egress.used.masked(note));
            let progress = masked.map(|note| shorten(note, limits::PROGRESS_BYTES_MAX));
            heartbeats.send_modify(|latest| {
                latest.beats += 1;
                if let Some(progress) = progress {
                    latest.progress = Some(progress.into());
                }
            });
        }
        match self.cancel.as_ref().and_then(CancelHandle::reason) {
            None => Ok(()),
            Some(CancelReason::Stopped) => Err(wit::heartbeat::Cancelled::Stopped),
            Some(CancelReason::TimedOut) => Err(wit::heartbeat::Cancelled::TimedOut),
        }
    }
}

/// At most `bytes_max` bytes, cut between characters.
fn shorten(mut text: String, bytes_max: usize) -> String {
    text.truncate(text.floor_char_boundary(bytes_max));
    text
}
