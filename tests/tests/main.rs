//! All suites: a test a case. Those that need a server run the built program; `cargo xtask test` builds it before.

#![allow(clippy::print_stdout, reason = "a suite says how much it judged")]

mod suites;

fn main() {
    let arguments = libtest_mimic::Arguments::from_args();
    let mut trials = Vec::new();
    trials.extend(suites::runs::trials());
    trials.extend(suites::boxes::trials());
    trials.extend(suites::four_ways::trials());
    trials.extend(suites::forks::trials());
    trials.extend(suites::recorded::trials());
    trials.extend(suites::segments::trials());
    trials.extend(suites::limits::trials());
    trials.extend(suites::walls::trials());
    trials.extend(suites::workflows::trials());
    trials.extend(suites::random::trials());
    trials.extend(suites::kill::trials());
    trials.extend(suites::concurrency::trials());
    trials.extend(suites::hostile::trials());
    trials.extend(suites::outcomes::trials());
    trials.extend(suites::policy::trials());
    trials.extend(suites::sealed::trials());
    trials.extend(suites::http_tasks::trials());
    trials.extend(suites::services::trials());
    trials.extend(suites::examples::trials());
    trials.extend(suites::boto3::trials());
    trials.extend(suites::tenants::trials());
    trials.extend(suites::awscli::trials());
    trials.extend(suites::functions::trials());
    trials.extend(suites::clients::trials());
    trials.extend(suites::console::trials());
    trials.extend(suites::recorded_wire::trials());
    trials.extend(suites::precompiled::trials());
    trials.extend(suites::registry::trials());
    trials.extend(suites::uploads::trials());
    trials.extend(suites::invoke::trials());
    trials.extend(suites::tls::trials());
    trials.extend(suites::observe::trials());
    trials.extend(suites::triggers::trials());
    trials.extend(suites::tidy::trials());
    libtest_mimic::run(&arguments, trials).exit();
}
