//! Definitions out of bytes: each byte is a choice, so that the fuzzer's small changes are small changes of the workflow.

/// Bytes that are taken one after the other; when they are used up, zeros.
pub(crate) struct Bytes<'a> {
    left: &'a [u8],
}

impl<'a> Bytes<'a> {
    pub(crate) fn of(bytes: &'a [u8]) -> Bytes<'a> {
        Bytes { left: bytes }
    }

    pub(crate) fn next(&mut self) -> u8 {
        match self.left.split_first() {
            Some((first, rest)) => {
                self.left = rest;
                *first
            }
            None => 0,
        }
    }

    pub(crate) fn is_empty(&self) -> bool {
        self.left.is_empty()
    }

    fn one(&mut self, of: &[&'static str]) -> &'static str {
        of[usize::from(self.next()) % of.len()]
    }
}

const PATHS: &[&str] = &[
    "$",
    "$.a",
    "$.list[0]",
    "$.list",
    "$$.State.Name",
    "$v",
    "$.missing",
    "$..b",
];
/// None of them takes the whole input, which would double at each turn of a loop.
const CALLS: &[&str] = &[
    "$.s",
    "$.a",
    "States.Array($.n, 1)",
    "States.Format('{}', $.s)",
    "States.MathAdd(1, $.n)",
    "States.UUID()",
    "$.missing",
    "$v",
];
const EXPRESSIONS: &[&str] = &[
    "$states.input.n",
    "$states.input.a",
    "$states.context.State.Name",
    "$v",
    "1 + 1",
    "$states.input.list",
    "$nothing",
    "[1..3]",
    "$random()",
    "'x' + 1",
];
const ERRORS: &[&str] = &[
    "States.ALL",
    "States.TaskFailed",
    "States.Timeout",
    "E",
    "Once",
];
const RESULT_PATHS: &[&str] = &["\"$\"", "\"$.r\"", "null", "\"$.a.b\"", "\"$.list[0]\""];

/// Levels of state machines within one another.
const DEPTH_MAX: u8 = 2;

/// A state machine.
pub(crate) fn from(bytes: &mut Bytes) -> String {
    let mut maker = Maker { bytes, names: 0 };
    let jsonata = maker.bytes.next() % 2 == 1;
    let language = if jsonata { "JSONata" } else { "JSONPath" };
    let flow = maker.flow(jsonata, 0);
    format!(r#"{{"QueryLanguage":"{language}","TimeoutSeconds":3000,{flow}}}"#)
}

struct Maker<'a, 'b> {
    bytes: &'a mut Bytes<'b>,
    /// States named so far: names are unique in the whole machine.
    names: usize,
}

impl Maker<'_, '_> {
    /// `StartAt` and `States`: a chain, in which Choice states also go back.
    fn flow(&mut self, jsonata: bool, depth: u8) -> String {
        let count = 1 + usize::from(self.bytes.next() % 4);
        let first = self.names;
        self.names += count;
        let states: Vec<String> = (0..count)
            .map(|index| {
                let next = (index + 1 < count).then_some(first + index + 1);
                let state = self.state(jsonata, depth, first, next);
                format!(r#""S{}":{{{state}}}"#, first + index)
            })
            .collect();
        format!(r#""StartAt":"S{first}","States":{{{}}}"#, states.join(","))
    }

    fn state(&mut self, jsonata: bool, depth: u8, first: usize, next: Option<usize>) -> String {
        let then = match next {
            Some(next) => format!(r#""Next":"S{next}""#),
            None => r#""End":true"#.to_owned(),
        };
        match self.bytes.next() % 8 {
            0 => format!(
                r#""Type":"Pass",{}{then}"#,
                self.fields(jsonata, "Parameters")
            ),
            1 | 2 => {
                let resource = self.bytes.one(&[
                    "arn:aws:lambda:us-east-1:000000000000:function:f",
                    "arn:aws:states:::sqs:sendMessage.waitForTaskToken",
                    "arn:aws:states:us-east-1:000000000000:activity:a",
                    "arn:aws:states:::ecs:runTask.sync",
                ]);
                let handlers = self.handlers(jsonata, next.unwrap_or(first));
                format!(
                    r#""Type":"Task","Resource":"{resource}","TimeoutSeconds":60,"HeartbeatSeconds":9,{handlers}{}{then}"#,
                    self.fields(jsonata, "Parameters")
                )
            }
            3 => {
                let seconds = self.bytes.next();
                format!(r#""Type":"Wait","Seconds":{seconds},{then}"#)
            }
            4 => match next {
                Some(next) => self.choice(jsonata, first, next),
                None => r#""Type":"Succeed""#.to_owned(),
            },
            5 if next.is_none() => r#""Type":"Fail","Error":"E","Cause":"c""#.to_owned(),
            6 if depth < DEPTH_MAX => {
                let branches: Vec<String> = (0..1 + self.bytes.next() % 3)
                    .map(|_| format!("{{{}}}", self.flow(jsonata, depth + 1)))
                    .collect();
                let handlers = self.handlers(jsonata, next.unwrap_or(first));
                format!(
                    r#""Type":"Parallel","Branches":[{}],{handlers}{then}"#,
                    branches.join(",")
                )
            }
            7 if depth < DEPTH_MAX => {
                let processor = self.flow(jsonata, depth + 1);
                let items = match jsonata {
                    true => format!(r#""Items":"{{% {} %}}","#, self.bytes.one(EXPRESSIONS)),
                    false => format!(
                        r#""ItemsPath":"{}","#,
                        self.bytes.one(&["$", "$.list", "$.missing"])
                    ),
                };
                let concurrency = self.bytes.next() % 3;
                let handlers = self.handlers(jsonata, next.unwrap_or(first));
                format!(
                    r#""Type":"Map",{items}"MaxConcurrency":{concurrency},{handlers}"ItemProcessor":{{{processor}}},{then}"#
                )
            }
            _ => format!(r#""Type":"Pass",{then}"#),
        }
    }

    fn choice(&mut self, jsonata: bool, first: usize, next: usize) -> String {
        let test = match jsonata {
            true => format!(
                r#""Condition":"{{% {} %}}""#,
                self.bytes
                    .one(&["$states.input.n > 1", "true", "$states.input.a", "false"])
            ),
            false => format!(
                r#""Variable":"{}","{}":true"#,
                self.bytes.one(PATHS),
                self.bytes.one(&["IsPresent", "IsString", "BooleanEquals"])
            ),
        };
        let back = match self.bytes.next() % 4 {
            0 => first,
            _ => next,
        };
        format!(r#""Type":"Choice","Choices":[{{{test},"Next":"S{back}"}}],"Default":"S{next}""#)
    }

    /// What a state makes of its data.
    fn fields(&mut self, jsonata: bool, parameters: &str) -> String {
        let assign = self.bytes.next().is_multiple_of(3);
        match jsonata {
            true => {
                let value = self.bytes.one(EXPRESSIONS);
                let assigned = if assign {
                    format!(
                        r#""Assign":{{"v":"{{% {} %}}"}},"#,
                        self.bytes.one(EXPRESSIONS)
                    )
                } else {
                    String::new()
                };
                format!(r#"{assigned}"Output":{{"x":"{{% {value} %}}"}},"#)
            }
            false => {
                let value = self.bytes.one(CALLS);
                let path = self.bytes.one(RESULT_PATHS);
                let assigned = if assign {
                    format!(r#""Assign":{{"v.$":"{}"}},"#, self.bytes.one(CALLS))
                } else {
                    String::new()
                };
                format!(
                    r#"{assigned}"{parameters}":{{"x.$":"{value}","k":1}},"ResultPath":{path},"#
                )
            }
        }
    }

    fn handlers(&mut self, jsonata: bool, target: usize) -> String {
        let choice = self.bytes.next();
        let retry = match choice % 3 {
            0 => String::new(),
            attempts => format!(
                r#""Retry":[{{"ErrorEquals":["{}"],"IntervalSeconds":2,"MaxAttempts":{attempts}}}],"#,
                self.bytes.one(ERRORS)
            ),
        };
        let output = if jsonata {
            "\"Output\":\"{% $states.errorOutput %}\","
        } else {
            "\"ResultPath\":\"$.error\","
        };
        let catch = match choice % 5 {
            0 | 1 => format!(
                r#""Catch":[{{"ErrorEquals":["{}"],{output}"Next":"S{target}"}}],"#,
                self.bytes.one(ERRORS)
            ),
            _ => String::new(),
        };
        retry + &catch
    }
}
