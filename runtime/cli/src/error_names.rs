//! What the error names of executions mean: the sections of `docs/error-names.md`. Hides that it is a page for people.

const PAGE: &str = include_str!("../../../docs/error-names.md");
/// Of names that end with a number.
const NUMBERED: &str = "CODE";

/// All names that are explained.
pub(crate) fn all() -> impl Iterator<Item = &'static str> {
    sections().map(|(name, _)| name)
}

/// What a name means, in any case. Markdown.
pub(crate) fn page(wanted: &str) -> Option<String> {
    let wanted = wanted.trim();
    let (name, text) = sections().find(|(name, _)| is_meant(name, wanted))?;
    let name = if name.ends_with(NUMBERED) {
        wanted
    } else {
        name
    };
    Some(format!("# {name}\n\n{}\n", text.trim()))
}

fn is_meant(name: &str, wanted: &str) -> bool {
    let numbered = name.strip_suffix(NUMBERED).is_some_and(|stem| {
        let begins = wanted
            .get(..stem.len())
            .is_some_and(|given| given.eq_ignore_ascii_case(stem));
        begins && wanted[stem.len()..].parse::<u16>().is_ok()
    });
    numbered || name.eq_ignore_ascii_case(wanted)
}

/// Names with their texts, in the page's order.
fn sections() -> impl Iterator<Item = (&'static str, &'static str)> {
    PAGE.split("\n## ")
        .skip(1)
        .filter_map(|section| section.split_once('\n'))
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use super::{all, page};

    #[test]
    fn the_names_that_the_docs_have_are_explained() {
        let explained: BTreeSet<&str> = all().collect();
        let errors = include_str!("../../../docs/errors.md");
        let texts = errors.split('`').skip(1).step_by(2);
        let is_name = |text: &&str| {
            ["States.", "Stepwell.", "Lambda.", "Sandbox.", "Runtime."]
                .iter()
                .any(|prefix| text.starts_with(prefix))
        };
        let named: BTreeSet<&str> = texts.filter(is_name).collect();
        assert!(
            named.len() > 20,
            "the page has other marks than it had: {named:?}"
        );
        let missing: Vec<_> = named.difference(&explained).collect();
        assert!(missing.is_empty(), "docs/error-names.md lacks {missing:?}");
    }

    #[test]
    fn a_name_is_found_in_any_case_and_with_its_number() {
        assert!(page("states.runtime").is_some_and(|page| page.starts_with("# States.Runtime\n")));
        let numbered = page("States.Http.StatusCode.404");
        assert!(numbered.is_some_and(|page| page.starts_with("# States.Http.StatusCode.404\n")));
        assert_eq!(page("States.Http.StatusCode."), None);
        assert_eq!(page("CardDeclined"), None);
    }
}
