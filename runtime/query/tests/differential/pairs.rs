//! Pairs of expression and document that follow from a seed: fragments alone, fragments put into the forms of the
//! language, and fragments with a part replaced by another fragment.

use std::sync::Arc;

use stepwell_query::{Random, Value};

/// An expression and the document it is evaluated on.
pub(crate) struct Pair {
    pub(crate) expression: String,
    /// Name of the document in `data.jsonl`.
    pub(crate) document: Arc<str>,
    pub(crate) data: Value,
}

/// Forms that join the fragments A and B.
const FORMS: &[&str] = &[
    "A.B",
    "A[B]",
    "A.(B)",
    "(A)[B]",
    "(A).(B)",
    "[A, B]",
    "{'k': A, 'l': B}",
    "A = B",
    "A != B",
    "A & B",
    "A in B",
    "A ? B",
    "A ? B : 'other'",
    "A ?: B",
    "A ?? B",
    "A and B",
    "A or B",
    "A + B",
    "A - B",
    "A * B",
    "A / B",
    "A % B",
    "A < B",
    "A >= B",
    "[A..B]",
    "-(A)",
    "A{$string(B): $}",
    "A.{'v': B}",
    "A^(B)",
    "A^(>B)",
    "(A)[]",
    "A[0]",
    "A[-1]",
    "A[[0, 1]]",
    "(A)[0]",
    "[A][0]",
    "A.*",
    "A.**",
    "(A).$",
    "A#$p[$p < 2]",
    "A#$p.{'p': $p, 'b': B}",
    "A@$p.(B)",
    "($x := A; $x.(B))",
    "($x := A; B)",
    "(A; B)",
    "$map(A, function($v, $i){B})",
    "$map(A, function($v){$v})",
    "$map(A, $string)",
    "$filter(A, function($v){B})",
    "$filter(A, function($v){B})[]",
    "$filter(A, $boolean)",
    "$single(A, function($v){B})",
    "$reduce(A, function($p, $q){B})",
    "$reduce(A, function($p, $q){$p & $q}, B)",
    "$sift(A, function($v, $k){B})",
    "$each(A, function($v, $k){B})",
    "$sort(A, function($l, $r){$l > $r})",
    "$sort(A)",
    "$append(A, B)",
    "$zip(A, B)",
    "$distinct(A)",
    "$reverse(A)",
    "$count(A)",
    "$string(A)",
    "$number(A)",
    "$boolean(A)",
    "$not(A)",
    "$exists(A)",
    "$type(A)",
    "$keys(A)",
    "$spread(A)",
    "$merge([A, B])",
    "$merge(A)",
    "$lookup(A, B)",
    "$sum(A)",
    "$max(A)",
    "$average(A)",
    "$join(A)",
    "$join(A, B)",
    "$split(A, B)",
    "$contains(A, B)",
    "$replace(A, B, 'r')",
    "$match(A, B)",
    "$substring(A, B)",
    "$substringBefore(A, B)",
    "$length(A)",
    "$uppercase(A)",
    "$trim(A)",
    "$pad(A, 7, B)",
    "$round(A, 1)",
    "$power(A, 2)",
    "$floor(A)",
    "$formatNumber(A, '#,##0.0')",
    "$formatBase(A, 16)",
    "$formatInteger(A, 'w')",
    "$base64encode(A)",
    "$encodeUrlComponent(A)",
    "$fromMillis(A)",
    "$toMillis(A)",
    "A ~> $string",
    "A ~> $count()",
    "A ~> B",
    "A ~> $map(function($v){B})",
    "A ~> |B|{'t': 1}|",
    "A ~> |$|{'t': B}, 'id'|",
    "($f := function($a){B}; $f(A))",
    "($f := function($a, $b)<x-x:x>{$a}; $f(A, B))",
    "($f := $append(?, B); $f(A))",
    "($f := $string ~> $length; $f(A))",
    "A(B)",
    "$lookup({'k': A}, 'k')",
];

/// As many pairs as asked for; equal seeds give equal pairs.
pub(crate) fn make(count: usize, seed: u64) -> Vec<Pair> {
    let fragments: Vec<&str> = include_str!("fragments.txt")
        .lines()
        .filter(|line| !line.is_empty() && !line.starts_with('#'))
        .collect();
    let documents: Vec<(Arc<str>, Value)> = include_str!("data.jsonl")
        .lines()
        .map(|line| {
            let document = Value::parse(line).expect("a document is JSON");
            let name = document.get("name").and_then(Value::as_str);
            let value = document.get("value").expect("a document has a value");
            (name.expect("a document has a name").into(), value.clone())
        })
        .collect();
    let mut bytes = [0; 32];
    bytes[..8].copy_from_slice(&seed.to_le_bytes());
    let mut dice = Dice(Random::from_seed(bytes));
    (0..count)
        .map(|_| {
            let expression = dice.expression(&fragments);
            let (document, data) = dice.one(&documents).clone();
            Pair {
                expression,
                document,
                data,
            }
        })
        .collect()
}

struct Dice(Random);

impl Dice {
    fn below(&mut self, bound: usize) -> usize {
        self.0.below(bound as u64) as usize
    }

    fn one<'a, T>(&mut self, of: &'a [T]) -> &'a T {
        let index = self.below(of.len());
        &of[index]
    }

    fn expression(&mut self, fragments: &[&str]) -> String {
        let first = (*self.one(fragments)).to_owned();
        match self.below(10) {
            0 | 1 => first,
            2..6 => self.joined(&first, fragments),
            6 | 7 => self.replaced(&first, fragments),
            8 => {
                let inner = self.joined(&first, fragments);
                self.joined(&format!("({inner})"), fragments)
            }
            _ => {
                let outer = self.joined(&first, fragments);
                self.replaced(&outer, fragments)
            }
        }
    }

    fn joined(&mut self, first: &str, fragments: &[&str]) -> String {
        let form = *self.one(FORMS);
        let second = *self.one(fragments);
        let mut joined = String::new();
        for part in form.split_inclusive(['A', 'B']) {
            match part.strip_suffix(['A', 'B']) {
                Some(before) if part.ends_with('A') => joined.extend([before, first]),
                Some(before) => joined.extend([before, second]),
                None => joined.push_str(part),
            }
        }
        joined
    }

    /// A name, number or string of the expression gives way to another fragment.
    fn replaced(&mut self, text: &str, fragments: &[&str]) -> String {
        let words = words(text);
        if words.is_empty() {
            return text.to_owned();
        }
        let (start, end) = *self.one(&words);
        let fragment = *self.one(fragments);
        let given = match self.below(2) {
            0 => fragment.to_owned(),
            _ => format!("({fragment})"),
        };
        format!("{}{given}{}", &text[..start], &text[end..])
    }
}

/// Where names, variables and numbers stand, outside of strings and regular expressions.
fn words(text: &str) -> Vec<(usize, usize)> {
    let of_word = |c: char| c.is_ascii_alphanumeric() || c == '$' || c == '_';
    let mut words = Vec::new();
    let mut start = None;
    let mut quote = None;
    for (index, character) in text.char_indices().chain([(text.len(), ' ')]) {
        let quotes = matches!(character, '\'' | '"' | '`' | '/');
        match quote {
            Some(open) if open == character => quote = None,
            None if quotes => quote = Some(character),
            _ => {}
        }
        match (start, of_word(character) && quote.is_none()) {
            (None, true) => start = Some(index),
            (Some(begun), false) => {
                words.push((begun, index));
                start = None;
            }
            _ => {}
        }
    }
    words
}
