//! Every format, read in pages of every size and taken up anew at every cursor: always the same items.

#![allow(clippy::unwrap_used, reason = "a test's helpers panic as its cases do")]

use std::{io::Write, path::Path, sync::Arc};

use flate2::{Compression, write::GzEncoder};
use parquet::{
    data_type::{ByteArray, ByteArrayType, DoubleType, Int32Type, Int64Type},
    file::{properties::WriterProperties, writer::SerializedFileWriter},
    schema::parser::parse_message_type,
};
use stepwell_items::{
    Content, CsvHeader, Cursor, Error, Format, PageSize, Reader, Source, Storage,
};

/// A bucket `data` with files in it.
struct Bucket {
    root: tempfile::TempDir,
    storage: Storage,
}

impl Bucket {
    fn new() -> Bucket {
        let root = tempfile::tempdir().unwrap();
        std::fs::create_dir_all(root.path().join("data")).unwrap();
        let storage = Storage::folder(root.path(), "000000000000");
        Bucket { root, storage }
    }

    fn with(files: &[(&str, &[u8])]) -> Bucket {
        let bucket = Bucket::new();
        for (key, bytes) in files {
            bucket.put(key, bytes);
        }
        bucket
    }

    fn put(&self, key: &str, bytes: &[u8]) {
        let path = self.root.path().join("data").join(Path::new(key));
        std::fs::create_dir_all(path.parent().unwrap()).unwrap();
        std::fs::write(path, bytes).unwrap();
    }

    /// All items as text, after checking that pages and cursors change nothing.
    async fn items(&self, source: &Source) -> Result<Vec<String>, Error> {
        let whole = self.read(source, 1_000, false).await?;
        for size in [1, 2, 3] {
            assert_eq!(
                self.read(source, size, false).await?,
                whole,
                "pages of {size}"
            );
            assert_eq!(
                self.read(source, size, true).await?,
                whole,
                "taken up after {size}"
            );
        }
        Ok(whole)
    }

    async fn read(&self, source: &Source, items: usize, anew: bool) -> Result<Vec<String>, Error> {
        let size = PageSize {
            items,
            bytes: 1 << 20,
        };
        let mut reader = Reader::new(self.storage.clone(), source.clone(), Cursor::default());
        let mut read = Vec::new();
        loop {
            let page = reader.page(size).await?;
            read.extend(page.items.into_iter().map(|item| match item.key {
                Some(key) => format!("{key}={}", item.value),
                None => item.value.to_string(),
            }));
            assert_eq!(page.cursor.items, read.len() as u64);
            if page.cursor.ended {
                return Ok(read);
            }
            if anew {
                let cursor = Cursor::decode(&page.cursor.encode()).unwrap();
                reader = Reader::new(self.storage.clone(), source.clone(), cursor);
            }
        }
    }
}

fn object(key: &str, format: Format) -> Source {
    Source {
        bucket: "data".into(),
        content: Content::Object {
            key: key.into(),
            version: None,
            format,
        },
        items_max: 0,
    }
}

fn csv(header: CsvHeader) -> Format {
    Format::Csv {
        header,
        delimiter: b',',
    }
}

fn given(names: &[&str]) -> CsvHeader {
    let names: Vec<Arc<str>> = names.iter().map(|name| (*name).into()).collect();
    CsvHeader::Given(names.into())
}

fn json(pointer: &str) -> Format {
    Format::Json {
        pointer: pointer.into(),
    }
}

fn gzip(bytes: &[u8]) -> Vec<u8> {
    let mut encoder = GzEncoder::new(Vec::new(), Compression::default());
    encoder.write_all(bytes).unwrap();
    encoder.finish().unwrap()
}

fn malformed(text: &str) -> Error {
    Error::Malformed(text.to_owned())
}

const CSV: &[u8] = b"\xef\xbb\xbfa,b\r\n1,\"x \"\"y\"\"\"\r\n\r\n2\n3,\"two\nlines\",4\n,\n";

