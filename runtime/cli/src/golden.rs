//! Golden files for the tests: expected text lies in `tests/golden`, `BLESS=1` rewrites it. Hides where.

use std::path::{Path, PathBuf};

/// The path of a golden file or an input of one.
pub(crate) fn path(name: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/golden").join(name)
}

/// Compares with the file, or rewrites it.
pub(crate) fn check(name: &str, actual: &str) {
    let file = path(name);
    if std::env::var_os("BLESS").is_some() {
        std::fs::write(&file, actual).unwrap();
        return;
    }
    let expected = std::fs::read_to_string(&file).unwrap_or_default();
    assert!(expected == actual, "{} differs; BLESS=1 rewrites it. Now:\n{actual}", file.display());
}
