//! The concurrency limit of a state machine, as its tags say it. Hides their names and their rules.

use serde::{Deserialize, Serialize};
use stepwell_query::Expression;

use crate::limits::CONCURRENCY_MAX;

/// What all tags that set limits begin with.
const PREFIX: &str = "stepwell:concurrency";
/// How many executions may have a place at a time.
const ALL: &str = "stepwell:concurrency";
/// An expression over the input: executions with equal results are of one key.
const KEY: &str = "stepwell:concurrency-key";
/// How many executions of one key may have a place at a time.
const PER_KEY: &str = "stepwell:concurrency-per-key";
/// `wait` or `refuse`.
const MODE: &str = "stepwell:concurrency-mode";

/// What bounds the executions of a state machine.
#[derive(Clone)]
pub(crate) struct Concurrency {
    /// How many may have a place at a time.
    pub(crate) most: Option<u32>,
    /// How many of one key.
    pub(crate) per_key: Option<u32>,
    pub(crate) key: Option<Expression>,
    /// What becomes of those that exceed, where that is said.
    pub(crate) mode: Option<Exceeding>,
    /// `most` is what holds for every state machine of the account, and not the machine's own.
    pub(crate) usual: bool,
}

/// What becomes of executions beyond a limit.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Exceeding {
    /// They wait until others have ended.
    Wait,
    /// They are refused.
    Refuse,
}

/// The limit of every state machine of an account.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct UsualConcurrency {
    pub(crate) most: u32,
    pub(crate) mode: Option<Exceeding>,
}

impl Concurrency {
    /// Whether what exceeds is refused, and does not wait.
    pub(crate) fn refuses(&self) -> bool {
        self.mode == Some(Exceeding::Refuse)
    }
}

/// What counts of a state machine whose tags set `own`: they may say less than what is usual, and not more.
pub(crate) fn within(
    own: Option<Concurrency>,
    usual: Option<UsualConcurrency>,
) -> Option<Concurrency> {
    let Some(usual) = usual else { return own };
    let of_usual = Concurrency {
        most: Some(usual.most),
        per_key: None,
        key: None,
        mode: usual.mode,
        usual: true,
    };
    let Some(own) = own else {
        return Some(of_usual);
    };
    let less = own.most.filter(|most| *most <= usual.most);
    Some(Concurrency {
        most: less.or(Some(usual.most)),
        mode: own.mode.or(usual.mode),
        usual: less.is_none(),
        ..own
    })
}

/// The limit that tags set; `None` when they set none. What is wrong is said with its tag and how to mend it.
pub(crate) fn of_tags(tags: &[(String, String)]) -> Result<Option<Concurrency>, String> {
    let (mut most, mut per_key, mut key, mut exceeding) = (None, None, None, None);
    for (name, value) in tags.iter().filter(|(name, _)| name.starts_with(PREFIX)) {
        match name.as_str() {
            ALL => most = Some(number(name, value)?),
            PER_KEY => per_key = Some(number(name, value)?),
            KEY => key = Some(expression(value)?),
            MODE => exceeding = Some(mode(value)?),
            other => {
                return Err(format!(
                    "The tag '{other}' sets nothing: tags that begin with `{PREFIX}` are `{ALL}`, `{KEY}`, `{PER_KEY}` and `{MODE}`"
                ));
            }
        }
    }
    if per_key.is_some() && key.is_none() {
        return Err(format!(
            "The tag `{PER_KEY}` needs the tag `{KEY}`, which says of which key an execution is: set it, for example to '{{% $states.input.customer %}}', or remove `{PER_KEY}`"
        ));
    }
    if most.is_none() && per_key.is_none() {
        let lonely = match (&key, exceeding) {
            (Some(_), _) => KEY,
            (None, Some(_)) => MODE,
            (None, None) => return Ok(None),
        };
        return Err(format!(
            "The tag `{lonely}` limits nothing alone: set `{ALL}` or `{PER_KEY}` too, or remove it"
        ));
    }
    Ok(Some(Concurrency {
        most,
        per_key,
        key,
        mode: exceeding,
        usual: false,
    }))
}

/// Whether a change of tags may change limits.
pub(crate) fn changes(before: &[(String, String)], after: &[(String, String)]) -> bool {
    let own = |tags: &[(String, String)]| {
        let own = tags.iter().filter(|(name, _)| name.starts_with(PREFIX));
        let mut own: Vec<_> = own.cloned().collect();
        own.sort();
        own
    };
    own(before) != own(after)
}

fn number(name: &str, value: &str) -> Result<u32, String> {
    let number = value.trim().parse::<u32>().ok();
    number
        .filter(|number| (1..=CONCURRENCY_MAX).contains(number))
        .ok_or_else(|| {
            format!(
                "The tag `{name}` takes a whole number from 1 to {CONCURRENCY_MAX}; remove the tag to set no limit. Received: '{value}'"
            )
        })
}

fn mode(value: &str) -> Result<Exceeding, String> {
    match value.trim() {
        "wait" => Ok(Exceeding::Wait),
        "refuse" => Ok(Exceeding::Refuse),
        _ => Err(format!(
            "The tag `{MODE}` is `wait` or `refuse`. Received: '{value}'"
        )),
    }
}

