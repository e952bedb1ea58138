//! Where reading goes on.

use serde::{Deserialize, Serialize};

use crate::error::Error;

/// A place in a source, pinned to the versions of what was read before it. Stored as JSON; fields are only added.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Cursor {
    /// Items before this place.
    #[serde(rename = "n")]
    pub items: u64,
    /// Nothing comes after this place.
    #[serde(rename = "end", default, skip_serializing_if = "is_false")]
    pub ended: bool,
    /// The version of the manifest that names the files.
    #[serde(rename = "m", default, skip_serializing_if = "Option::is_none")]
    pub(crate) manifest: Option<String>,
    /// The file that is read, by its number in the manifest.
    #[serde(rename = "f", default, skip_serializing_if = "is_zero")]
    pub(crate) file: u64,
    /// The last key that was taken of a listing, or is being read.
    #[serde(rename = "k", default, skip_serializing_if = "Option::is_none")]
    pub(crate) key: Option<String>,
    /// The object that is being read.
    #[serde(rename = "o", default, skip_serializing_if = "Option::is_none")]
    pub(crate) object: Option<Position>,
}

/// A place in an object.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Position {
    /// Its entity tag.
    #[serde(rename = "v", default, skip_serializing_if = "Option::is_none")]
    pub(crate) version: Option<String>,
    /// Bytes (after decompression) or rows (Parquet) before the next item.
    #[serde(rename = "at")]
    pub(crate) at: u64,
    /// The items are members of a JSON object.
    #[serde(rename = "m", default, skip_serializing_if = "is_false")]
    pub(crate) members: bool,
}

fn is_false(flag: &bool) -> bool {
    !flag
}

fn is_zero(number: &u64) -> bool {
    *number == 0
}

impl Cursor {
    /// The stored form.
    pub fn encode(&self) -> String {
        serde_json::to_string(self).expect("numbers, flags and strings can be written")
    }

    /// Reads the stored form.
    pub fn decode(text: &str) -> Result<Cursor, Error> {
        serde_json::from_str(text)
            .map_err(|error| Error::malformed(format!("The cursor cannot be read: {error}")))
    }
}
