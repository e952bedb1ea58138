//! The limits of this crate, each with its unit and origin.

/// Levels of nesting of a JSON text or value. Origin: Jackson 2.15+ (`StreamReadConstraints`), the reader AWS uses.
pub const JSON_DEPTH_MAX: u32 = 1000;

/// Members up to which an object is searched from front to back; above it an index is kept. Ours, measured.
pub(crate) const OBJECT_LINEAR_MAX: usize = 12;

/// Bytes of a JSONPath or an intrinsic call. Ours: no definition within AWS's 1 MiB needs more.
pub(crate) const PATH_BYTES_MAX: usize = 65_536;

/// Levels of brackets in a JSONPath filter. Ours.
pub(crate) const FILTER_DEPTH_MAX: u32 = 100;

/// Nodes one JSONPath evaluation may visit. Ours: `..` over `..` is quadratic in the size of the input.
pub(crate) const PATH_VISITS_MAX: u64 = 5_000_000;

/// Bytes that all expressions of one state may make, in the JSON of what intrinsic functions and JSONata give and in the
/// lists of what paths find. Ours: a state may have thousands of expressions, and its output is far smaller.
pub const STATE_BYTES_MAX: usize = 268_435_456;

/// Levels of intrinsic calls within one another. Origin: developer guide, "Intrinsic functions".
pub(crate) const INTRINSIC_DEPTH_MAX: u32 = 10;

/// Elements of States.ArrayRange. Origin: developer guide, "Intrinsic functions".
pub(crate) const ARRAY_RANGE_MAX: usize = 1000;

/// Characters taken by States.Base64Encode, States.Base64Decode and States.Hash. Origin: developer guide.
pub(crate) const INTRINSIC_TEXT_CHARS_MAX: usize = 10_000;

/// Bytes of the array that States.ArrayPartition returns. Origin: developer guide, the payload quota.
pub(crate) const ARRAY_PARTITION_BYTES_MAX: usize = 262_144;

/// Milliseconds one JSONata expression may run, telling its error included. Ours; AWS documents none. An expression is not
/// interrupted: other executions of its shard wait for its end.
pub const JSONATA_TIME_MS_MAX: u64 = 250;

/// Milliseconds that all JSONata expressions of one state may run together. Ours: a state may have thousands of them.
pub const JSONATA_STATE_TIME_MS_MAX: u64 = 10_000;

/// Levels of evaluation of a JSONata expression. Ours, near AWS's: a sum of 200 terms overflows there.
pub const JSONATA_DEPTH_MAX: usize = 400;

/// Elements of a sequence a JSONata expression may build. Origin: measured on AWS (873,782 passes, 873,783 does not).
pub const JSONATA_SEQUENCE_MAX: usize = 873_782;

/// Bytes of a string a JSONata function may build. Origin: measured on AWS (2^22 passes, 2^23 does not).
pub const JSONATA_STRING_BYTES_MAX: usize = 4_194_304;

/// Bytes that one JSONata evaluation may build in strings and arrays, freed ones included. Ours.
pub const JSONATA_MEMORY_BYTES_MAX: usize = 268_435_456;

/// Bytes that the result of a JSONata evaluation may take in memory. Ours; payloads are far smaller.
pub const JSONATA_RESULT_BYTES_MAX: usize = 67_108_864;

/// How many copies of a part all constructors of an expression together may make without a guard. Ours.
pub(crate) const JSONATA_COPIES_FREE: usize = 4_096;

/// Bytes that a value of a JSONata evaluation may weigh as JSON, shared parts counted each time: what the engine's own walks
/// do in less than half of an expression's time. Ours.
pub(crate) const JSONATA_WEIGHT_BYTES_MAX: usize = 33_554_432;

/// Items of the values whose weight is remembered during one evaluation. Ours.
pub(crate) const JSONATA_WEIGHED_ITEMS_KEPT_MAX: usize = 262_144;

/// Partial applications of one evaluation: each may hold the one before it. Ours.
pub(crate) const JSONATA_PARTIALS_MAX: usize = 1_000;

/// Levels of the signature of a function; `<a<a<s>>>` has three. Ours.
pub(crate) const JSONATA_SIGNATURE_DEPTH_MAX: usize = 32;

/// Bytes of the picture of a number or a time. Ours.
pub(crate) const JSONATA_PICTURE_BYTES_MAX: usize = 4_096;

/// Elements of an array for `$distinct`, which compares them pair by pair and is not interrupted: twice as many numbers took
/// some 280 ms. Ours.
pub(crate) const JSONATA_DISTINCT_MAX: usize = 10_000;

/// Levels of the syntax tree of a JSONata expression; a deeper one overflows. Origin: measured on AWS, where a sum of
/// 200 terms overflows.
pub(crate) const JSONATA_TREE_DEPTH_MAX: usize = 199;

/// Concatenations and array constructors of an expression that need no guard as long as each runs once. Ours.
pub(crate) const JSONATA_CONCATENATIONS_FREE: usize = 8;

/// Bytes of a text that `States.Format` may build; its arguments are bounded, their number is not. Ours.
pub(crate) const INTRINSIC_TEXT_BYTES_MAX: usize = 4_194_304;

/// Bytes of a value that an error of a JSONata evaluation tells. Ours.
pub(crate) const JSONATA_TOLD_BYTES_MAX: usize = 65_536;
