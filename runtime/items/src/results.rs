//! Results of a map run: part files and the manifest that lists them.

use std::sync::Arc;

use stepwell_query::{ObjectBuilder, Value};

use crate::{error::Error, storage::Storage};

/// Which executions' results a part file holds.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum ResultKind {
    Succeeded,
    Failed,
    /// Those that were never started.
    Pending,
}

impl ResultKind {
    /// As files and manifest have it.
    pub fn name(self) -> &'static str {
        match self {
            ResultKind::Succeeded => "SUCCEEDED",
            ResultKind::Failed => "FAILED",
            ResultKind::Pending => "PENDING",
        }
    }
}

/// A part file that was written.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PartFile {
    pub key: Arc<str>,
    pub bytes: u64,
}

/// The folder that a map run's results go to: `<prefix>/<the map run's UUID>/`.
#[derive(Clone)]
pub struct ResultFolder {
    pub storage: Storage,
    pub bucket: Arc<str>,
    /// Without a slash at its end.
    pub folder: Arc<str>,
    /// JSON Lines, each with its end, instead of one JSON array a file.
    pub lines: bool,
}

/// What the manifest of results says.
#[derive(Clone, Debug)]
pub struct Manifest {
    pub map_run_arn: Arc<str>,
    pub files: Vec<(ResultKind, PartFile)>,
}

impl ResultFolder {
    /// Writes part `number` (from 0) of a kind. Written again, it takes the place of the first.
    pub async fn write_part(
        &self,
        kind: ResultKind,
        number: u32,
        results: &[Value],
    ) -> Result<PartFile, Error> {
        let extension = if self.lines { "jsonl" } else { "json" };
        let key = format!("{}/{}_{number}.{extension}", self.folder, kind.name());
        let bytes = self.text(results).into_bytes();
        let size = bytes.len() as u64;
        self.put(&key, bytes).await?;
        Ok(PartFile {
            key: key.into(),
            bytes: size,
        })
    }

    async fn put(&self, key: &str, bytes: Vec<u8>) -> Result<(), Error> {
        let put = self.storage.put(&self.bucket, key, bytes).await;
        put.map(drop).map_err(|error| error.at(&self.bucket, key))
    }

    fn text(&self, results: &[Value]) -> String {
        let bytes: usize = results.iter().map(|result| result.json_bytes() + 1).sum();
        let mut text = String::with_capacity(bytes + 2);
        if !self.lines {
            text.push('[');
        }
        for (index, result) in results.iter().enumerate() {
            if index > 0 && !self.lines {
                text.push(',');
            }
            result.write_json(&mut text);
            if self.lines {
                text.push('\n');
            }
        }
        if !self.lines {
            text.push(']');
        }
        text
    }

    /// Key of the manifest.
    pub fn manifest_key(&self) -> String {
        format!("{}/manifest.json", self.folder)
    }

    /// Writes the manifest.
    pub async fn write_manifest(&self, manifest: &Manifest) -> Result<(), Error> {
        let of = |kind: ResultKind| {
            let files = manifest.files.iter().filter(|(of, _)| *of == kind);
            Value::array(files.map(|(_, file)| {
                Value::object([
                    ("Key", Value::String(file.key.clone())),
                    ("Size", Value::from(file.bytes)),
                ])
            }))
        };
        let kinds = [
            ResultKind::Failed,
            ResultKind::Pending,
            ResultKind::Succeeded,
        ];
        let files = Value::object(kinds.map(|kind| (kind.name(), of(kind))));
        let mut text = ObjectBuilder::default();
        text.insert("DestinationBucket", Value::String(self.bucket.clone()));
        text.insert("MapRunArn", Value::String(manifest.map_run_arn.clone()));
        text.insert("ResultFiles", files);
        let bytes = Value::from(text).to_json().into_bytes();
        self.put(&self.manifest_key(), bytes).await
    }
}
