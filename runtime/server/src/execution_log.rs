//! The log of executions whose state machines ask for one, as JSON Lines in the form that Step Functions gives to
//! CloudWatch Logs, with the log group's ARN beside. Hides the thread that writes, and how the files are kept small.

use std::{
    fs::{self, File, OpenOptions},
    io::{self, BufWriter, Write},
    path::{Path, PathBuf},
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering::Relaxed},
        mpsc::{Receiver, SyncSender, sync_channel},
    },
    thread,
    time::Duration,
};

use serde::Serialize;
use stepwell_engine::{Observed, Observer};
use stepwell_interp::{HistoryView, history_view};

use crate::{
    aws::WireFields,
    limits::{LOG_FILE_BYTES_MAX, LOG_FILES, LOG_QUEUE_MAX},
    metrics::{Sample, SampleKind},
};

/// How long `flush` waits for a disk.
const FLUSH_TIME_MAX: Duration = Duration::from_secs(5);

/// See the module. What the disk is too slow for is dropped and counted: executions never wait for their log.
#[derive(Debug)]
pub struct ExecutionLog {
    queue: SyncSender<Item>,
    counts: Arc<Counts>,
}

#[derive(Debug, Default)]
struct Counts {
    written: AtomicU64,
    dropped: AtomicU64,
}

#[derive(Debug)]
enum Item {
    Events(Arc<Observed>),
    /// Answered when all before it is in the file.
    Flush(SyncSender<()>),
}

impl ExecutionLog {
    /// Begins to write to the file of that path, once there is something to write: the file and its folder are made then.
    ///
    /// # Errors
    /// When no thread can be started.
    pub fn start(path: PathBuf) -> io::Result<ExecutionLog> {
        let (queue, queued) = sync_channel(LOG_QUEUE_MAX);
        let counts = Arc::<Counts>::default();
        let writer = Writer {
            path,
            most: LOG_FILE_BYTES_MAX,
            file: None,
            counts: counts.clone(),
            failing: false,
        };
        thread::Builder::new()
            .name("stepwell-log".to_owned())
            .spawn(move || writer.run(&queued))?;
        Ok(ExecutionLog { queue, counts })
    }

    /// Waits until all that was told is in the file, but not for long.
    pub fn flush(&self) {
        let (written, is_written) = sync_channel(1);
        if self.queue.send(Item::Flush(written)).is_ok() {
            let _ = is_written.recv_timeout(FLUSH_TIME_MAX);
        }
    }

    /// The counts of events written and dropped.
    pub fn samples(&self) -> [Sample; 2] {
        let sample = |name: &str, help: &str, value: &AtomicU64| Sample {
            name: name.to_owned(),
            help: help.to_owned(),
            kind: SampleKind::Counter,
            value: value.load(Relaxed) as f64,
            labels: Vec::new(),
        };
        [
            sample(
                "execution_log_events",
                "Events written to the log of executions",
                &self.counts.written,
            ),
            sample(
                "execution_log_dropped",
                "Events that the log of executions had no room for",
                &self.counts.dropped,
            ),
        ]
    }
}

impl Observer for ExecutionLog {
    fn observe(&self, observed: &Arc<Observed>) {
        let events = observed.entries.len() as u64;
        if observed.logging.is_some()
            && self.queue.try_send(Item::Events(observed.clone())).is_err()
        {
            self.counts.dropped(events);
        }
    }
}

impl Counts {
    fn wrote(&self, events: u64) {
        self.written.fetch_add(events, Relaxed);
    }

    fn dropped(&self, events: u64) {
        if self.dropped.fetch_add(events, Relaxed) == 0 {
            tracing::warn!(
                "events are missing from the log of executions: stepwell_execution_log_dropped_total counts them"
            );
        }
    }
}

struct Writer {
    path: PathBuf,
    /// Bytes after which a file is put aside.
    most: u64,
    file: Option<Open>,
    counts: Arc<Counts>,
    /// The last write failed.
    failing: bool,
}

