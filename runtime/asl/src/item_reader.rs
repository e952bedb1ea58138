//! A distributed Map's `ItemReader`. Hides which of its settings belong together.

use std::sync::Arc;

use crate::codes::Code;
use crate::limits::READER_ITEMS_MAX;
use crate::map::is_integration;
use crate::node::Fields;
use crate::program::{CsvDelimiter, CsvHeader, Format, Given, ItemReader, ManifestType, Source};
use crate::reading::Reading;

pub(crate) fn item_reader(reader: &Reading) -> Option<ItemReader> {
    let fields = reader.fields;
    let resource = fields.required("Resource").and_then(|node| {
        let text = node.text()?;
        if is_integration(text, "s3:getObject") {
            Some(Call::GetObject)
        } else if is_integration(text, "s3:listObjectsV2") {
            Some(Call::ListObjects)
        } else {
            let message = "The Resource of an ItemReader must be arn:aws:states:::s3:getObject or arn:aws:states:::s3:listObjectsV2";
            node.fault(Code::BadResource, message);
            None
        }
    });
    let arguments = reader.payload("Parameters", "Arguments");
    let config = fields.get("ReaderConfig").and_then(|node| node.fields());
    fields.finish(reader.language);
    let settings = config
        .as_ref()
        .map(|config| reader_config(&reader.within(config)))
        .unwrap_or_default();
    let source = match (resource?, settings.flatten) {
        (Call::GetObject, _) => {
            // One that is there and comes to nothing has been told of.
            if config
                .as_ref()
                .is_none_or(|config| !config.has("InputType"))
                && settings.format.is_none()
            {
                let message = "An ItemReader of s3:getObject requires ReaderConfig.InputType";
                fields.node.fault(Code::ReaderConfig, message);
            }
            Source::Object(settings.format?)
        }
        (Call::ListObjects, false) => Source::Listing,
        (Call::ListObjects, true) => Source::Contents(settings.format.unwrap_or(Format::Json)),
    };
    Some(ItemReader {
        source,
        arguments,
        max_items: settings.max_items,
        items_pointer: settings.items_pointer,
    })
}

#[derive(Clone, Copy)]
enum Call {
    GetObject,
    ListObjects,
}

#[derive(Default)]
struct Settings {
    format: Option<Format>,
    max_items: Option<Given<u32>>,
    items_pointer: Option<Arc<str>>,
    /// `Transformation: LOAD_AND_FLATTEN`
    flatten: bool,
}

#[derive(Clone, Copy, PartialEq)]
enum InputType {
    Csv,
    Json,
    JsonLines,
    Parquet,
    Manifest,
}

/// Whose manifest it is.
#[derive(Clone, Copy, PartialEq)]
enum Listed {
    Athena,
    Inventory,
}

fn reader_config(reader: &Reading) -> Settings {
    let config = reader.fields;
    let types = [
        ("CSV", InputType::Csv),
        ("JSON", InputType::Json),
        ("JSONL", InputType::JsonLines),
        ("PARQUET", InputType::Parquet),
        ("MANIFEST", InputType::Manifest),
    ];
    let input_type = config
        .get("InputType")
        .and_then(|node| node.word("InputType", &types));
    let manifests = [
        ("ATHENA_DATA", Listed::Athena),
        ("S3_INVENTORY", Listed::Inventory),
    ];
    let manifest = config
        .get("ManifestType")
        .and_then(|node| node.word("ManifestType", &manifests));
    let format = format(config, input_type, manifest);
    let items_pointer = config.get("ItemsPointer").and_then(|node| {
        let text = node.text()?;
        if !text.is_empty() && !text.starts_with('/') {
            node.fault(
                Code::ReaderConfig,
                "ReaderConfig.ItemsPointer must be a JSON Pointer, such as /orders",
            );
        }
        Some(Arc::from(text))
    });
    if items_pointer.is_some() && input_type.is_some_and(|input_type| input_type != InputType::Json)
    {
        config.node.fault(
            Code::ReaderConfig,
            "ReaderConfig.ItemsPointer requires the InputType JSON",
        );
    }
    let transformations = [("NONE", false), ("LOAD_AND_FLATTEN", true)];
    let flatten = config
        .get("Transformation")
        .and_then(|node| node.word("Transformation", &transformations));
    let max_items = reader.given("MaxItems", "MaxItemsPath", 0..=READER_ITEMS_MAX);
    config.finish(reader.language);
    Settings {
        format,
        max_items,
        items_pointer,
        flatten: flatten.unwrap_or(false),
    }
}

