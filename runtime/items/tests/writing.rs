//! Part files and the manifest of results.

use stepwell_items::{Manifest, ResultFolder, ResultKind, Storage};
use stepwell_query::Value;

#[tokio::test]
async fn parts_and_their_manifest() {
    let storage = Storage::memory();
    let mut folder = ResultFolder {
        storage: storage.clone(),
        bucket: "results".into(),
        folder: "prefix/1234".into(),
        lines: false,
    };
    let results = [Value::from("a"), Value::empty_object()];
    let part = folder
        .write_part(ResultKind::Succeeded, 0, &results)
        .await
        .unwrap();
    assert_eq!(&*part.key, "prefix/1234/SUCCEEDED_0.json");
    assert_eq!(
        storage.get("results", &part.key).await.unwrap(),
        br#"["a",{}]"#
    );
    folder.lines = true;
    let lines = folder
        .write_part(ResultKind::Failed, 1, &results)
        .await
        .unwrap();
    assert_eq!(&*lines.key, "prefix/1234/FAILED_1.jsonl");
    assert_eq!(
        storage.get("results", &lines.key).await.unwrap(),
        b"\"a\"\n{}\n"
    );
    let manifest = Manifest {
        map_run_arn: "arn".into(),
        files: vec![(ResultKind::Succeeded, part), (ResultKind::Failed, lines)],
    };
    folder.write_manifest(&manifest).await.unwrap();
    let text = storage
        .get("results", &folder.manifest_key())
        .await
        .unwrap();
    assert_eq!(
        String::from_utf8(text).unwrap(),
        r#"{"DestinationBucket":"results","MapRunArn":"arn","ResultFiles":{"FAILED":[{"Key":"prefix/1234/FAILED_1.jsonl","Size":7}],"PENDING":[],"SUCCEEDED":[{"Key":"prefix/1234/SUCCEEDED_0.json","Size":8}]}}"#
    );
}