struct Open {
    file: BufWriter<File>,
    bytes: u64,
    /// Lines that may be in memory alone.
    pending: u64,
}

impl Writer {
    fn run(mut self, queue: &Receiver<Item>) {
        let mut waiting = queue.recv();
        while let Ok(item) = waiting {
            match item {
                Item::Events(observed) => self.log(&observed),
                Item::Flush(written) => {
                    self.flush();
                    let _ = written.send(());
                }
            }
            waiting = queue.try_recv().or_else(|_| {
                // Nothing else to do: who reads the file sees all that happened.
                self.flush();
                queue.recv()
            });
        }
    }

    fn log(&mut self, observed: &Observed) {
        for line in lines(observed) {
            self.append(line.as_bytes());
        }
    }

    fn append(&mut self, line: &[u8]) {
        if let Err(error) = self.try_append(line) {
            self.failed(1, &error);
        }
    }

    fn try_append(&mut self, line: &[u8]) -> io::Result<()> {
        let is_full = |open: &Open| open.bytes > 0 && open.bytes + line.len() as u64 > self.most;
        if self.file.as_ref().is_some_and(is_full) {
            self.flush();
            self.file = None;
            put_aside(&self.path)?;
        }
        if self.file.is_none() {
            self.file = Some(open(&self.path)?);
        }
        let Some(open) = &mut self.file else {
            return Ok(());
        };
        if let Err(error) = open.file.write_all(line) {
            let lost = self.lose();
            self.counts.dropped(lost);
            return Err(error);
        }
        open.bytes += line.len() as u64;
        // Whatever was in memory before is in the file once the line is there alone.
        if open.file.buffer().len() <= line.len() {
            self.counts.wrote(std::mem::take(&mut open.pending));
        }
        open.pending += 1;
        Ok(())
    }

    fn flush(&mut self) {
        let Some(open) = &mut self.file else {
            return;
        };
        match open.file.flush() {
            Ok(()) => {
                self.counts.wrote(std::mem::take(&mut open.pending));
                self.failing = false;
            }
            Err(error) => {
                let lost = self.lose();
                self.failed(lost, &error);
            }
        }
    }

    /// Lets go of a file that failed, which is opened anew; says how many lines it may not have.
    fn lose(&mut self) -> u64 {
        let Some(Open { file, pending, .. }) = self.file.take() else {
            return 0;
        };
        // Or the buffer would be tried again.
        drop(file.into_parts());
        pending
    }

    fn failed(&mut self, lost: u64, error: &io::Error) {
        self.counts.dropped(lost);
        if !self.failing {
            self.failing = true;
            let path = self.path.display();
            tracing::error!(%error, %path, "the log of executions cannot be written");
        }
    }
}

fn open(path: &Path) -> io::Result<Open> {
    if let Some(folder) = path.parent() {
        fs::create_dir_all(folder)?;
    }
    let file = OpenOptions::new().create(true).append(true).open(path)?;
    let bytes = file.metadata()?.len();
    Ok(Open {
        file: BufWriter::new(file),
        bytes,
        pending: 0,
    })
}

/// `executions.jsonl` becomes `executions.jsonl.1`, that becomes `.2`, and so on; the last one is replaced.
fn put_aside(path: &Path) -> io::Result<()> {
    let numbered = |number: u32| {
        let mut name = path.as_os_str().to_owned();
        name.push(format!(".{number}"));
        PathBuf::from(name)
    };
    for number in (1..LOG_FILES).rev() {
        match fs::rename(numbered(number), numbered(number + 1)) {
            Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(error),
            Ok(()) | Err(_) => {}
        }
    }
    fs::rename(path, numbered(1))
}

/// The form of a line. Numbers are texts, as in CloudWatch Logs.
#[derive(Serialize)]
struct Line<'a> {
    id: String,
    #[serde(rename = "type")]
    event_type: &'a str,
    details: WireFields<'a>,
    redrive_count: String,
    previous_event_id: String,
    /// Milliseconds since the Unix epoch.
    event_timestamp: String,
    execution_arn: &'a str,
    log_group: &'a str,
}

