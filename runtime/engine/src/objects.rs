//! Calls of the object storage from a state machine: `aws-sdk:s3:…`, over the same buckets that distributed Maps read.
//! Hides S3's names for what goes wrong, and what S3 says of an object that a folder does not.

use base64::{Engine as _, engine::general_purpose::STANDARD};
use md5::{Digest, Md5};
use stepwell_interp::{FailedAt, TaskOutcome, TaskRequest, Timestamp};
use stepwell_items::{Error, Fetched, Storage};
use stepwell_query::{ObjectBuilder, Value};

use crate::{
    children::Dates,
    dispatch::failed,
    integration::missing,
    limits::{LISTED_OBJECTS_MAX, PAYLOAD_BYTES_MAX_RAISED},
};

/// The calls that are offered, with the parameters that each knows.
const ACTIONS: [(&str, &[&str]); 4] = [
    ("getObject", &["Bucket", "Key", "VersionId"]),
    ("listObjects", &["Bucket", "Prefix", "Marker", "MaxKeys"]),
    (
        "listObjectsV2",
        &[
            "Bucket",
            "Prefix",
            "StartAfter",
            "ContinuationToken",
            "MaxKeys",
        ],
    ),
    ("putObject", &["Bucket", "Key", "Body"]),
];

/// Whether a call of S3 is offered.
pub(crate) fn is_offered(action: &str) -> bool {
    ACTIONS.iter().any(|(name, _)| *name == action)
}

/// The calls of S3 that are offered.
pub(crate) fn actions() -> Vec<&'static str> {
    ACTIONS.iter().map(|(name, _)| *name).collect()
}

/// Serves one attempt at a call of S3. Without a storage there are no buckets.
pub(crate) async fn serve(
    storage: Option<Storage>,
    action: &str,
    request: &TaskRequest,
) -> TaskOutcome {
    let call = Call {
        storage,
        parameters: &request.parameters,
    };
    match call.made(action).await {
        Ok(output) => TaskOutcome::Succeeded { output },
        Err(Refusal::Missing(name)) => missing(name),
        Err(Refusal::Unknown(name)) => {
            let cause = format!(
                "The field '{name}' of {action} is not offered for the object storage of this installation"
            );
            failed(FailedAt::Schedule, "States.Runtime", cause)
        }
        Err(Refusal::TooLarge { key }) => {
            let cause = format!(
                "The object '{key}' has more bytes than the result of a task may have: {PAYLOAD_BYTES_MAX_RAISED}"
            );
            failed(FailedAt::Run, "States.DataLimitExceeded", cause)
        }
        Err(Refusal::Storage(error)) => failed(FailedAt::Run, name_of(&error), error.to_string()),
    }
}

/// Why a call was not carried out.
enum Refusal {
    /// A parameter that must be there.
    Missing(&'static str),
    /// A parameter that would change what the call does, and is not known here.
    Unknown(String),
    TooLarge {
        key: String,
    },
    Storage(Error),
}

impl From<Error> for Refusal {
    fn from(error: Error) -> Refusal {
        Refusal::Storage(error)
    }
}

struct Call<'a> {
    storage: Option<Storage>,
    parameters: &'a Value,
}

impl Call<'_> {
    async fn made(&self, action: &str) -> Result<Value, Refusal> {
        let known = ACTIONS.iter().find(|(name, _)| *name == action);
        let known = known.map_or(&[][..], |(_, known)| known);
        let members = self.parameters.as_object().into_iter();
        let unknown = members
            .flat_map(|all| all.iter())
            .find(|(name, _)| !known.contains(&&***name));
        if let Some((name, _)) = unknown {
            return Err(Refusal::Unknown(name.to_string()));
        }
        let bucket = self.required("Bucket")?;
        let storage = self.storage.as_ref().ok_or(Error::NoSuchBucket)?;
        match action {
            "getObject" => self.get(storage, &bucket).await,
            "putObject" => self.put(storage, &bucket).await,
            _ => self.list(storage, &bucket, action == "listObjects").await,
        }
    }

    async fn get(&self, storage: &Storage, bucket: &str) -> Result<Value, Refusal> {
        let key = self.required("Key")?;
        let version = self.text("VersionId");
        let most = PAYLOAD_BYTES_MAX_RAISED as u64;
        let fetched = storage
            .fetch(bucket, &key, version.as_deref(), most)
            .await?;
        let fetched = fetched.ok_or(Refusal::TooLarge { key })?;
        Ok(described(&fetched))
    }

    async fn put(&self, storage: &Storage, bucket: &str) -> Result<Value, Refusal> {
        let key = self.required("Key")?;
        // The service puts the JSON of the field, a text in its quotes.
        let body = self.parameters.get("Body").map(Value::to_json);
        let body = body.unwrap_or_default().into_bytes();
        let checksum = STANDARD.encode(crc32fast::hash(&body).to_be_bytes());
        let own_tag = tag_of(&body);
        let tag = storage.put(bucket, &key, body).await?.unwrap_or(own_tag);
        let mut put = ObjectBuilder::with_capacity(4);
        put.insert("ChecksumCRC32", checksum)
            .insert("ChecksumType", "FULL_OBJECT")
            .insert("ETag", tag)
            .insert("ServerSideEncryption", ENCRYPTION);
        Ok(put.into())
    }

    async fn list(&self, storage: &Storage, bucket: &str, first: bool) -> Result<Value, Refusal> {
        let prefix = self.text("Prefix").unwrap_or_default();
        let after = if first {
            self.text("Marker")
        } else {
            self.text("ContinuationToken")
                .or_else(|| self.text("StartAfter"))
        };
        let most = self.parameters.get("MaxKeys").and_then(number);
        let most = most.map_or(LISTED_OBJECTS_MAX, |most| most.min(LISTED_OBJECTS_MAX));
        let listed = storage.list(bucket, &prefix, after.as_deref()).await?;
        let shown = usize::try_from(most)
            .unwrap_or(usize::MAX)
            .min(listed.len());
        let cut = shown < listed.len();
        let last = listed.get(shown.wrapping_sub(1));
        let last = last.and_then(|object| object.get("Key")).cloned();
        let mut list = ObjectBuilder::with_capacity(7);
        let contents = listed.iter().take(shown).map(entry);
        list.insert("Contents", Value::array(contents))
            .insert("IsTruncated", cut);
        if !first {
            list.insert("KeyCount", shown as u64);
            if let (true, Some(last)) = (cut, last) {
                list.insert("NextContinuationToken", last);
            }
        }
        list.insert("MaxKeys", most)
            .insert("Name", bucket)
            .insert("Prefix", prefix);
        Ok(list.into())
    }

    fn text(&self, name: &str) -> Option<String> {
        match self.parameters.get(name)? {
            Value::String(text) => Some(text.to_string()),
            Value::Null => None,
            other => Some(other.to_json()),
        }
    }

    fn required(&self, name: &'static str) -> Result<String, Refusal> {
        self.text(name).ok_or(Refusal::Missing(name))
    }
}

