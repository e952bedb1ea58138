//! How much of a Parquet file is in memory at a time.

use std::sync::Arc;

use parquet::{
    data_type::{ByteArray, ByteArrayType},
    file::{properties::WriterProperties, writer::SerializedFileWriter},
    schema::parser::parse_message_type,
};

use super::*;
use crate::storage::Storage;

/// A file of one group of rows with a text each.
fn file(rows: usize, bytes: usize) -> Vec<u8> {
    let schema = parse_message_type("message rows { required binary text (UTF8); }");
    let schema = Arc::new(schema.expect("a schema"));
    let properties = Arc::new(WriterProperties::builder().build());
    let mut file = Vec::new();
    let writer = SerializedFileWriter::new(&mut file, schema, properties);
    let mut writer = writer.expect("a writer");
    let mut group = writer.next_row_group().expect("a group");
    let mut column = group.next_column().expect("no error").expect("a column");
    let text = "x".repeat(bytes);
    let texts: Vec<ByteArray> = (0..rows).map(|_| ByteArray::from(text.as_str())).collect();
    let written = column
        .typed::<ByteArrayType>()
        .write_batch(&texts, None, None);
    assert_eq!(written.ok(), Some(rows));
    column.close().expect("it closes");
    group.close().expect("it closes");
    writer.close().expect("it closes");
    file
}

async fn rows(bytes: Vec<u8>) -> ParquetRows {
    let storage = Storage::memory().for_account(&"000000000000".into());
    storage
        .put("data", "f.parquet", bytes)
        .await
        .expect("memory has room");
    let bucket = storage.bucket("data").expect("a bucket");
    let object = Object::open(&bucket, "f.parquet", None, None).await;
    ParquetRows::open(object.expect("it is there"), 0)
}

#[tokio::test(flavor = "multi_thread")]
async fn a_group_is_read_by_rows_and_by_bytes() {
    for (rows_in_all, bytes, at_once) in [
        (1_000, 1, ROWS_AT_ONCE),
        // The one with which the bound is met is the last one.
        (100, BYTES_AT_ONCE / 4, 4),
        (3, 2 * BYTES_AT_ONCE, 1),
    ] {
        let mut rows = rows(file(rows_in_all, bytes)).await;
        let (mut most, mut all) = (0, 0);
        loop {
            rows.more().await.expect("it is readable");
            if rows.read.is_empty() {
                break;
            }
            most = most.max(rows.read.len());
            all += rows.read.len();
            rows.read.clear();
        }
        assert_eq!((most, all), (at_once, rows_in_all), "of {bytes} bytes");
    }
}
