//! Builds the console and puts its files into the crate. Without Node the crate has none and a line that says why, and the build
//! goes on. Hides when it is built anew.

mod npm;
mod table;

use std::{
    env, fs,
    path::{Path, PathBuf},
    process::ExitCode,
};

/// `required`: a build without the console fails.
const DEMAND: &str = "STEPWELL_CONSOLE";
const REQUIRED: &str = "required";

/// What of this folder is not what the console is built from. Names that begin with a dot are not, either.
const NOT_SOURCES: [&str; 5] = ["Cargo.toml", "README.md", "dist", "node_modules", "rust"];
/// Where packages put programs such as Node; looked at when it is missing.
const PLACES: [&str; 2] = ["/usr/bin", "/usr/local/bin"];

const HOW: &str = "`cargo xtask console` in the sources builds it and shows what is in the way; then build the program again";

fn main() -> ExitCode {
    let folder = |name| PathBuf::from(env::var_os(name).expect("cargo tells it to build scripts"));
    let (package, out) = (folder("CARGO_MANIFEST_DIR"), folder("OUT_DIR"));
    watch_sources(&package);
    let text = match built(&package, &out) {
        Ok(text) => text,
        Err(why) => {
            watch_causes(&package);
            let why = format!("this program was built without its web console: {why}; {HOW}");
            if is_required() {
                eprintln!("{why}");
                return ExitCode::FAILURE;
            }
            println!("cargo::warning={why}");
            table::without(&why)
        }
    };
    let table = out.join("console.rs");
    if let Err(error) = fs::write(&table, text) {
        eprintln!("{}: {error}", table.display());
        return ExitCode::FAILURE;
    }
    ExitCode::SUCCESS
}

/// The Rust text of the table of what npm and Vite make of the package.
fn built(package: &Path, out: &Path) -> Result<String, String> {
    let folder = out.join("built");
    let installed = npm::install(package)?;
    let mut vite = installed.script("build");
    vite.arg("--outDir").arg(&folder).arg("--emptyOutDir");
    npm::done(&mut vite, "Vite cannot build it")?;
    table::table(&folder, &out.join("packed"))
}

/// All that the console is built from, so that it is built anew when that changes and at no other time.
fn watch_sources(package: &Path) {
    let entries = fs::read_dir(package).into_iter().flatten().flatten();
    for entry in entries {
        let name = entry.file_name();
        let name = name.to_string_lossy();
        if !name.starts_with('.') && !NOT_SOURCES.contains(&&*name) {
            watch(&entry.path());
        }
    }
}

/// What may have been in the way: where there is a Node now, or `cargo xtask console` installed the modules, it is tried again. The
/// demand counts only here: where there is a console, it asks for nothing, and who builds with it and without it in turn builds
/// once.
fn watch_causes(package: &Path) {
    for name in ["PATH", DEMAND] {
        println!("cargo::rerun-if-env-changed={name}");
    }
    // What is not there counts as changed each time.
    watch(&package.join("package.json"));
    let stamp = package.join(npm::STAMP);
    let _ = fs::OpenOptions::new()
        .create(true)
        .append(true)
        .open(&stamp);
    let places = PLACES.iter().map(PathBuf::from);
    for path in places.chain([stamp]).filter(|path| path.exists()) {
        watch(&path);
    }
}

fn watch(path: &Path) {
    println!("cargo::rerun-if-changed={}", path.display());
}

fn is_required() -> bool {
    let demand = env::var(DEMAND).unwrap_or_default();
    if !demand.is_empty() && demand != REQUIRED {
        println!("cargo::warning={DEMAND} is `{demand}`; `{REQUIRED}` is all that it may be");
    }
    demand == REQUIRED
}
