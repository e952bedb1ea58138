//! The terminal: whether there is one, its width, colours, and a block of lines that is redrawn in place. Hides
//! escape sequences.

use std::io::{self, IsTerminal, Write};
use std::time::{Duration, Instant};

use stepwell_engine::UNNAMED;

use crate::cells;

/// A colour by its meaning.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Tone {
    Bold,
    Dim,
    Good,
    Bad,
    Warn,
    Busy,
}

/// Puts colour around text, or leaves it as it is.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Paint {
    on: bool,
}

impl Paint {
    /// No colours.
    #[cfg(test)]
    pub(crate) const OFF: Paint = Paint { on: false };

    /// Colours when stderr is a terminal and neither `NO_COLOR` nor `TERM=dumb` forbids them.
    pub(crate) fn stderr() -> Paint {
        Paint {
            on: io::stderr().is_terminal() && allowed(),
        }
    }

    /// The same for stdout.
    pub(crate) fn stdout() -> Paint {
        Paint {
            on: io::stdout().is_terminal() && allowed(),
        }
    }

    pub(crate) fn paint(self, tone: Tone, text: &str) -> String {
        let code = match tone {
            Tone::Bold => "1",
            Tone::Dim => "2",
            Tone::Good => "32",
            Tone::Bad => "31",
            Tone::Warn => "33",
            Tone::Busy => "36",
        };
        if self.on {
            format!("\x1b[{code}m{text}\x1b[0m")
        } else {
            text.to_owned()
        }
    }
}

fn allowed() -> bool {
    let set = |name: &str| std::env::var_os(name).is_some_and(|value| !value.is_empty());
    !set("NO_COLOR") && std::env::var_os("TERM").is_none_or(|term| term != "dumb")
}

/// Columns of the terminal on stderr; `None` when stderr is none.
fn columns() -> Option<usize> {
    io::stderr().is_terminal().then(|| {
        terminal_size::terminal_size_of(io::stderr())
            .map_or(80, |(width, _)| usize::from(width.0).max(20))
    })
}

/// A line on stderr for something that takes a while: with a turning sign on a terminal, once elsewhere.
pub(crate) struct Waiting {
    block: LiveBlock,
    what: String,
    /// What it is at, where that is known.
    at: Option<String>,
    since: Instant,
    turns: usize,
    quiet: bool,
}

impl Waiting {
    const SIGNS: [char; 4] = ['◐', '◓', '◑', '◒'];
    /// Time between two turns.
    const TURN: Duration = Duration::from_millis(120);

    pub(crate) fn new(what: String, quiet: bool) -> Waiting {
        let block = LiveBlock::new();
        if !quiet && !block.is_live() {
            say!("{what}");
        }
        let mut waiting = Waiting {
            block,
            what,
            at: None,
            since: Instant::now(),
            turns: 0,
            quiet,
        };
        waiting.draw();
        waiting
    }

    fn draw(&mut self) {
        if !self.quiet {
            let sign = Self::SIGNS[self.turns % Self::SIGNS.len()];
            let seconds = self.since.elapsed().as_secs();
            let line = waiting_line(sign, &self.what, self.at.as_deref(), seconds);
            self.block.draw(&[], &[line]);
        }
    }

    /// Shows what it is at now: on a terminal at once; elsewhere a line for each that is told by [`Self::tells`].
    pub(crate) fn is_at(&mut self, at: Option<String>) {
        if self.at != at {
            self.at = at;
            self.draw();
        }
    }

    /// The same, and says it in a line of its own where there is no terminal.
    pub(crate) fn tells(&mut self, at: Option<String>) {
        if let Some(at) = at.as_ref().filter(|at| self.at.as_ref() != Some(at))
            && !self.quiet
            && !self.block.is_live()
        {
            say!("{at}");
        }
        self.is_at(at);
    }

    /// Completes when it is time for the next turn, and takes it.
    pub(crate) async fn turn(&mut self) {
        tokio::time::sleep(Self::TURN).await;
        self.turns += 1;
        self.draw();
    }

    /// Takes the line away.
    pub(crate) fn over(mut self) {
        self.block.draw(&[], &[]);
    }
}

/// `◐ WHAT  WHERE IT IS  3 s`; the first second is not told.
fn waiting_line(sign: char, what: &str, at: Option<&str>, seconds: u64) -> String {
    let at = at.map_or_else(String::new, |at| format!("  {}", shown(at)));
    let since = match seconds {
        0 => String::new(),
        seconds => format!("  {seconds} s"),
    };
    format!("{sign} {what}{at}{since}")
}

/// Lines at the end of stderr that are drawn again and again while others scroll past above them.
pub(crate) struct LiveBlock {
    /// Lines drawn; 0 when stderr is no terminal.
    drawn: usize,
    columns: Option<usize>,
}

impl LiveBlock {
    pub(crate) fn new() -> LiveBlock {
        LiveBlock {
            drawn: 0,
            columns: columns()
                .filter(|_| std::env::var_os("TERM").is_none_or(|term| term != "dumb")),
        }
    }

    /// Whether the block is shown at all.
    pub(crate) fn is_live(&self) -> bool {
        self.columns.is_some()
    }

