//! The table of files, made of a folder as Vite leaves one behind.

#![allow(clippy::unwrap_used, reason = "a test's helpers panic as its cases do")]

#[path = "../table.rs"]
mod table;

use std::{fs, io::Read, path::Path};

use flate2::read::GzDecoder;

/// Path, whether it is packed, and the bytes as a browser has them, of each row.
fn rows(text: &str) -> Vec<(String, bool, Vec<u8>)> {
    let text = text.lines().filter(|line| line.contains("File {"));
    let row = |line: &str| {
        let quoted: Vec<&str> = line.split('"').collect();
        let is_packed = line.ends_with("packed: true },");
        let mut bytes = fs::read(quoted[3]).unwrap();
        if is_packed {
            let packed = std::mem::take(&mut bytes);
            let mut reader = GzDecoder::new(&packed[..]);
            reader.read_to_end(&mut bytes).unwrap();
        }
        (quoted[1].to_owned(), is_packed, bytes)
    };
    text.map(row).collect()
}

fn write(folder: &Path, path: &str, bytes: &[u8]) {
    let path = folder.join(path);
    fs::create_dir_all(path.parent().unwrap()).unwrap();
    fs::write(path, bytes).unwrap();
}

#[test]
fn each_file_is_a_row_and_packed_where_that_is_less() {
    let scratch = tempfile::tempdir().unwrap();
    let (built, packed) = (scratch.path().join("built"), scratch.path().join("packed"));
    let script = b"let a = 1;\n".repeat(100);
    write(&built, "index.html", b"<p>");
    write(&built, "assets/b-00000000.js", &script);
    write(&built, "assets/fonts/a.woff2", &[0, 159, 146, 150]);
    // Of a build before.
    write(&packed, "7", b"old");
    let text = table::table(&built, &packed).unwrap();
    assert!(
        text.starts_with("const CONSOLE: Result<&'static [File], &'static str> = Ok(&[\n"),
        "{text}"
    );
    assert!(text.ends_with("]);\n"), "{text}");
    let expected = vec![
        ("assets/b-00000000.js".to_owned(), true, script),
        (
            "assets/fonts/a.woff2".to_owned(),
            false,
            vec![0, 159, 146, 150],
        ),
        ("index.html".to_owned(), false, b"<p>".to_vec()),
    ];
    assert_eq!(rows(&text), expected);
    assert!(!packed.join("7").exists());
    // The same files make the same program.
    assert_eq!(table::table(&built, &packed).unwrap(), text);
}

#[test]
fn what_has_no_page_is_no_console() {
    let scratch = tempfile::tempdir().unwrap();
    let (built, packed) = (scratch.path().join("built"), scratch.path().join("packed"));
    let why = table::table(&built, &packed).unwrap_err();
    assert!(why.starts_with(built.to_str().unwrap()), "{why}");
    write(&built, "assets/index.html", b"<p>");
    let why = table::table(&built, &packed).unwrap_err();
    assert!(why.starts_with("there is no index.html"), "{why}");
}

#[test]
fn a_reason_is_a_text_of_rust() {
    assert_eq!(
        table::without("it says \"no\""),
        "const CONSOLE: Result<&'static [File], &'static str> = Err(\"it says \\\"no\\\"\");\n"
    );
}
