//! The commands of `stepwell trigger`: schedules, HTTP endpoints, rules of events.

use std::path::PathBuf;

use clap::{ArgGroup, Args, Subcommand, ValueEnum};
use stepwell_sandbox::{TIME_UNITS, parse_duration};

use super::PlaceArgs;

/// What a server has for the time that an HTTP trigger waits, seconds.
const WAIT_S: std::ops::RangeInclusive<u64> = 1..=300;

#[derive(Debug, Subcommand)]
pub(crate) enum TriggerCommand {
    /// Start a state machine at times: make a schedule, or replace the one of that name
    Schedule(Box<ScheduleArgs>),
    /// Start a state machine by requests: make an HTTP trigger, or replace the one of that name
    Http(HttpArgs),
    /// Start a state machine by events: make a rule, or replace the one of that name
    Rule(RuleArgs),
    /// List all triggers with what they last did
    List {
        /// Print as JSON
        #[arg(long)]
        json: bool,
        #[command(flatten)]
        place: PlaceArgs,
    },
    /// Show a trigger: when it runs next, how it last ran, what failed
    Show {
        #[command(flatten)]
        which: WhichArgs,
        /// Print as JSON
        #[arg(long)]
        json: bool,
        #[command(flatten)]
        place: PlaceArgs,
    },
    /// Delete a trigger; executions that it started go on
    Delete {
        #[command(flatten)]
        which: WhichArgs,
        #[command(flatten)]
        place: PlaceArgs,
    },
    /// Let a trigger start executions again
    Enable {
        #[command(flatten)]
        which: WhichArgs,
        #[command(flatten)]
        place: PlaceArgs,
    },
    /// Keep a trigger from starting executions
    Disable {
        #[command(flatten)]
        which: WhichArgs,
        #[command(flatten)]
        place: PlaceArgs,
    },
}

/// What names a trigger.
#[derive(Debug, Args)]
pub(crate) struct WhichArgs {
    /// Its name, or KIND/NAME when several kinds have it: schedule/, http/ or rule/; a schedule of a group is
    /// schedule/GROUP/NAME
    #[arg(value_name = "TRIGGER")]
    pub(crate) trigger: String,
}

/// What becomes of runs that were due while the server was down.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub(crate) enum MissedArg {
    /// The last of them is started
    Once,
    /// Each is started, in order
    All,
    /// None is
    Skip,
}

#[derive(Debug, Args)]
#[command(group(ArgGroup::new("when").required(true).args(["every", "cron", "at"])))]
pub(crate) struct ScheduleArgs {
    /// Name of the schedule
    pub(crate) name: String,
    /// State machine to start: its name or ARN, which may be that of a version or an alias
    #[arg(long, value_name = "MACHINE")]
    pub(crate) machine: String,
    /// A rate such as '5 minutes', from now or --start on
    #[arg(long, alias = "rate", value_name = "RATE")]
    pub(crate) every: Option<String>,
    /// AWS's six fields: minutes hours day-of-month month day-of-week year, such as '0 8 ? * MON-FRI *'
    #[arg(long, value_name = "FIELDS")]
    pub(crate) cron: Option<String>,
    /// Once, at a local time such as 2026-12-24T18:00:00
    #[arg(long, value_name = "TIME")]
    pub(crate) at: Option<String>,
    /// Time zone that --cron and --at are read in, such as Europe/Berlin
    #[arg(long, value_name = "ZONE", default_value = "UTC")]
    pub(crate) timezone: String,
    /// No run before this instant, such as 2026-01-01T00:00:00Z
    #[arg(long, value_name = "INSTANT")]
    pub(crate) start: Option<jiff::Timestamp>,
    /// No run after this instant
    #[arg(long, value_name = "INSTANT")]
    pub(crate) end: Option<jiff::Timestamp>,
    /// Input of the executions, JSON; <aws.scheduler.scheduled-time> and its like are filled in
    #[arg(long, value_name = "JSON")]
    pub(crate) input: Option<String>,
    /// What becomes of runs that were due while the server was down; once for a new schedule
    #[arg(long, value_enum)]
    pub(crate) missed: Option<MissedArg>,
    /// Seconds after its time that a run may still be started in
    #[arg(long, value_name = "SECONDS", default_value_t = 86_400)]
    pub(crate) max_age: u32,
    /// How often a start that failed is tried again
    #[arg(long, value_name = "NUMBER", default_value_t = 185)]
    pub(crate) retries: u32,
    /// Delete the schedule with its last run
    #[arg(long)]
    pub(crate) delete_after: bool,
    /// What it is for
    #[arg(long)]
    pub(crate) description: Option<String>,
    /// Group of schedules, which is there already
    #[arg(long)]
    pub(crate) group: Option<String>,
    #[command(flatten)]
    pub(crate) place: PlaceArgs,
}