    /// Prints lines that stay, then the block anew. Without a terminal only the lines that stay are printed.
    pub(crate) fn draw(&mut self, stay: &[String], live: &[String]) {
        let mut text = String::new();
        if self.drawn > 0 {
            text.push_str(&format!("\x1b[{}A\r\x1b[J", self.drawn));
        }
        for line in stay {
            let fits = self.columns.map(|columns| cut(line, columns - 1));
            text.push_str(fits.as_deref().unwrap_or(line));
            text.push('\n');
        }
        self.drawn = 0;
        if let Some(columns) = self.columns {
            for line in live {
                text.push_str(&cut(line, columns - 1));
                text.push('\n');
                self.drawn += 1;
            }
        }
        if !text.is_empty() {
            let mut stderr = io::stderr().lock();
            // A closed stderr must not end the run.
            let _ = stderr
                .write_all(text.as_bytes())
                .and_then(|()| stderr.flush());
        }
    }
}

/// Columns of the terminal on stdout; `None` when stdout is none, and lines may be as long as they are.
pub(crate) fn stdout_columns() -> Option<usize> {
    io::stdout().is_terminal().then(|| {
        terminal_size::terminal_size_of(io::stdout())
            .map_or(80, |(width, _)| usize::from(width.0).max(20))
    })
}

/// The text with a mark in place of each control character: what comes from a task or a caller moves no cursor, and reads in
/// the order in which it is written.
pub(crate) fn shown(text: &str) -> String {
    let mark = |c: char| if moves(c) { '\u{fffd}' } else { c };
    text.chars().map(mark).collect()
}

/// A name as it is shown; what is damaged so far that it has none has a mark in its place.
pub(crate) fn named(name: &str) -> String {
    match name == UNNAMED {
        true => "(no name)".to_owned(),
        false => name.to_owned(),
    }
}

/// Whether a character is a control, or one of those by which Unicode turns the order of what follows.
fn moves(c: char) -> bool {
    c.is_control()
        || matches!(
            c,
            '\u{061c}' | '\u{200e}' | '\u{200f}' | '\u{202a}'..='\u{202e}' | '\u{2066}'..='\u{2069}'
        )
}

/// The same of a text of several lines, which stay lines.
pub(crate) fn shown_lines(text: &str) -> String {
    let kept = |c: char| matches!(c, '\n' | '\t') || !moves(c);
    let mark = |c: char| if kept(c) { c } else { '\u{fffd}' };
    text.chars().map(mark).collect()
}

/// At most `columns` cells of a line, the last one an ellipsis when there were more; escape sequences take none and are kept.
fn cut(line: &str, columns: usize) -> String {
    let mut out = String::new();
    let (mut taken, mut escape) = (0, false);
    let fits = visible(line) <= columns;
    let room = if fits {
        columns
    } else {
        columns.saturating_sub(1)
    };
    let mut is_cut = false;
    for c in line.chars() {
        escape |= c == '\x1b';
        if escape {
            out.push(c);
            escape = !c.is_ascii_alphabetic();
            continue;
        }
        taken += cells::of(c);
        if taken <= room {
            out.push(c);
        } else if !is_cut {
            out.push('…');
            is_cut = true;
        }
    }
    out
}

/// Cells that a line takes.
fn visible(line: &str) -> usize {
    let mut escape = false;
    let seen = line.chars().filter(|c| {
        escape |= *c == '\x1b';
        let counts = !escape;
        escape &= !c.is_ascii_alphabetic();
        counts
    });
    seen.map(cells::of).sum()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn who_waits_sees_what_it_is_at_and_since_when() {
        assert_eq!(waiting_line('◐', "pushing", None, 0), "◐ pushing");
        assert_eq!(
            waiting_line('◐', "pushing", Some("3 before\x1b it"), 2),
            "◐ pushing  3 before\u{fffd} it  2 s"
        );
    }

    #[test]
    fn what_comes_from_elsewhere_moves_no_cursor() {
        let evil = "a\u{1b}[2J\rb\n\tc\u{9b}1A\u{7f}\u{202e}d\u{2066}e\u{200f}";
        let marked =
            "a\u{fffd}[2J\u{fffd}b\u{fffd}\u{fffd}c\u{fffd}1A\u{fffd}\u{fffd}d\u{fffd}e\u{fffd}";
        assert_eq!(shown(evil), marked);
        let marked = "a\u{fffd}[2J\u{fffd}b\n\tc\u{fffd}1A\u{fffd}\u{fffd}d\u{fffd}e\u{fffd}";
        assert_eq!(shown_lines(evil), marked);
    }

    #[test]
    fn cuts_what_is_seen_and_keeps_the_colours() {
        assert_eq!(cut("abcdef", 4), "abc…");
        assert_eq!(cut("abcdef", 6), "abcdef");
        assert_eq!(cut("注文を受ける", 12), "注文を受ける");
        assert_eq!(cut("注文を受ける", 8), "注文を…");
        assert_eq!(cut("\x1b[32mabcdef\x1b[0m", 4), "\x1b[32mabc…\x1b[0m");
        assert_eq!(cut("\x1b[32mabcd\x1b[0m", 4), "\x1b[32mabcd\x1b[0m");
    }
}
