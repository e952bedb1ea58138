//! All suites that need no server: a test a case.

#![allow(clippy::print_stdout, reason = "a suite says how much it judged")]

mod suites;

fn main() {
    let arguments = libtest_mimic::Arguments::from_args();
    let mut trials = Vec::new();
    trials.extend(suites::runs::trials());
    trials.extend(suites::four_ways::trials());
    trials.extend(suites::recorded::trials());
    trials.extend(suites::segments::trials());
    trials.extend(suites::limits::trials());
    trials.extend(suites::workflows::trials());
    trials.extend(suites::random::trials());
    libtest_mimic::run(&arguments, trials).exit();
}
