//! What tenants upload and what is said of it: packages, WebAssembly, manifests, ceilings. Nothing of it may end the host or
//! be taken for what it is not. Hides the sandbox that the bytes are given to.

use std::{
    collections::BTreeMap,
    future::Future,
    hash::{DefaultHasher, Hash, Hasher},
    pin::{Pin, pin},
    sync::{Arc, LazyLock},
    task::{Context, Poll, Wake, Waker},
    thread::Thread,
    time::Duration,
};

use stepwell_sandbox::{
    Ceilings, Compiler, Limits, Manifest, Outcome, Sandbox, SandboxConfig, TaskCall, Upload,
    UploadCode,
};

/// The account that the bytes are of.
const TENANT: &str = "111111111111";
/// What one of them may take when it is run.
const WALL: Duration = Duration::from_millis(50);
const MEMORY_BYTES: u64 = 16 << 20;

/// A package gives up one file that is WebAssembly by its name, or nothing; the same each time.
pub(crate) fn package(data: &[u8]) {
    let taken = stepwell_server::fuzzing::wasm_of_package(data);
    assert_eq!(taken, stepwell_server::fuzzing::wasm_of_package(data));
    if data.starts_with(b"\0asm") {
        assert_eq!(taken.as_deref(), Some(data), "the file itself is a package");
    }
}

/// A manifest is refused with reasons, or its limits print as what they are.
pub(crate) fn manifest(data: &[u8]) {
    let Ok(text) = std::str::from_utf8(data) else {
        return;
    };
    let read = match Manifest::parse(text) {
        Ok(read) => read,
        Err(why) => {
            assert!(!why.trim().is_empty(), "it is refused without a reason");
            return;
        }
    };
    let again = Manifest::parse(text).expect("it was a manifest a moment ago");
    assert_eq!(format!("{read:?}"), format!("{again:?}"));
    let printed = printed(&read.limits);
    let again = Manifest::parse(&printed).unwrap_or_else(|why| panic!("{printed}\n{why}"));
    assert_eq!(again.limits, read.limits, "{printed}");
}

/// Limits as a manifest has them.
fn printed(limits: &Limits) -> String {
    let mut text = "[limits]\n".to_owned();
    for (key, value) in limits.rows() {
        match (key, value.as_str()) {
            (_, "none") => {}
            ("table-elements" | "fuel" | "concurrency", number) => {
                text.push_str(&format!("{key} = {number}\n"));
            }
            (key, value) => text.push_str(&format!("{key} = \"{value}\"\n")),
        }
    }
    text
}

/// A file of ceilings is refused with reasons, or read the same each time; nobody has more than it says.
pub(crate) fn ceilings(data: &[u8]) {
    let Ok(text) = std::str::from_utf8(data) else {
        return;
    };
    match Ceilings::parse("ceilings.toml", text) {
        Ok(read) => {
            let again = Ceilings::parse("ceilings.toml", text).expect("it was one a moment ago");
            assert_eq!(format!("{read:?}"), format!("{again:?}"));
            let digits = |account: &String| account.len() == 12;
            assert!(read.accounts.keys().all(digits), "{:?}", read.accounts);
        }
        Err(why) => assert!(!why.trim().is_empty(), "it is refused without a reason"),
    }
}

/// Bytes are refused with a reason, or are a plugin; whatever that does, its attempt ends, within its bounds, and the host
/// goes on.
pub(crate) fn wasm(data: &[u8]) {
    static SANDBOX: LazyLock<Sandbox> = LazyLock::new(|| {
        let config = SandboxConfig {
            compiler: Compiler::InProcess,
            instances: 2,
            workers: 1,
            ..SandboxConfig::default()
        };
        Sandbox::new(config).expect("a sandbox")
    });
    let upload = upload(data);
    match now(SANDBOX.check(TENANT, "fuzz", upload.clone())) {
        Err(why) => assert!(!why.to_string().trim().is_empty(), "without a reason"),
        Ok(()) => {
            assert!(data.starts_with(b"\0asm"), "that is no WebAssembly");
            let mut call = TaskCall::new(TENANT, "fuzz", "{}");
            call.upload = Some(upload);
            let end = now(SANDBOX.call(call));
            assert!(
                !matches!(end.outcome, Outcome::HostFault { .. }),
                "{:?}",
                end.outcome
            );
            assert!(
                end.usage.memory_bytes_max <= MEMORY_BYTES,
                "{:?}",
                end.usage
            );
        }
    }
}

