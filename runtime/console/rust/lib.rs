//! The web console as files within the program. Hides that npm and Vite build them from the TypeScript of this folder
//! (`build.rs`), and that there was perhaps no Node to do so.

/// A file of the console.
#[derive(Clone, Copy, Debug)]
pub struct File {
    /// Below the console's root: `index.html`, `assets/index-B4x_9fQa.js`.
    pub path: &'static str,
    pub bytes: &'static [u8],
    /// Whether the bytes are compressed by gzip.
    pub packed: bool,
}

// `const CONSOLE: Result<&'static [File], &'static str>`
include!(concat!(env!("OUT_DIR"), "/console.rs"));

/// All files, `index.html` among them.
///
/// # Errors
/// Why this program was built without them, and how to build one that has them: one line.
pub fn files() -> Result<&'static [File], &'static str> {
    CONSOLE
}

#[cfg(test)]
mod tests {
    use super::files;

    #[test]
    fn there_is_a_page_or_a_line_that_says_why_not() {
        match files() {
            Ok(files) => {
                assert!(files.iter().any(|file| file.path == "index.html"));
                assert!(files.iter().all(|file| !file.bytes.is_empty()));
            }
            Err(why) => assert!(
                why.contains("cargo xtask console") && why.lines().count() == 1,
                "{why}"
            ),
        }
    }
}
