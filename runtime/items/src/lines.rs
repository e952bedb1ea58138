//! JSON Lines: each line a value. Empty lines are none.

use stepwell_query::Value;

use crate::{chunks::Text, error::Error, limits::ITEM_BYTES_MAX, object::Object};

/// Empty lines that are passed over without others having their turn.
const EMPTY_AT_ONCE: usize = 10_000;

/// The lines of a file from a place on.
pub(crate) struct Lines {
    text: Text,
}

impl Lines {
    pub(crate) async fn open(object: Object, at: u64) -> Result<Lines, Error> {
        Ok(Lines {
            text: Text::open(object, at).await?,
        })
    }

    pub(crate) fn at(&self) -> u64 {
        self.text.at()
    }

    pub(crate) fn share(&self) -> f64 {
        self.text.share()
    }

    pub(crate) async fn next(&mut self) -> Result<Option<Value>, Error> {
        let mut empty = 0;
        loop {
            empty += 1;
            if empty % EMPTY_AT_ONCE == 0 {
                tokio::task::yield_now().await;
            }
            let (line, ended) = self.line_end().await?;
            if line == 0 && ended {
                return Ok(None);
            }
            let at = self.text.at();
            let text = json_text(&self.text.rest()[..line], at)?;
            let value = if text.trim().is_empty() {
                None
            } else {
                let wrong = |error: stepwell_query::JsonError| {
                    let why = error.message;
                    Error::malformed(format!("The line at byte {at} is not valid JSON: {why}"))
                };
                Some(Value::parse(text).map_err(wrong)?)
            };
            self.text.take(line);
            if value.is_some() {
                return Ok(value);
            }
        }
    }

    /// Bytes of the line at hand with its end, and whether the text ends there.
    async fn line_end(&mut self) -> Result<(usize, bool), Error> {
        let mut seen = 0;
        loop {
            let rest = self.text.rest();
            if let Some(end) = rest[seen..].iter().position(|byte| *byte == b'\n') {
                return Ok((seen + end + 1, false));
            }
            seen = rest.len();
            if seen > ITEM_BYTES_MAX {
                let text = format!("A line of the file has more than {ITEM_BYTES_MAX} bytes.");
                return Err(Error::Malformed(text));
            }
            if !self.text.more().await? {
                return Ok((seen, true));
            }
        }
    }
}

/// Bytes of a JSON file as text.
pub(crate) fn json_text(bytes: &[u8], at: u64) -> Result<&str, Error> {
    let text = std::str::from_utf8(bytes);
    let text = text
        .map_err(|_| Error::malformed(format!("The text at byte {at} is not encoded in UTF-8.")))?;
    Ok(text.strip_prefix('\u{feff}').unwrap_or(text))
}