fn upload(wasm: &[u8]) -> Upload {
    let mut hash = DefaultHasher::new();
    wasm.hash(&mut hash);
    Upload {
        id: format!("{:x}", hash.finish()).into(),
        version: None,
        memory_bytes: MEMORY_BYTES,
        wall: WALL,
        environment: BTreeMap::new(),
        code: Arc::new(Bytes(wasm.into())),
    }
}

struct Bytes(Arc<[u8]>);

impl UploadCode for Bytes {
    fn wasm(&self) -> Pin<Box<dyn Future<Output = Result<Arc<[u8]>, String>> + Send>> {
        let wasm = self.0.clone();
        Box::pin(async { Ok(wasm) })
    }
}

/// Waits on this thread: the sandbox works on its own.
fn now<T>(work: impl Future<Output = T>) -> T {
    struct Unpark(Thread);
    impl Wake for Unpark {
        fn wake(self: Arc<Self>) {
            self.0.unpark();
        }
    }
    let waker = Waker::from(Arc::new(Unpark(std::thread::current())));
    let mut work = pin!(work);
    loop {
        match work.as_mut().poll(&mut Context::from_waker(&waker)) {
            Poll::Ready(done) => return done,
            Poll::Pending => std::thread::park(),
        }
    }
}

#[cfg(test)]
mod tests {
    use std::path::Path;

    use super::*;
    use crate::{Target, random};

    /// Changed copies of each seed.
    const CHANGES: usize = 40;

    fn seeds(folder: &str) -> Vec<Vec<u8>> {
        let folder = Path::new(env!("CARGO_MANIFEST_DIR"))
            .join("seeds")
            .join(folder);
        let mut paths: Vec<_> = std::fs::read_dir(folder)
            .unwrap()
            .map(|entry| entry.unwrap().path())
            .collect();
        paths.sort();
        paths
            .iter()
            .map(|path| std::fs::read(path).unwrap())
            .collect()
    }

    /// The targets hold on what they start from, and on copies with a byte changed, taken out or cut off behind.
    #[test]
    fn plugins_hold_on_changed_seeds() {
        let targets: [(&str, Target); 4] = [
            ("package", package),
            ("manifest", manifest),
            ("ceilings", ceilings),
            ("wasm", wasm),
        ];
        let mut random = random();
        for (folder, target) in targets {
            for seed in seeds(folder) {
                target(&seed);
                for _ in 0..CHANGES {
                    let mut chosen = [0; 4];
                    random.fill(&mut chosen);
                    let [kind, high, low, byte] = chosen;
                    let at = usize::from(u16::from_be_bytes([high, low])) % seed.len();
                    let mut changed = seed.clone();
                    match kind % 3 {
                        0 => changed[at] = byte,
                        1 => drop(changed.remove(at)),
                        _ => changed.truncate(at),
                    }
                    target(&changed);
                }
            }
        }
    }

    /// What they start from is taken, else they would test refusals alone.
    #[test]
    fn some_seeds_are_good() {
        let taken = |seed: &Vec<u8>| stepwell_server::fuzzing::wasm_of_package(seed).is_some();
        assert_eq!(
            seeds("package").iter().filter(|seed| taken(seed)).count(),
            4
        );
        let whole = String::from_utf8(seeds("manifest").remove(0)).unwrap();
        Manifest::parse(&whole).unwrap();
        let whole = String::from_utf8(seeds("ceilings").remove(0)).unwrap();
        Ceilings::parse("ceilings.toml", &whole).unwrap();
    }
}