/// What `InputType` and `ManifestType` come to.
fn format(
    config: &Fields,
    input_type: Option<InputType>,
    manifest: Option<Listed>,
) -> Option<Format> {
    let csv = csv(config);
    match (input_type, manifest) {
        (Some(InputType::Manifest), None) => {
            let message = "ReaderConfig.ManifestType is required when InputType is MANIFEST";
            config.node.fault(Code::ReaderConfig, message);
            None
        }
        (_, Some(Listed::Inventory)) => Some(Format::Manifest(ManifestType::S3Inventory)),
        (files, Some(Listed::Athena)) => {
            let files = match files {
                Some(InputType::Csv) => csv,
                Some(InputType::Json) => Some(Format::Json),
                Some(InputType::JsonLines) => Some(Format::JsonLines),
                Some(InputType::Parquet | InputType::Manifest) | None => Some(Format::Parquet),
            };
            files.map(|files| Format::Manifest(ManifestType::AthenaData(Box::new(files))))
        }
        (Some(InputType::Csv), None) => csv,
        (Some(InputType::Json), None) => Some(Format::Json),
        (Some(InputType::JsonLines), None) => Some(Format::JsonLines),
        (Some(InputType::Parquet), None) => Some(Format::Parquet),
        (None, None) => None,
    }
}

/// The CSV settings; `None` when the header is not known.
fn csv(config: &Fields) -> Option<Format> {
    let delimiters = [
        ("COMMA", CsvDelimiter::Comma),
        ("PIPE", CsvDelimiter::Pipe),
        ("SEMICOLON", CsvDelimiter::Semicolon),
        ("SPACE", CsvDelimiter::Space),
        ("TAB", CsvDelimiter::Tab),
    ];
    let delimiter = config
        .get("CSVDelimiter")
        .and_then(|node| node.word("CSVDelimiter", &delimiters));
    let headers = config.get("CSVHeaders").and_then(|node| {
        Some(
            node.some_items()?
                .iter()
                .filter_map(|item| item.text().map(Arc::from))
                .collect::<Vec<Arc<str>>>(),
        )
    });
    let locations = [("FIRST_ROW", false), ("GIVEN", true)];
    let given = config
        .get("CSVHeaderLocation")
        .and_then(|node| node.word("CSVHeaderLocation", &locations));
    let is_csv = config
        .member("InputType")
        .is_some_and(|node| node.value.as_str() == Some("CSV"));
    let header = match (given, headers) {
        (Some(true), Some(headers)) => Some(CsvHeader::Given(headers)),
        (Some(false), None) => Some(CsvHeader::FirstRow),
        (Some(true), None) if !config.has("CSVHeaders") => {
            config.node.fault(
                Code::ReaderConfig,
                "ReaderConfig.CSVHeaders is required when CSVHeaderLocation is GIVEN",
            );
            None
        }
        // What the word should have been is told already.
        (None, Some(_)) if config.has("CSVHeaderLocation") => None,
        (Some(false) | None, Some(_)) => {
            config.node.fault(
                Code::ReaderConfig,
                "ReaderConfig.CSVHeaders requires CSVHeaderLocation to be GIVEN",
            );
            None
        }
        (None, None) if is_csv && !config.has("CSVHeaderLocation") => {
            config.missing(&["CSVHeaderLocation"]);
            None
        }
        (Some(true) | None, None) => None,
    };
    Some(Format::Csv {
        header: header?,
        delimiter: delimiter.unwrap_or_default(),
    })
}
