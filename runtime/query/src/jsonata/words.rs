//! The words of errors. The service tells JSONata's errors in the words of the reference engine; the engine's own are
//! others. Hides which texts there are, and what is made out of the engine's.

use super::witness::Seen;
use crate::value::Value;

/// Errors whose text is always the same.
const CONSTANT: [(&str, &str); 32] = [
    ("T1006", "Attempted to invoke a non-function"),
    ("T1008", "Attempted to partially apply a non-function"),
    (
        "T2003",
        "The left side of the range operator (..) must evaluate to an integer",
    ),
    (
        "T2004",
        "The right side of the range operator (..) must evaluate to an integer",
    ),
    (
        "T2006",
        "The right side of the function application operator ~> must be a function",
    ),
    (
        "T2008",
        "The expressions within an order-by clause must evaluate to numeric or string values",
    ),
    (
        "D3001",
        "Attempting to invoke string function on Infinity or NaN",
    ),
    (
        "D3010",
        "Second argument of replace function cannot be an empty string",
    ),
    (
        "D3011",
        "Fourth argument of replace function must evaluate to a positive number",
    ),
    (
        "D3012",
        "Attempted to replace a matched string with a non-string value",
    ),
    (
        "D3020",
        "Third argument of split function must evaluate to a positive number",
    ),
    (
        "D3040",
        "Third argument of match function must evaluate to a positive number",
    ),
    (
        "D3050",
        "The second argument of reduce function must be a function with at least two arguments",
    ),
    (
        "D3080",
        "The picture string must only contain a maximum of two sub-pictures",
    ),
    (
        "D3081",
        "The sub-picture must not contain more than one instance of the 'decimal-separator' character",
    ),
    (
        "D3082",
        "The sub-picture must not contain more than one instance of the 'percent' character",
    ),
    (
        "D3083",
        "The sub-picture must not contain more than one instance of the 'per-mille' character",
    ),
    (
        "D3084",
        "The sub-picture must not contain both a 'percent' and a 'per-mille' character",
    ),
    (
        "D3085",
        "The mantissa part of a sub-picture must contain at least one character that is either an 'optional digit character' or a member of the 'decimal digit family'",
    ),
    (
        "D3086",
        "The sub-picture must not contain a passive character that is preceded by an active character and that is followed by another active character",
    ),
    (
        "D3087",
        "The sub-picture must not contain a 'grouping-separator' character that appears adjacent to a 'decimal-separator' character",
    ),
    (
        "D3088",
        "The sub-picture must not contain a 'grouping-separator' at the end of the integer part",
    ),
    (
        "D3089",
        "The sub-picture must not contain two adjacent instances of the 'grouping-separator' character",
    ),
    (
        "D3090",
        "The integer part of the sub-picture must not contain a member of the 'decimal digit family' that is followed by an instance of the 'optional digit character'",
    ),
    (
        "D3091",
        "The fractional part of the sub-picture must not contain an instance of the 'optional digit character' that is followed by a member of the 'decimal digit family'",
    ),
    (
        "D3092",
        "A sub-picture that contains a 'percent' or 'per-mille' character must not contain a character treated as an 'exponent-separator'",
    ),
    (
        "D3093",
        "The exponent part of the sub-picture must comprise only of one or more characters that are members of the 'decimal digit family'",
    ),
    (
        "D3131",
        "In a decimal digit pattern, all digits must be from the same decimal group",
    ),
    (
        "D3134",
        "The timezone integer format specifier cannot have more than four digits",
    ),
    (
        "D3135",
        "No matching closing bracket ']' in date/time picture string",
    ),
    (
        "D3138",
        "The $single() function expected exactly 1 matching result.  Instead it matched more.",
    ),
    (
        "D3139",
        "The $single() function expected exactly 1 matching result.  Instead it matched 0.",
    ),
];