#[derive(Debug, Args)]
pub(crate) struct HttpArgs {
    /// Name of the trigger; requests go to /trigger/ACCOUNT/NAME
    pub(crate) name: String,
    /// State machine to start: its name or ARN, which may be that of a version or an alias
    #[arg(long, value_name = "MACHINE")]
    pub(crate) machine: String,
    /// Answer with the output, when the execution ends within this time, such as 5s, up to 5m; a bare number is of seconds
    #[arg(long, value_name = "TIME", value_parser = wait_s)]
    pub(crate) wait: Option<u32>,
    /// Ask for no secret: whoever reaches the server may send requests
    #[arg(long, conflicts_with = "new_secret")]
    pub(crate) open: bool,
    /// Put a new secret in the place of the one that there is
    #[arg(long)]
    pub(crate) new_secret: bool,
    /// What it is for
    #[arg(long)]
    pub(crate) description: Option<String>,
    #[command(flatten)]
    pub(crate) place: PlaceArgs,
}

#[derive(Debug, Args)]
pub(crate) struct RuleArgs {
    /// Name of the rule
    pub(crate) name: String,
    /// State machine to start: its name or ARN, which may be that of a version or an alias
    #[arg(long, value_name = "MACHINE")]
    pub(crate) machine: String,
    /// Event pattern, JSON
    #[arg(long, value_name = "JSON", required_unless_present = "pattern_file")]
    pub(crate) pattern: Option<String>,
    /// File with the event pattern
    #[arg(long, value_name = "FILE", conflicts_with = "pattern")]
    pub(crate) pattern_file: Option<PathBuf>,
    /// Input of the executions, JSON; the event when absent
    #[arg(long, value_name = "JSON", conflicts_with = "input_path")]
    pub(crate) input: Option<String>,
    /// Part of the event that is the input, such as $.detail
    #[arg(long, value_name = "PATH")]
    pub(crate) input_path: Option<String>,
    /// What it is for
    #[arg(long)]
    pub(crate) description: Option<String>,
    #[command(flatten)]
    pub(crate) place: PlaceArgs,
}

/// Seconds, what the API takes: no parts of them.
fn wait_s(text: &str) -> Result<u32, String> {
    let bare = || text.trim().parse::<u64>().ok();
    let whole = parse_duration(text).filter(|time| time.subsec_nanos() == 0);
    whole
        .map(|time| time.as_secs())
        .or_else(bare)
        .filter(|seconds| WAIT_S.contains(seconds))
        .and_then(|seconds| u32::try_from(seconds).ok())
        .ok_or_else(|| {
            format!(
                "it is a time of whole seconds from 1s to 5m, in {TIME_UNITS}, or a number of seconds"
            )
        })
}

#[cfg(test)]
mod tests {
    use super::wait_s;

    #[test]
    fn a_wait_is_of_whole_seconds_with_or_without_a_unit() {
        for (text, seconds) in [
            ("5s", Some(5)),
            ("5", Some(5)),
            ("2000ms", Some(2)),
            ("5m", Some(300)),
            ("300", Some(300)),
            ("301s", None),
            ("1h", None),
            ("500ms", None),
            ("0", None),
            ("-1", None),
            ("soon", None),
        ] {
            assert_eq!(wait_s(text).ok(), seconds, "{text}");
        }
        let why = wait_s("1d").expect_err("a day is too long, and no unit");
        assert!(why.contains("1s to 5m, in ms, s, m or h"), "{why}");
    }
}