fn lines(observed: &Observed) -> impl Iterator<Item = String> {
    let logged = observed.logging.iter().flat_map(move |logging| {
        let views = observed.entries.iter();
        let views =
            views.filter_map(move |entry| history_view(entry.id, &entry.event, logging.with_data));
        views.filter(move |view| logging.level.has(view.event_type))
    });
    logged.filter_map(move |view| {
        let mut line = line(observed, &view)?;
        line.push('\n');
        Some(line)
    })
}

/// The line of an event of an execution that is logged, without its end.
pub(crate) fn line(observed: &Observed, view: &HistoryView) -> Option<String> {
    let fields = view.details.as_ref().map(|(_, fields)| fields.as_slice());
    let line = Line {
        id: view.id.to_string(),
        event_type: view.event_type,
        details: WireFields(fields.unwrap_or_default()),
        redrive_count: observed.redrives.to_string(),
        previous_event_id: view.previous.to_string(),
        event_timestamp: view.at.0.to_string(),
        execution_arn: &observed.execution_arn,
        log_group: &observed.logging.as_ref()?.group,
    };
    // Values of an execution are JSON, so there is none that could not be written.
    serde_json::to_string(&line).ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn full_files_are_put_aside_and_the_oldest_replaced() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("logs/executions.jsonl");
        let mut writer = Writer {
            path: path.clone(),
            most: 10,
            file: None,
            counts: Arc::default(),
            failing: false,
        };
        for number in 0..=2 * (LOG_FILES + 2) {
            writer.append(format!("{number:04}\n").as_bytes());
        }
        writer.flush();
        assert_eq!(
            written_and_dropped(&writer),
            (u64::from(2 * (LOG_FILES + 2) + 1), 0)
        );
        let read = |name: &str| fs::read_to_string(folder.path().join("logs").join(name)).unwrap();
        let last = 2 * (LOG_FILES + 2);
        assert_eq!(read("executions.jsonl"), format!("{last:04}\n"));
        let before = [last - 2, last - 1].map(|number| format!("{number:04}\n"));
        assert_eq!(read("executions.jsonl.1"), before.concat());
        let kept = fs::read_dir(path.parent().unwrap()).unwrap().count();
        assert_eq!(kept, LOG_FILES as usize + 1);
    }

    #[test]
    fn a_log_that_cannot_be_written_counts_what_is_missing() {
        let folder = tempfile::tempdir().unwrap();
        let in_the_way = folder.path().join("file");
        fs::write(&in_the_way, "").unwrap();
        let mut writer = Writer {
            path: in_the_way.join("executions.jsonl"),
            most: 10,
            file: None,
            counts: Arc::default(),
            failing: false,
        };
        writer.append(b"line\n");
        writer.append(b"line\n");
        assert_eq!(written_and_dropped(&writer), (0, 2));
    }

    #[cfg(target_os = "linux")]
    #[test]
    fn what_a_full_disk_did_not_take_is_not_counted_as_written() {
        let mut writer = Writer {
            path: "/dev/full".into(),
            most: u64::MAX,
            file: None,
            counts: Arc::default(),
            failing: false,
        };
        for _ in 0..3 {
            writer.append(b"line\n");
        }
        writer.flush();
        assert_eq!(written_and_dropped(&writer), (0, 3));
        // More than is kept in memory: the lines before it and its own are lost at once.
        writer.append(b"line\n");
        writer.append(&[b'a'; 64 * 1024]);
        assert_eq!(written_and_dropped(&writer), (0, 5));
        writer.flush();
        assert_eq!(written_and_dropped(&writer), (0, 5));
    }

    fn written_and_dropped(writer: &Writer) -> (u64, u64) {
        let Counts { written, dropped } = &*writer.counts;
        (written.load(Relaxed), dropped.load(Relaxed))
    }
}