#[tokio::test]
async fn csv_rows_are_objects_of_strings() {
    let bucket = Bucket::with(&[("a.csv", CSV), ("b.csv.gz", &gzip(CSV)), ("c.csv", b"a,b")]);
    let rows = [
        r#"{"a":"1","b":"x \"y\""}"#,
        r#"{"a":"2","b":""}"#,
        r#"{"a":"3","b":"two\nlines"}"#,
        r#"{"a":"","b":""}"#,
    ];
    for key in ["a.csv", "b.csv.gz"] {
        let read = bucket
            .items(&object(key, csv(CsvHeader::FirstRow)))
            .await
            .unwrap();
        assert_eq!(read, rows, "{key}");
    }
    let read = bucket
        .items(&object("a.csv", csv(given(&["x"]))))
        .await
        .unwrap();
    assert_eq!(read[0], r#"{"x":"a"}"#);
    assert_eq!(read.len(), 5);
    let read = bucket
        .items(&object("c.csv", csv(CsvHeader::FirstRow)))
        .await
        .unwrap();
    assert!(read.is_empty());
    let mut some = object("a.csv", csv(CsvHeader::FirstRow));
    some.items_max = 2;
    assert_eq!(bucket.items(&some).await.unwrap(), rows[..2]);
}

#[tokio::test]
async fn csv_that_is_wrong_says_why() {
    let bucket = Bucket::with(&[("twice.csv", b"a,a\n1,2\n"), ("latin.csv", b"a\n\xe9\n")]);
    let twice = bucket
        .items(&object("twice.csv", csv(CsvHeader::FirstRow)))
        .await;
    assert_eq!(
        twice,
        Err(malformed("CSV headers cannot contain duplicates."))
    );
    let twice = bucket
        .items(&object("twice.csv", csv(given(&["b", "b"]))))
        .await;
    assert_eq!(
        twice,
        Err(malformed("CSV headers cannot contain duplicates."))
    );
    let latin = bucket
        .items(&object("latin.csv", csv(CsvHeader::FirstRow)))
        .await;
    assert_eq!(
        latin,
        Err(malformed("The CSV file is not encoded in UTF-8."))
    );
}

#[tokio::test]
async fn a_quote_that_is_not_closed_is_told_with_its_line() {
    let long = [b"a,b\n1,2\n3,\"".to_vec(), vec![b'x'; 17 << 20]].concat();
    let bucket = Bucket::with(&[
        ("row.csv", b"a,b\n1,2\n\r\n\"3\n4\",\"x\n5,6\n"),
        ("row.csv.gz", &gzip(b"a,b\n1,2\n\r\n\"3\n4\",\"x\n5,6\n")),
        ("first.csv", b"\"a,b\n1,2\n"),
        ("long.csv", &long),
        ("closed.csv", b"a,b\n1,\"2\""),
        ("inner.csv", b"a,b\n1,x\"y\n\n\n"),
    ]);
    let row = "The row of the CSV file that begins on line 4 is not valid: the quoted field in column 2 is not closed.";
    for key in ["row.csv", "row.csv.gz"] {
        let source = object(key, csv(CsvHeader::FirstRow));
        for (items, anew) in [(1_000, false), (1, true)] {
            let read = bucket.read(&source, items, anew).await;
            assert_eq!(read, Err(malformed(row)), "{key}, {items} at a time");
        }
    }
    let first = bucket
        .items(&object("first.csv", csv(CsvHeader::FirstRow)))
        .await;
    let text = "The row of the CSV file that begins on line 1 is not valid: the quoted field in column 1 is not closed.";
    assert_eq!(first, Err(malformed(text)));
    let long = bucket
        .items(&object("long.csv", csv(CsvHeader::FirstRow)))
        .await;
    let text = "The row of the CSV file that begins on line 3 is not valid: it has more than 16777216 bytes, as when a quoted field is not closed.";
    assert_eq!(long, Err(malformed(text)));
    for (key, rows) in [
        ("closed.csv", [r#"{"a":"1","b":"2"}"#]),
        ("inner.csv", [r#"{"a":"1","b":"x\"y"}"#]),
    ] {
        let source = object(key, csv(CsvHeader::FirstRow));
        assert_eq!(bucket.items(&source).await.unwrap(), rows, "{key}");
    }
}

#[tokio::test]
async fn json_gives_elements_or_members() {
    let nested = br#" {"skip": {"a": ["]", "\"}"]}, "a/b": [10, [{"k": "v", "n": {"x": [1, 2.50]}}, 3]], "z": 1} "#;
    let bucket = Bucket::with(&[
        (
            "list.json",
            b"\xef\xbb\xbf[1, \"a,]\\\"\", [2, {\"b\": null}] , true]",
        ),
        ("nested.json", nested),
        ("empty.json", b"[ ]"),
        ("list.json.gz", &gzip(b"[1,2]")),
    ]);
    let items = async |key: &str, pointer: &str| bucket.items(&object(key, json(pointer))).await;
    let read = items("list.json", "").await.unwrap();
    assert_eq!(read, ["1", r#""a,]\"""#, r#"[2,{"b":null}]"#, "true"]);
    let read = items("nested.json", "/a~1b/1").await.unwrap();
    assert_eq!(read, [r#"{"k":"v","n":{"x":[1,2.5]}}"#, "3"]);
    let read = items("nested.json", "/a~1b/1/0").await.unwrap();
    assert_eq!(read, [r#"k="v""#, r#"n={"x":[1,2.5]}"#]);
    assert_eq!(items("nested.json", "").await.unwrap().len(), 3);
    assert!(items("empty.json", "").await.unwrap().is_empty());
    assert_eq!(items("list.json.gz", "").await.unwrap(), ["1", "2"]);
}

#[tokio::test]
async fn json_that_is_wrong_says_why() {
    let bucket = Bucket::with(&[
        ("scalar.json", b"{\"a\": 5}"),
        ("open.json", b"[1, 2"),
        ("comma.json", b"[1 2]"),
        ("bad.json", b"[1, nul]"),
        ("after.json", b"[1, 2] 3"),
        ("twice.json", b"[1]\n[2]"),
        ("members.json", b"{\"a\": 1}}"),
    ]);
    let items = async |key: &str, pointer: &str| bucket.items(&object(key, json(pointer))).await;
    let text = "Attempting to map over non-iterable node.";
    assert_eq!(items("scalar.json", "/a").await, Err(malformed(text)));
    let text = "The ItemsPointer '/b' points to nothing in the JSON file.";
    assert_eq!(items("scalar.json", "/b").await, Err(malformed(text)));
    for key in ["after.json", "twice.json", "members.json"] {
        let error = items(key, "").await.unwrap_err().to_string();
        assert!(
            error.ends_with(": the file goes on after its end"),
            "{error}"
        );
    }
    for key in ["open.json", "comma.json", "bad.json"] {
        let error = items(key, "").await.unwrap_err().to_string();
        assert!(
            error.starts_with("The JSON file is not valid at byte"),
            "{key}: {error}"
        );
    }
}

#[tokio::test]
async fn json_lines_are_values() {
    let text = b"{\"a\":1}\n\n  [2]\r\n\"three\"";
    let bucket = Bucket::with(&[
        ("a.jsonl", text),
        ("b.jsonl", &gzip(text)),
        ("c.jsonl", b"1\n{"),
    ]);
    for key in ["a.jsonl", "b.jsonl"] {
        let read = bucket.items(&object(key, Format::JsonLines)).await.unwrap();
        assert_eq!(read, [r#"{"a":1}"#, "[2]", r#""three""#], "{key}");
    }
    let error = bucket
        .items(&object("c.jsonl", Format::JsonLines))
        .await
        .unwrap_err();
    assert!(
        error
            .to_string()
            .starts_with("The line at byte 2 is not valid JSON"),
        "{error}"
    );
}

/// A file of five rows in groups of two.
fn parquet_file() -> Vec<u8> {
    let schema =
        "message rows { required int64 id; optional binary name (UTF8); required double price; }";
    let schema = Arc::new(parse_message_type(schema).unwrap());
    let properties = Arc::new(WriterProperties::builder().build());
    let mut file = Vec::new();
    let mut writer = SerializedFileWriter::new(&mut file, schema, properties).unwrap();
    for ids in [&[1i64, 2][..], &[3, 4], &[5]] {
        let mut group = writer.next_row_group().unwrap();
        let mut column = group.next_column().unwrap().unwrap();
        column
            .typed::<Int64Type>()
            .write_batch(ids, None, None)
            .unwrap();
        column.close().unwrap();
        let mut column = group.next_column().unwrap().unwrap();
        let named: Vec<i16> = ids.iter().map(|id| i16::from(id % 2 == 1)).collect();
        let names: Vec<ByteArray> = ids
            .iter()
            .filter(|id| *id % 2 == 1)
            .map(|id| ByteArray::from(format!("n{id}").into_bytes()))
            .collect();
        column
            .typed::<ByteArrayType>()
            .write_batch(&names, Some(&named), None)
            .unwrap();
        column.close().unwrap();
        let mut column = group.next_column().unwrap().unwrap();
        let prices: Vec<f64> = ids.iter().map(|id| *id as f64 / 2.0).collect();
        column
            .typed::<DoubleType>()
            .write_batch(&prices, None, None)
            .unwrap();
        column.close().unwrap();
        group.close().unwrap();
    }
    writer.close().unwrap();
    file
}

/// The same file, as far as its foot tells, by another codec: of the column `id`, by the number that the format has for it.
fn recompressed(codec: u8) -> Vec<u8> {
    // The path in the schema, and the field after it: the codec, a number whose sign is its lowest bit.
    let foot = b"\x19\x18\x02id\x15";
    let mut file = parquet_file();
    let places: Vec<usize> = file
        .windows(foot.len())
        .enumerate()
        .filter_map(|(at, bytes)| (bytes == foot).then_some(at + foot.len()))
        .collect();
    // The last one is of the last group.
    file[*places.last().expect("each group has one")] = codec << 1;
    file
}

/// The library breaks down over a day that is none.
fn endless_day() -> Vec<u8> {
    let schema = parse_message_type("message rows { required int32 day (DATE); }");
    let properties = Arc::new(WriterProperties::builder().build());
    let mut file = Vec::new();
    let mut writer =
        SerializedFileWriter::new(&mut file, Arc::new(schema.unwrap()), properties).unwrap();
    let mut group = writer.next_row_group().unwrap();
    let mut column = group.next_column().unwrap().unwrap();
    column
        .typed::<Int32Type>()
        .write_batch(&[1, i32::MAX], None, None)
        .unwrap();
    column.close().unwrap();
    group.close().unwrap();
    writer.close().unwrap();
    file
}

#[tokio::test(flavor = "multi_thread")]
async fn parquet_that_cannot_be_read_says_why() {
    let bucket = Bucket::with(&[
        ("zstd.parquet", &recompressed(6)),
        ("brotli.parquet", &recompressed(4)),
        ("day.parquet", &endless_day()),
    ]);
    for (key, codec) in [("zstd.parquet", "ZSTD"), ("brotli.parquet", "BROTLI")] {
        let read = bucket.items(&object(key, Format::Parquet)).await;
        // Not a row of it was taken, though its first groups could be read.
        let text = read.unwrap_err().to_string();
        let said = format!("its column 'id' is compressed by {codec}, and SNAPPY");
        assert!(text.contains(&said), "{text}");
        assert!(text.contains("write the file anew"), "{text}");
    }
    let read = bucket.items(&object("day.parquet", Format::Parquet)).await;
    let text = "The Parquet file cannot be read: the reader broke down over a value of it";
    assert_eq!(read, Err(malformed(text)));
}

#[tokio::test(flavor = "multi_thread")]
async fn parquet_rows_are_objects() {
    let bucket = Bucket::with(&[("a.parquet", &parquet_file()), ("b.parquet", b"PAR1 no")]);
    let read = bucket
        .items(&object("a.parquet", Format::Parquet))
        .await
        .unwrap();
    assert_eq!(read.len(), 5);
    assert_eq!(read[0], r#"{"id":1,"name":"n1","price":0.5}"#);
    assert_eq!(read[3], r#"{"id":4,"name":null,"price":2.0}"#);
    let error = bucket
        .items(&object("b.parquet", Format::Parquet))
        .await
        .unwrap_err();
    assert!(
        error
            .to_string()
            .starts_with("The Parquet file cannot be read"),
        "{error}"
    );
}

#[tokio::test]
async fn listings_are_in_the_order_of_keys() {
    let files: &[(&str, &[u8])] = &[
        ("logs/b/2.jsonl", b"2\n3"),
        ("logs/b-1.jsonl", b"1"),
        ("logs/a/9.jsonl", b"0"),
        ("logs/c/marker", b""),
        ("other/x", b"x"),
    ];
    let bucket = Bucket::with(files);
    let list = |prefix: &str| Source {
        bucket: "data".into(),
        content: Content::Listing {
            prefix: prefix.into(),
        },
        items_max: 0,
    };
    let keys = |items: Vec<String>| -> Vec<String> {
        let key = |item: &String| {
            let item = stepwell_query::Value::parse(item).unwrap();
            item.get("Key")
                .and_then(|key| key.as_str())
                .unwrap()
                .to_owned()
        };
        items.iter().map(key).collect()
    };
    let all = keys(bucket.items(&list("")).await.unwrap());
    let sorted = [
        "logs/a/9.jsonl",
        "logs/b-1.jsonl",
        "logs/b/2.jsonl",
        "logs/c/marker",
        "other/x",
    ];
    assert_eq!(all, sorted);
    assert_eq!(
        keys(bucket.items(&list("logs/b")).await.unwrap()),
        sorted[1..3]
    );
    assert!(bucket.items(&list("none")).await.unwrap().is_empty());
    let contents = Source {
        content: Content::Contents {
            prefix: "logs/".into(),
            format: Format::JsonLines,
        },
        ..list("")
    };
    assert_eq!(bucket.items(&contents).await.unwrap(), ["0", "1", "2", "3"]);
}

#[tokio::test]
async fn manifests_name_the_files() {
    let inventory =
        br#"{"destinationBucket":"arn:aws:s3:::data","fileFormat":"CSV","fileSchema":"Bucket, Key",
        "files":[{"key":"inv/1.csv.gz"},{"key":"inv/2.csv"}]}"#;
    let bucket = Bucket::with(&[
        ("manifest.json", inventory),
        ("inv/1.csv.gz", &gzip(b"\"b\",\"k1\"\n")),
        ("inv/2.csv", b"b,k2\n"),
        ("athena.csv", b"s3://data/1.jsonl\ns3://data/2.jsonl\n"),
        ("1.jsonl", b"1"),
        ("2.jsonl", b"2\n3"),
        ("wrong.csv", b"1.jsonl\n"),
    ]);
    let read = bucket
        .items(&object("manifest.json", Format::InventoryManifest))
        .await
        .unwrap();
    assert_eq!(
        read,
        [
            r#"{"Bucket":"b","Key":"k1"}"#,
            r#"{"Bucket":"b","Key":"k2"}"#
        ]
    );
    let athena = || Format::AthenaManifest(Box::new(Format::JsonLines));
    assert_eq!(
        bucket.items(&object("athena.csv", athena())).await.unwrap(),
        ["1", "2", "3"]
    );
    let error = bucket.items(&object("wrong.csv", athena())).await;
    assert_eq!(
        error,
        Err(malformed(
            "The manifest names '1.jsonl', which is no address of an S3 object."
        ))
    );
}

#[tokio::test]
async fn what_is_missing_or_changed_is_told() {
    let bucket = Bucket::with(&[("a.jsonl", b"1\n2\n3\n")]);
    let at = |error: Error, place: &str| Error::At {
        error: Box::new(error),
        place: place.to_owned(),
    };
    assert_eq!(
        bucket.items(&object("b", Format::JsonLines)).await,
        Err(at(Error::NoSuchKey, "s3://data/b"))
    );
    let mut elsewhere = object("a.jsonl", Format::JsonLines);
    elsewhere.bucket = "nowhere".into();
    assert_eq!(
        bucket.items(&elsewhere).await,
        Err(at(Error::NoSuchBucket, "s3://nowhere/a.jsonl"))
    );
    let source = object("a.jsonl", Format::JsonLines);
    let one = PageSize { items: 1, bytes: 1 };
    let page = Reader::new(bucket.storage.clone(), source.clone(), Cursor::default())
        .page(one)
        .await;
    bucket.put("a.jsonl", b"1\n22\n3\n4\n");
    let again = Reader::new(bucket.storage.clone(), source, page.unwrap().cursor)
        .page(one)
        .await;
    let (of, key) = ("data".to_owned(), "a.jsonl".to_owned());
    assert_eq!(again, Err(Error::Changed { bucket: of, key }));
}

#[tokio::test]
async fn large_files_are_read_in_chunks() {
    let mut text = String::from("id,text\n");
    for id in 0..60_000 {
        text.push_str(&format!("{id},\"row, {id}\"\n"));
    }
    assert!(text.len() as u64 > stepwell_items::CHUNK_BYTES);
    let bucket = Bucket::with(&[
        ("a.csv", text.as_bytes()),
        ("b.csv.gz", &gzip(text.as_bytes())),
    ]);
    for key in ["a.csv", "b.csv.gz"] {
        let source = object(key, csv(CsvHeader::FirstRow));
        let rows = bucket.read(&source, 7_000, true).await.unwrap();
        assert_eq!(rows.len(), 60_000, "{key}");
        assert_eq!(
            rows[59_999], r#"{"id":"59999","text":"row, 59999"}"#,
            "{key}"
        );
    }
}