/// The text of an error of an evaluation; `text` is the engine's, without the code.
pub(super) fn evaluation(code: &str, text: &str, seen: &Seen) -> String {
    if let Some((_, words)) = CONSTANT.iter().find(|(known, _)| *known == code) {
        return (*words).to_owned();
    }
    let told = match code {
        "T0410" | "T0411" | "T0412" => argument(code, text, seen),
        "T2001" | "T2002" => between(text, "side of the ", " operator").map(|operator| {
            let side = if code == "T2001" { "left" } else { "right" };
            format!("The {side} side of the \"{operator}\" operator must evaluate to a number")
        }),
        "T2009" => seen.operation().map(|(operator, left, right)| {
            format!("The values {left} and {right} either side of operator \"{operator}\" must be of the same data type")
        }),
        "T2010" => seen.operation().map(|(operator, ..)| {
            format!("The expressions either side of operator \"{operator}\" must evaluate to numeric or string values")
        }),
        "D1002" => seen
            .operand()
            .map(|value| format!("Cannot negate a non-numeric value: {value}")),
        "D3030" => between(text, "Cannot convert '", "' to number")
            .map(|given| format!("Unable to cast value to a number: {}", json(given))),
        "D3100" => text.rsplit(' ').next().map(|radix| {
            format!("The radix of the formatBase function must be between 2 and 36.  It was given {radix}")
        }),
        "D3130" => Some(format!(
            "Formatting or parsing an integer as a sequence starting with {} is not supported by this implementation",
            json(text)
        )),
        "D3132" => Some(format!(
            "Unknown component specifier {} in date/time picture string",
            json(text)
        )),
        "D3133" => Some(format!(
            "The 'name' modifier can only be applied to months and days in the date/time picture string, not {}",
            json(text)
        )),
        "D3140" if !text.contains("to $") => Some(text.replacen("passed to ", "passed to $", 1)),
        _ => None,
    };
    told.unwrap_or_else(|| text.to_owned())
}

/// An argument that its function does not take. Where it is not known which function was called, it is not named.
fn argument(code: &str, text: &str, seen: &Seen) -> Option<String> {
    if text.contains("function \"") {
        return None;
    }
    let named = between(text, "of function ", " does not").filter(|name| *name != "undefined");
    let function = named
        .map(|name| name.trim_start_matches('$'))
        .or_else(|| seen.function());
    let function = function.map_or_else(String::new, |name| format!(" \"{name}\""));
    let index = match between(text, "expected ", ", got ").and_then(|count| count.parse().ok()) {
        // Too few, or what the last one is too many by.
        Some(expected) => {
            let got: usize = text.rsplit(' ').next()?.parse().ok()?;
            if got < expected { got + 1 } else { got }
        }
        None => first_number(text).unwrap_or(1),
    };
    Some(match code {
        "T0410" => {
            format!("Argument {index} of function{function} does not match function signature")
        }
        "T0411" => {
            format!(
                "Context value is not a compatible type with argument {index} of function{function}"
            )
        }
        _ => {
            let kind = text
                .rsplit(' ')
                .next()?
                .trim_end_matches('s')
                .to_lowercase();
            format!("Argument {index} of function{function} must be an array of \"{kind}s\"")
        }
    })
}

/// The code and the text of a syntax error; `text` is the engine's, without the code.
pub(super) fn syntax<'c>(code: &'c str, text: &str, expression: &str) -> (&'c str, String) {
    let told = match code {
        // The engine takes the end of a regular expression for that of a string.
        "S0101" if !has_open_quote(expression) => {
            return ("S0302", "No terminating / in regular expression".to_owned());
        }
        "S0207" | "S0208" if closing(expression).is_some() => {
            let closing = closing(expression).unwrap_or_default();
            return (
                "S0203",
                format!("Expected \"{closing}\" before end of expression"),
            );
        }
        "S0102" => text
            .strip_prefix("Number out of range: ")
            .map(|number| format!("Number out of range: {}", json(number))),
        "S0103" => text
            .strip_prefix("Unsupported escape sequence: \\")
            .map(|escape| format!("Unsupported escape sequence: \\{}", json(escape))),
        "S0201" => text
            .strip_prefix("Syntax error: ")
            .and_then(token)
            .map(|token| format!("Syntax error: {token}")),
        "S0202" => text
            .strip_prefix("Expected ")
            .and_then(|rest| rest.split_once(", got "))
            .and_then(|(expected, got)| Some((token(expected)?, token(got)?)))
            .map(|(expected, got)| format!("Expected {expected}, got {got}")),
        "S0203" => between(text, "Expected ", " before end")
            .and_then(token)
            .map(|expected| format!("Expected {expected} before end of expression")),
        "S0204" => text
            .strip_prefix("Unknown operator: ")
            .map(|operator| format!("Unknown operator: {}", json(operator))),
        "S0211" => between(text, "The symbol ", " cannot")
            .and_then(token)
            .map(|symbol| format!("The symbol {symbol} cannot be used as a unary operator")),
        "S0214" => text
            .strip_prefix("Expected a variable reference after ")
            .map(|symbol| {
                format!("The right side of \"{symbol}\" must be a variable name (start with $)")
            }),
        _ => None,
    };
    (code, told.unwrap_or_else(|| text.to_owned()))
}

