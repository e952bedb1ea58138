//! A PostgreSQL server for the tests: started from what is installed, in a temporary directory, for the tests that run
//! at the same time.

use std::{
    env, fs,
    os::unix::{
        fs::{MetadataExt, chown},
        process::CommandExt,
    },
    path::{Path, PathBuf},
    process::{Command, Stdio},
    sync::{
        Arc, Mutex, PoisonError, Weak,
        atomic::{AtomicU64, Ordering},
    },
};

use tempfile::TempDir;
use tokio::runtime::{Builder, Runtime};

use crate::journal::{Journal, PostgresJournal, PostgresOptions};

/// The server with a runtime for its clients.
pub(super) struct Server {
    process: Arc<Process>,
    runtime: Runtime,
    /// The schema of the last journals.
    schema: Mutex<String>,
}

struct Process {
    programs: PathBuf,
    directory: TempDir,
    account: Option<(u32, u32)>,
    schemas: AtomicU64,
}

/// Runs a test on a server, or says that it is skipped. `STEPWELL_POSTGRES=required` makes a missing server a failure.
pub(super) fn with_postgres(test: impl FnOnce(&Server)) {
    let required = env::var("STEPWELL_POSTGRES").is_ok_and(|value| value == "required");
    match Process::shared() {
        Some(process) => {
            let runtime = Builder::new_multi_thread()
                .worker_threads(1)
                .enable_all()
                .build()
                .expect("a runtime");
            test(&Server {
                process,
                runtime,
                schema: Mutex::default(),
            });
        }
        None if required => panic!("STEPWELL_POSTGRES=required, but no PostgreSQL is installed"),
        None => println!("SKIPPED: no PostgreSQL is installed (initdb, pg_ctl)"),
    }
}

impl Server {
    /// A journal in a schema of its own.
    pub(super) fn journal(&self) -> Arc<dyn Journal> {
        let number = self.process.schemas.fetch_add(1, Ordering::Relaxed);
        let schema = format!("Test \"{number}\"");
        self.schema
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .clone_from(&schema);
        self.open(schema)
    }

    /// Two nodes on one database.
    pub(super) fn pair(&self) -> (Arc<dyn Journal>, Arc<dyn Journal>) {
        (self.journal(), self.again())
    }

    /// Makes all leases of the last journals older.
    pub(super) fn age_leases(&self, ms: u64) {
        self.run(&format!("UPDATE terms SET until = until - {ms}"));
    }

    /// Runs statements in the schema of the last journals.
    pub(super) fn run(&self, sql: &str) {
        let schema = self.last_schema().replace('"', "\"\"");
        let sql = format!("SET search_path TO \"{schema}\"; {sql}");
        self.runtime.block_on(async {
            let config = self.process.url();
            let (client, connection) = tokio_postgres::connect(&config, tokio_postgres::NoTls)
                .await
                .expect("the server runs");
            let serving = tokio::spawn(connection);
            client.batch_execute(&sql).await.expect("they run");
            drop(client);
            serving.await.expect("no panic").expect("ends well");
        });
    }

    /// The last journal's schema, opened anew.
    pub(super) fn again(&self) -> Arc<dyn Journal> {
        self.open(self.last_schema())
    }

    fn last_schema(&self) -> String {
        let schema = self.schema.lock();
        schema.unwrap_or_else(PoisonError::into_inner).clone()
    }

    fn open(&self, schema: String) -> Arc<dyn Journal> {
        let options = PostgresOptions {
            url: self.process.url(),
            schema,
        };
        let connecting = PostgresJournal::connect(options, self.runtime.handle().clone());
        Arc::new(self.runtime.block_on(connecting).expect("the server runs"))
    }
}

impl Process {
    fn shared() -> Option<Arc<Process>> {
        static RUNNING: Mutex<Weak<Process>> = Mutex::new(Weak::new());
        let mut running = RUNNING.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(process) = running.upgrade() {
            return Some(process);
        }
        let process = Arc::new(Process::start(programs()?));
        *running = Arc::downgrade(&process);
        Some(process)
    }

    fn start(programs: PathBuf) -> Process {
        let directory = tempfile::tempdir().expect("a temporary directory");
        let account = unprivileged();
        if let Some((user, group)) = account {
            chown(directory.path(), Some(user), Some(group)).expect("root may do that");
        }
        let process = Process {
            programs,
            directory,
            account,
            schemas: AtomicU64::new(0),
        };
        process.run(
            "initdb",
            &[
                "-A",
                "trust",
                "-U",
                "stepwell",
                "-E",
                "UTF8",
                "--no-sync",
                "-D",
            ],
        );
        let sockets = process.directory.path().display();
        // Durability of the server itself is not ours to test.
        let options =
            format!("-c listen_addresses= -c fsync=off -c max_connections=200 -k {sockets}");
        process.run(
            "pg_ctl",
            &["start", "-w", "-l", "log", "-o", &options, "-D"],
        );
        process
    }

    fn url(&self) -> String {
        format!(
            "host={} user=stepwell dbname=postgres",
            self.directory.path().display()
        )
    }

    fn run(&self, program: &str, arguments: &[&str]) {
        let mut command = Command::new(self.programs.join(program));
        command
            .args(arguments)
            .arg(self.data())
            .current_dir(self.directory.path());
        command
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(Stdio::null());
        if let Some((user, group)) = self.account {
            command.uid(user).gid(group);
        }
        let status = command.status().expect("the program starts");
        assert!(status.success(), "{program} failed: {status}");
    }

    fn data(&self) -> PathBuf {
        self.directory.path().join("data")
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        self.run("pg_ctl", &["stop", "-m", "immediate", "-D"]);
    }
}

/// The newest installed programs.
fn programs() -> Option<PathBuf> {
    let versions = fs::read_dir("/usr/lib/postgresql")
        .into_iter()
        .flatten()
        .flatten();
    let mut candidates: Vec<PathBuf> = versions.map(|version| version.path().join("bin")).collect();
    candidates.sort();
    candidates.reverse();
    candidates.push(PathBuf::from("/usr/local/bin"));
    candidates.extend(env::split_paths(&env::var_os("PATH").unwrap_or_default()));
    candidates.into_iter().find(|folder| {
        ["initdb", "pg_ctl", "postgres"]
            .iter()
            .all(|name| folder.join(name).is_file())
    })
}

/// PostgreSQL does not run as root: root lends it another account.
fn unprivileged() -> Option<(u32, u32)> {
    let me = fs::metadata("/proc/self").map_or(0, |own| own.uid());
    if me != 0 {
        return None;
    }
    let accounts = fs::read_to_string(Path::new("/etc/passwd")).unwrap_or_default();
    let account = |name: &str| {
        let line = accounts
            .lines()
            .find(|line| line.split(':').next() == Some(name))?;
        let mut fields = line.split(':').skip(2).map(str::parse::<u32>);
        Some((fields.next()?.ok()?, fields.next()?.ok()?))
    };
    account("postgres").or_else(|| account("nobody"))
}
