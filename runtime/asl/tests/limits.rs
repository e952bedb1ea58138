//! Each limit of a definition holds to the unit: what is at it loads, one more is refused with its code.

use stepwell_asl::{Code, Limits, Options, Severity, load};

/// A limit: its value, the code of what is beyond, and a definition that has that much.
struct Limit {
    what: &'static str,
    value: usize,
    code: Code,
    definition: fn(usize) -> String,
}

const LIMITS: [Limit; 16] = [
    Limit {
        what: "bytes of a definition",
        value: 1_048_576,
        code: Code::TooLarge,
        definition: |bytes| {
            let frame = state(r#""Type":"Succeed","Comment":"""#).len();
            state(&format!(
                r#""Type":"Succeed","Comment":"{}""#,
                "x".repeat(bytes - frame)
            ))
        },
    },
    Limit {
        what: "levels of JSON",
        value: 400,
        code: Code::TooDeep,
        definition: |levels| {
            // The definition, its states and the state are three.
            let (open, close) = ("[".repeat(levels - 3), "]".repeat(levels - 3));
            pass(&format!(r#""Result":{open}{close}"#))
        },
    },
    Limit {
        what: "levels of state machines",
        value: 25,
        code: Code::TooDeep,
        definition: |levels| {
            let mut flow = r#""StartAt":"S0","States":{"S0":{"Type":"Succeed"}}"#.to_owned();
            for level in 1..=levels {
                flow = format!(
                    r#""StartAt":"S{level}","States":{{"S{level}":{{"Type":"Parallel","End":true,"Branches":[{{{flow}}}]}}}}"#
                );
            }
            format!("{{{flow}}}")
        },
    },
    Limit {
        what: "levels of a Choice rule",
        value: 50,
        code: Code::TooDeep,
        definition: |levels| {
            let test = r#""Variable":"$.x","IsPresent":true"#;
            let nested = format!(
                "{}{{{test}}}{}",
                r#"{"Not":"#.repeat(levels - 1),
                "}".repeat(levels - 1)
            );
            format!(
                r#"{{"StartAt":"A","States":{{"A":{{"Type":"Choice","Choices":[{{"Not":{nested},"Next":"B"}}]}},"B":{{"Type":"Succeed"}}}}}}"#
            )
        },
    },
    Limit {
        what: "characters of a state's name",
        value: 80,
        code: Code::StateName,
        definition: |length| {
            let name = "é".repeat(length);
            format!(r#"{{"StartAt":"{name}","States":{{"{name}":{{"Type":"Succeed"}}}}}}"#)
        },
    },
    Limit {
        what: "characters of a variable's name",
        value: 80,
        code: Code::VariableName,
        definition: |length| pass(&format!(r#""Assign":{{"{}":1}}"#, "é".repeat(length))),
    },
    Limit {
        what: "characters of a Map's label",
        value: 40,
        code: Code::LabelName,
        definition: |length| distributed(&format!(r#""Label":"{}""#, "é".repeat(length))),
    },
    Limit {
        what: "seconds of the state machine's timeout",
        value: 99_999_999,
        code: Code::OutOfRange,
        definition: |seconds| {
            format!(
                r#"{{"TimeoutSeconds":{seconds},"StartAt":"A","States":{{"A":{{"Type":"Succeed"}}}}}}"#
            )
        },
    },
    Limit {
        what: "seconds of a task's timeout",
        value: 99_999_999,
        code: Code::OutOfRange,
        definition: |seconds| task(&format!(r#""TimeoutSeconds":{seconds}"#)),
    },
    Limit {
        what: "seconds of a task's heartbeat",
        value: 99_999_998,
        code: Code::Heartbeat,
        definition: |seconds| {
            task(&format!(
                r#""TimeoutSeconds":99999999,"HeartbeatSeconds":{seconds}"#
            ))
        },
    },
    Limit {
        what: "seconds of a wait",
        value: 99_999_999,
        code: Code::OutOfRange,
        definition: |seconds| state(&format!(r#""Type":"Wait","End":true,"Seconds":{seconds}"#)),
    },
    Limit {
        what: "seconds of a retry's interval",
        value: 99_999_999,
        code: Code::OutOfRange,
        definition: |seconds| retrier(&format!(r#""IntervalSeconds":{seconds}"#)),
    },
    Limit {
        what: "seconds of a retry's longest delay",
        value: 31_622_400,
        code: Code::OutOfRange,
        definition: |seconds| retrier(&format!(r#""MaxDelaySeconds":{seconds}"#)),
    },
    Limit {
        what: "attempts of a retry",
        value: 99_999_999,
        code: Code::OutOfRange,
        definition: |attempts| retrier(&format!(r#""MaxAttempts":{attempts}"#)),
    },
    Limit {
        what: "bytes of a batch",
        value: 262_144,
        code: Code::OutOfRange,
        definition: |bytes| {
            distributed(&format!(
                r#""ItemBatcher":{{"MaxInputBytesPerBatch":{bytes}}}"#
            ))
        },
    },
    Limit {
        what: "items of a reader",
        value: 100_000_000,
        code: Code::OutOfRange,
        definition: |items| {
            distributed(&format!(
                r#""ItemReader":{{"Resource":"arn:aws:states:::s3:listObjectsV2","Parameters":{{"Bucket":"b"}},"ReaderConfig":{{"MaxItems":{items}}}}}"#
            ))
        },
    },
];

fn state(fields: &str) -> String {
    format!(r#"{{"StartAt":"A","States":{{"A":{{{fields}}}}}}}"#)
}

fn pass(fields: &str) -> String {
    state(&format!(r#""Type":"Pass","End":true,{fields}"#))
}

fn task(fields: &str) -> String {
    state(&format!(
        r#""Type":"Task","Resource":"wasm:f","End":true,{fields}"#
    ))
}

fn retrier(fields: &str) -> String {
    task(&format!(
        r#""Retry":[{{"ErrorEquals":["States.ALL"],{fields}}}]"#
    ))
}

fn distributed(fields: &str) -> String {
    let processor = r#"{"ProcessorConfig":{"Mode":"DISTRIBUTED","ExecutionType":"STANDARD"},"StartAt":"B","States":{"B":{"Type":"Succeed"}}}"#;
    state(&format!(
        r#""Type":"Map","End":true,"ItemProcessor":{processor},{fields}"#
    ))
}

#[test]
fn limits_hold_to_the_unit() {
    for limit in LIMITS {
        let codes = |amount: usize| -> Vec<Code> {
            let loaded = load(&(limit.definition)(amount), &Options::default());
            let errors = loaded.diagnostics.iter();
            let errors = errors.filter(|diagnostic| diagnostic.severity() == Severity::Error);
            errors.map(|diagnostic| diagnostic.code).collect()
        };
        assert_eq!(codes(limit.value), [], "{}", limit.what);
        assert_eq!(codes(limit.value + 1), [limit.code], "{}", limit.what);
    }
}

#[test]
fn raised_limits_take_larger_definitions() {
    let definition = |bytes: usize| {
        state(&format!(
            r#""Type":"Succeed","Comment":"{}""#,
            "x".repeat(bytes)
        ))
    };
    let options = Options {
        limits: Limits::Raised,
        ..Options::default()
    };
    assert!(load(&definition(1_048_576), &options).program.is_some());
    assert!(
        load(&definition(16 * 1_048_576), &options)
            .program
            .is_none()
    );
}