/// What closes the bracket that an expression ends with.
fn closing(expression: &str) -> Option<char> {
    match expression.trim_end().chars().last()? {
        '(' => Some(')'),
        '[' => Some(']'),
        '{' => Some('}'),
        _ => None,
    }
}

fn has_open_quote(expression: &str) -> bool {
    let mut quote = None;
    let mut characters = expression.chars();
    while let Some(character) = characters.next() {
        match (quote, character) {
            (Some(_), '\\') => drop(characters.next()),
            (Some(open), _) if open == character => quote = None,
            (None, '"' | '\'') => quote = Some(character),
            (Some(_) | None, _) => {}
        }
    }
    quote.is_some()
}

/// The engine's symbols by the names that it shows.
const SYMBOLS: [(&str, &str); 41] = [
    ("Plus", "+"),
    ("Minus", "-"),
    ("Star", "*"),
    ("StarStar", "**"),
    ("Slash", "/"),
    ("Percent", "%"),
    ("Equal", "="),
    ("NotEqual", "!="),
    ("LessThan", "<"),
    ("LessThanOrEqual", "<="),
    ("GreaterThan", ">"),
    ("GreaterThanOrEqual", ">="),
    ("And", "and"),
    ("Or", "or"),
    ("In", "in"),
    ("Ampersand", "&"),
    ("Dot", "."),
    ("DotDot", ".."),
    ("Question", "?"),
    ("QuestionQuestion", "??"),
    ("QuestionColon", "?:"),
    ("Colon", ":"),
    ("ColonEqual", ":="),
    ("TildeArrow", "~>"),
    ("LeftParen", "("),
    ("RightParen", ")"),
    ("LeftBracket", "["),
    ("RightBracket", "]"),
    ("LeftBrace", "{"),
    ("RightBrace", "}"),
    ("Comma", ","),
    ("Semicolon", ";"),
    ("Caret", "^"),
    ("Pipe", "|"),
    ("Hash", "#"),
    ("At", "@"),
    ("Eof", "(end)"),
    ("Function", "function"),
    ("True", "true"),
    ("False", "false"),
    ("Null", "null"),
];

/// A token as JSON, from how the engine shows it: `RightBracket`, `Number(2.0)`, `Variable("x")`.
fn token(shown: &str) -> Option<String> {
    if let Some((_, symbol)) = SYMBOLS.iter().find(|(name, _)| *name == shown) {
        return Some(match *symbol {
            word @ ("true" | "false" | "null") => word.to_owned(),
            symbol => json(symbol),
        });
    }
    let (kind, inner) = shown.strip_suffix(')')?.split_once('(')?;
    match kind {
        "Number" => Some(inner.strip_suffix(".0").unwrap_or(inner).to_owned()),
        "String" | "Identifier" | "Variable" | "ParentVariable" | "Function" => {
            Some(inner.to_owned())
        }
        _ => None,
    }
}

fn between<'t>(text: &'t str, before: &str, after: &str) -> Option<&'t str> {
    let (_, rest) = text.split_once(before)?;
    let (found, _) = rest.split_once(after)?;
    Some(found)
}

fn first_number(text: &str) -> Option<usize> {
    let begin = text.find(|c: char| c.is_ascii_digit())?;
    let digits = &text[begin..];
    let end = digits
        .find(|c: char| !c.is_ascii_digit())
        .unwrap_or(digits.len());
    digits[..end].parse().ok()
}

fn json(text: &str) -> String {
    Value::from(text).to_json()
}