/// What S3 says of every object. A folder is encrypted as its disk is.
const ENCRYPTION: &str = "AES256";

/// What S3 says of an object that was put without a type.
const CONTENT_TYPE: &str = "binary/octet-stream";

/// The answer to `getObject`. What is no UTF-8 is replaced, as the service does.
fn described(fetched: &Fetched) -> Value {
    let tag = fetched.tag.clone();
    let content_type = fetched.content_type.as_deref().unwrap_or(CONTENT_TYPE);
    let modified_ms = u64::try_from(fetched.modified_s).unwrap_or(0) * 1_000;
    let mut object = ObjectBuilder::with_capacity(8);
    object
        .insert("AcceptRanges", "bytes")
        .insert("Body", String::from_utf8_lossy(&fetched.bytes).into_owned())
        .insert("ContentLength", fetched.bytes.len() as u64)
        .insert("ContentType", content_type)
        .insert("ETag", tag.unwrap_or_else(|| tag_of(&fetched.bytes)))
        .insert("LastModified", Dates::Iso.value(Timestamp(modified_ms)))
        .insert("Metadata", Value::empty_object())
        .insert("ServerSideEncryption", ENCRYPTION);
    object.into()
}

/// An object of a list; its date is text here and seconds in a Map's items.
fn entry(item: &Value) -> Value {
    let member = |name: &str| item.get(name).cloned().unwrap_or_default();
    let seconds = item.get("LastModified").and_then(number);
    let mut entry = ObjectBuilder::with_capacity(5);
    entry
        .insert("ETag", member("Etag"))
        .insert("Key", member("Key"))
        .insert(
            "LastModified",
            Dates::Iso.value(Timestamp(seconds.unwrap_or(0) * 1_000)),
        )
        .insert("Size", member("Size"))
        .insert("StorageClass", member("StorageClass"));
    entry.into()
}

fn number(value: &Value) -> Option<u64> {
    value.as_i64().and_then(|number| u64::try_from(number).ok())
}

/// The tag that S3 gives an object that is put at once: the MD5 of its bytes.
fn tag_of(bytes: &[u8]) -> String {
    let digest: [u8; 16] = Md5::digest(bytes).into();
    let hex: String = digest.iter().map(|byte| format!("{byte:02x}")).collect();
    format!("\"{hex}\"")
}

/// The name by which Retry and Catch know an error of the storage.
fn name_of(error: &Error) -> &'static str {
    match error {
        Error::NoSuchBucket => "S3.NoSuchBucketException",
        Error::NoSuchKey => "S3.NoSuchKeyException",
        Error::AccessDenied
        | Error::At { .. }
        | Error::InvalidBucket
        | Error::InvalidKey { .. }
        | Error::Changed { .. }
        | Error::Malformed(_) => "S3.S3Exception",
        Error::Storage(_) => "S3.SdkClientException",
    }
}

#[cfg(test)]
mod tests {
    use super::{described, tag_of};
    use stepwell_items::Fetched;

    #[test]
    fn an_object_is_told_with_what_a_folder_does_not_know() {
        let fetched = Fetched {
            bytes: b"a\xff".to_vec(),
            modified_s: 1_700_000_000,
            tag: None,
            content_type: None,
        };
        let told = described(&fetched);
        assert_eq!(told.get("Body").unwrap().as_str(), Some("a\u{fffd}"));
        assert_eq!(told.get("ContentLength").unwrap().as_i64(), Some(2));
        assert_eq!(
            told.get("LastModified").unwrap().as_str(),
            Some("2023-11-14T22:13:20.000Z")
        );
        // RFC 1321.
        assert_eq!(tag_of(b""), "\"d41d8cd98f00b204e9800998ecf8427e\"");
    }
}
