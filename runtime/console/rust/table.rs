//! What was built as Rust: a table of files, each compressed where that makes it smaller. Hides how the folder is walked, and
//! where the compressed files lie.

use std::{
    fs,
    io::Write,
    path::{Path, PathBuf},
};

use flate2::{Compression, write::GzEncoder};

/// What a browser opens; without it the rest is of no use.
const PAGE: &str = "index.html";

/// The Rust text of the table of all files below `built`. What it embeds is written into the folder `packed`, whatever was there
/// before.
///
/// # Errors
/// What cannot be read or written and why, or that there is no `index.html`.
pub(crate) fn table(built: &Path, packed: &Path) -> Result<String, String> {
    let mut files = Vec::new();
    walk(built, "", &mut files)?;
    if !files.iter().any(|(path, _)| path == PAGE) {
        return Err(format!("there is no {PAGE} in {}", built.display()));
    }
    files.sort();
    if packed.exists() {
        fs::remove_dir_all(packed).map_err(|error| told(packed, &error))?;
    }
    fs::create_dir_all(packed).map_err(|error| told(packed, &error))?;
    let mut rows = Vec::new();
    for (number, (path, from)) in files.iter().enumerate() {
        let plain = fs::read(from).map_err(|error| told(from, &error))?;
        let small = gzip(&plain).map_err(|error| told(from, &error))?;
        let is_packed = small.len() < plain.len();
        let to = packed.join(number.to_string());
        let bytes = if is_packed { &small } else { &plain };
        fs::write(&to, bytes).map_err(|error| told(&to, &error))?;
        let to = to.to_str().ok_or_else(|| not_text(&to))?;
        rows.push(format!(
            "    File {{ path: {path:?}, bytes: include_bytes!({to:?}), packed: {is_packed} }},\n"
        ));
    }
    Ok(constant(&format!("Ok(&[\n{}])", rows.concat())))
}

/// The same where there are none: why.
pub(crate) fn without(why: &str) -> String {
    constant(&format!("Err({why:?})"))
}

fn constant(value: &str) -> String {
    format!("const CONSOLE: Result<&'static [File], &'static str> = {value};\n")
}

/// Adds each file of a folder, by its path below the first one and by where it lies.
fn walk(folder: &Path, above: &str, files: &mut Vec<(String, PathBuf)>) -> Result<(), String> {
    for entry in fs::read_dir(folder).map_err(|error| told(folder, &error))? {
        let entry = entry.map_err(|error| told(folder, &error))?;
        let path = entry.path();
        let name = entry.file_name();
        let name = name.to_str().ok_or_else(|| not_text(&path))?;
        let kind = entry.file_type().map_err(|error| told(&path, &error))?;
        let below = format!("{above}{name}");
        if kind.is_dir() {
            walk(&path, &format!("{below}/"), files)?;
        } else {
            files.push((below, path));
        }
    }
    Ok(())
}

/// The same bytes are packed the same at any time.
fn gzip(plain: &[u8]) -> std::io::Result<Vec<u8>> {
    let mut packed = GzEncoder::new(Vec::new(), Compression::best());
    packed.write_all(plain)?;
    packed.finish()
}

fn told(path: &Path, error: &std::io::Error) -> String {
    format!("{}: {error}", path.display())
}

fn not_text(path: &Path) -> String {
    format!("the name of {} is no UTF-8", path.display())
}
