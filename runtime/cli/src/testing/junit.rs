//! The report as JUnit XML, which build servers read. Hides escaping.

use super::report::Report;

pub(crate) fn junit(report: &Report) -> String {
    let mut text = format!(
        "<?xml version=\"1.0\" encoding=\"UTF-8\"?>\n<testsuite name=\"{}\" tests=\"{}\" failures=\"{}\">\n",
        escaped(&report.machine),
        report.cases.len(),
        report.failed()
    );
    for case in &report.cases {
        let (machine, name) = (escaped(&report.machine), escaped(&case.name));
        if case.passed() {
            text.push_str(&format!(
                "  <testcase classname=\"{machine}\" name=\"{name}\"/>\n"
            ));
            continue;
        }
        let first = case.differences.first().map_or("", String::as_str);
        text.push_str(&format!(
            "  <testcase classname=\"{machine}\" name=\"{name}\">\n    <failure message=\"{}\">{}</failure>\n  </testcase>\n",
            escaped(first),
            escaped(&case.differences.join("\n"))
        ));
    }
    text.push_str("</testsuite>\n");
    text
}

/// Text as XML has it; characters that XML cannot hold become blanks.
fn escaped(text: &str) -> String {
    let mut out = String::with_capacity(text.len());
    for c in text.chars() {
        match c {
            '&' => out.push_str("&amp;"),
            '<' => out.push_str("&lt;"),
            '>' => out.push_str("&gt;"),
            '"' => out.push_str("&quot;"),
            '\n' => out.push_str("&#10;"),
            '\t' => out.push('\t'),
            c if c.is_control() || matches!(c, '\u{fffe}' | '\u{ffff}') => out.push(' '),
            c => out.push(c),
        }
    }
    out
}
