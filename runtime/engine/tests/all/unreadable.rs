//! Items that cannot be read fail their map run, and say why.

use std::sync::Arc;

use stepwell_engine::{Engine, MachineKind, Options, PageRequest, Status, Store};
use stepwell_items::Storage;

use crate::support::{Echo, caller, machine, runtime, start_of};

const BUCKET: &str = "items";

/// A Parquet file of one row, `day`, with the last day that its type can hold: over it the library panics. Written by hand:
/// a page, the foot, and the foot's length.
fn endless_day() -> Vec<u8> {
    const PAGE: &[u8] =
        b"\x15\x00\x15\x08\x15\x08\x2c\x15\x02\x15\x00\x15\x06\x15\x06\x00\x00\xff\xff\xff\x7f";
    const FOOT: &[&[u8]] = &[
        // Version 1; the schema: the root and a required DATE in 32 bits.
        b"\x15\x02\x19\x2c\x48\x04rows\x15\x02\x00\x15\x02\x25\x00\x18\x03day\x25\x0c\x00",
        // One row in one group, whose one column lies uncompressed at byte 4.
        b"\x16\x02\x19\x1c\x19\x1c\x26\x08\x1c\x15\x02\x19\x15\x00\x19\x18\x03day\x15\x00\x16\x02\x16\x2a\x16\x2a\x26\x08\x00\x00",
        b"\x16\x2a\x16\x02\x00\x00",
    ];
    let foot = FOOT.concat();
    let bytes = u32::try_from(foot.len()).unwrap().to_le_bytes();
    [b"PAR1", PAGE, &foot, &bytes, b"PAR1"].concat()
}

fn map(key: &str, config: &str) -> String {
    format!(
        r#"{{"StartAt":"M","States":{{"M":{{"Type":"Map","End":true,
            "ItemProcessor":{{"ProcessorConfig":{{"Mode":"DISTRIBUTED","ExecutionType":"STANDARD"}},
                "StartAt":"P","States":{{"P":{{"Type":"Pass","End":true}}}}}},
            "ItemReader":{{"Resource":"arn:aws:states:::s3:getObject","ReaderConfig":{{{config}}},
                "Parameters":{{"Bucket":"{BUCKET}","Key":"{key}"}}}}}}}}}}"#
    )
}

#[test]
fn what_the_reader_cannot_read_fails_the_map_run() {
    let day = endless_day();
    let csv = r#""InputType":"CSV","CSVHeaderLocation":"FIRST_ROW""#;
    let cases: [(&str, &[u8], &str, &str); 3] = [
        (
            "day.parquet",
            &day,
            r#""InputType":"PARQUET""#,
            "The Parquet file cannot be read: the reader broke down over a value of it",
        ),
        (
            "rows.csv",
            b"a,b\n1,2\n3,\"4\n",
            csv,
            "The row of the CSV file that begins on line 3 is not valid: the quoted field in column 2 is not closed.",
        ),
        (
            "list.json",
            b"[1, 2] 3",
            r#""InputType":"JSON""#,
            "The JSON file is not valid at byte 7: the file goes on after its end",
        ),
    ];
    runtime().block_on(async {
        let storage = Storage::memory();
        let options = Options {
            shards: 1,
            storage: Some(storage.clone()),
            ..Options::of(Store::Memory)
        };
        let engine = Engine::open(options, Arc::new(Echo)).unwrap();
        let storage = storage.for_account(&caller().tenant);
        for (index, (key, bytes, config, cause)) in cases.into_iter().enumerate() {
            storage.put(BUCKET, key, bytes.to_vec()).await.unwrap();
            let request = machine(
                &format!("m{index}"),
                MachineKind::Standard,
                &map(key, config),
            );
            let made = engine.create_machine(caller(), request).await.unwrap();
            let request = start_of(&made.machine.arn);
            let started = engine.start(caller(), request).await.unwrap();
            let ended = engine.wait(caller(), &started.execution_arn).await.unwrap();
            assert_eq!(ended.status, Status::Failed, "{key}");
            assert_eq!(
                ended.error.as_deref(),
                Some("States.ItemReaderFailed"),
                "{key}"
            );
            assert_eq!(ended.cause.as_deref(), Some(cause), "{key}");
            let page = PageRequest::default();
            let runs = engine
                .map_runs(caller(), &started.execution_arn, page)
                .await;
            let arn = runs.unwrap().items[0].arn.clone();
            let run = engine.map_run(caller(), &arn).await.unwrap();
            assert_eq!(run.status, Status::Failed, "{key}");
        }
        engine.shutdown().await;
    });
}
