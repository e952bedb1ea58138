//! The web console that this program was built with. Hides whether it was.

pub(crate) use kept::{console, is_there};

#[cfg(feature = "console")]
mod kept {
    use stepwell_console::{File, files};
    use stepwell_server::{Console, ConsoleFile};

    /// Whether the program has one.
    pub(crate) fn is_there() -> bool {
        files().is_ok()
    }

    /// The console for the server, or why there is none.
    pub(crate) fn console() -> Console {
        let of = |file: &File| ConsoleFile {
            path: file.path,
            bytes: file.bytes,
            packed: file.packed,
        };
        match files() {
            Ok(files) => Console::new(files.iter().map(of)),
            Err(why) => Console::missing(why),
        }
    }
}

/// The same of a program that was built to be small.
#[cfg(not(feature = "console"))]
mod kept {
    use stepwell_server::Console;

    pub(crate) fn is_there() -> bool {
        false
    }

    pub(crate) fn console() -> Console {
        Console::missing("this program was built without the feature `console`")
    }
}