fn expression(value: &str) -> Result<Expression, String> {
    let text = Expression::unwrap(value.trim()).ok_or_else(|| {
        format!(
            "The tag `{KEY}` takes a JSONata expression between `{{%` and `%}}`, for example '{{% $states.input.customer %}}'. Received: '{value}'"
        )
    })?;
    let parsed = Expression::parse(text);
    let expression = parsed.map_err(|error| format!("The tag `{KEY}`: {}", error.told(text)))?;
    let found = expression.references();
    let variable = found.variables.first().map(|name| format!("${name}"));
    let member = match (found.context, found.result, found.error_output) {
        (true, _, _) => Some("$states.context"),
        (_, true, _) => Some("$states.result"),
        (_, _, true) => Some("$states.errorOutput"),
        (false, false, false) => None,
    };
    let unrooted = found.unrooted.first().map(ToString::to_string);
    let unknown = found.unknown_states.first();
    let unknown = unknown.map(|name| format!("$states.{name}"));
    let other = variable
        .or(member.map(str::to_owned))
        .or(unrooted)
        .or(unknown);
    match other {
        Some(other) => Err(format!(
            "The tag `{KEY}` can read `$states.input` alone, since the execution has not begun: '{}' reads `{other}`",
            text.trim()
        )),
        None => Ok(expression),
    }
}

#[cfg(test)]
mod tests {
    use super::{Concurrency, Exceeding, UsualConcurrency, changes, of_tags, within};

    fn tags(pairs: &[(&str, &str)]) -> Vec<(String, String)> {
        let owned = pairs
            .iter()
            .map(|(key, value)| (key.to_string(), value.to_string()));
        owned.collect()
    }

    fn limits(pairs: &[(&str, &str)]) -> Result<Option<Concurrency>, String> {
        of_tags(&tags(pairs))
    }

    #[test]
    fn tags_set_limits() {
        assert!(limits(&[("team", "a")]).is_ok_and(|limits| limits.is_none()));
        let set = limits(&[
            ("stepwell:concurrency", "5"),
            ("team", "a"),
            ("stepwell:concurrency-key", "{% $states.input.customer %}"),
            ("stepwell:concurrency-per-key", " 1 "),
            ("stepwell:concurrency-mode", "refuse"),
        ]);
        let set = set.expect("they are right").expect("they set limits");
        assert_eq!(
            (set.most, set.per_key, set.refuses()),
            (Some(5), Some(1), true)
        );
        assert!(set.key.is_some());
        let alone = limits(&[("stepwell:concurrency", "10000")]);
        let alone = alone.expect("it is right").expect("it sets a limit");
        assert_eq!((alone.per_key, alone.mode), (None, None));
        assert!(!alone.refuses() && !alone.usual);
    }

    #[test]
    fn tags_may_say_less_than_what_is_usual() {
        let usual = |most, mode| Some(UsualConcurrency { most, mode });
        let own = |text: &str| limits(&[("stepwell:concurrency", text)]).expect("it is right");
        let told = |counts: Option<Concurrency>| {
            counts.map(|counts| (counts.most, counts.refuses(), counts.usual))
        };
        let refuse = Some(Exceeding::Refuse);
        let cases = [
            (None, None, None),
            (own("5"), None, Some((Some(5), false, false))),
            (None, usual(3, None), Some((Some(3), false, true))),
            (None, usual(3, refuse), Some((Some(3), true, true))),
            (own("2"), usual(3, refuse), Some((Some(2), true, false))),
            (own("3"), usual(3, None), Some((Some(3), false, false))),
            (own("4"), usual(3, None), Some((Some(3), false, true))),
        ];
        for (own, usual, expected) in cases {
            assert_eq!(told(within(own, usual)), expected, "{usual:?}");
        }
        let keyed = limits(&[
            ("stepwell:concurrency-key", "{% $states.input.customer %}"),
            ("stepwell:concurrency-per-key", "1"),
            ("stepwell:concurrency-mode", "wait"),
        ]);
        let keyed = keyed.expect("they are right");
        let counts = within(keyed, usual(3, refuse)).expect("there is a limit");
        assert_eq!((counts.most, counts.per_key), (Some(3), Some(1)));
        assert!(counts.key.is_some(), "its key stays");
        assert!(
            !counts.refuses(),
            "it says itself what becomes of the others"
        );
    }

    #[test]
    fn what_is_wrong_is_told_with_its_tag() {
        let key = "stepwell:concurrency-key";
        let cases: [(&[(&str, &str)], &str); 12] = [
            (&[("stepwell:concurrency", "0")], "from 1 to"),
            (&[("stepwell:concurrency", "many")], "'many'"),
            (&[("stepwell:concurrency", "10001")], "10000"),
            (&[("stepwell:concurrency-per-key", "1")], "needs the tag"),
            (&[("stepwell:concurrency-mode", "wait")], "limits nothing"),
            (&[("stepwell:concurrency-limit", "1")], "sets nothing"),
            (&[(key, "{% $states.input.a %}")], "limits nothing"),
            (
                &[
                    ("stepwell:concurrency", "1"),
                    ("stepwell:concurrency-mode", "drop"),
                ],
                "'drop'",
            ),
            (
                &[("stepwell:concurrency", "1"), (key, "$.customer")],
                "between",
            ),
            (
                &[("stepwell:concurrency", "1"), (key, "{% $states.input. %}")],
                "not valid",
            ),
            (
                &[
                    ("stepwell:concurrency", "1"),
                    (key, "{% $states.context.Execution.Id %}"),
                ],
                "$states.context",
            ),
            (
                &[("stepwell:concurrency", "1"), (key, "{% $other %}")],
                "$other",
            ),
        ];
        for (pairs, told) in cases {
            let why = limits(pairs).err().unwrap_or_default();
            assert!(why.contains(told), "{pairs:?}: {why}");
        }
    }

    #[test]
    fn other_tags_change_no_limit() {
        let one = tags(&[("stepwell:concurrency", "1"), ("team", "a")]);
        let same = tags(&[("team", "b"), ("stepwell:concurrency", "1")]);
        assert!(!changes(&one, &same));
        assert!(changes(&one, &tags(&[("stepwell:concurrency", "2")])));
        assert!(changes(&one, &[]));
    }
}
