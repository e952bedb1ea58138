//! What is to be done about a schedule at a time: start a run, pass over runs that were missed, or nothing. Pure. Hides the
//! policies.
//!
//! The next run stands in the record, and is taken from the times of the expression after the last one, never from the clock:
//! a clock that goes back finds it in the future, and one that leaps finds it late.

use super::{
    FiringOutcome, LastRun, Missed, pause_ms,
    schedule::{Retry, ScheduleRecord},
    timing::Timing,
};

/// How late a run may be before it counts as missed, milliseconds: the scheduler's precision on AWS.
pub(super) const GRACE_MS: i64 = 60_000;
/// Missed runs that are counted one by one.
const COUNTED_MAX: u64 = 10_000;
/// Runs that are looked at to find the last one: more than there are minutes in the longest time a run may wait for.
const LOOKED_AT_MAX: usize = 2_000;

/// What is to be done.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Step {
    /// It is not due.
    Nothing,
    /// Runs from the next one on were missed; the schedule goes on with that one, if there is one.
    Pass { missed: u64, next_s: Option<i64> },
    /// The run of that time has been tried for as long or as often as it may be.
    GiveUp { due_s: i64 },
    /// The run of that time starts; it is the attempt of that number, from 1 on.
    Start { due_s: i64, attempt: u32 },
}

/// What became of a start.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Ended {
    Started(String),
    Later(String),
    Never(String),
}

pub(super) fn step(record: &ScheduleRecord, timing: &Timing, now_ms: u64) -> Step {
    let (Some(due_ms), Some(due_s)) = (record.due_ms(), record.next_s) else {
        return Step::Nothing;
    };
    if now_ms < due_ms {
        return Step::Nothing;
    }
    let now = i64::try_from(now_ms).unwrap_or(i64::MAX);
    let age = |at_s: i64| now.saturating_sub(at_s.saturating_mul(1_000));
    let target = &record.spec.target;
    let age_max = i64::from(target.age_s_max) * 1_000;
    if let Some(retry) = &record.retry {
        let over = retry.attempts > target.retries_max || age(due_s) > age_max;
        return match over {
            true => Step::GiveUp { due_s },
            false => Step::Start {
                due_s,
                attempt: retry.attempts + 1,
            },
        };
    }
    let start = Step::Start { due_s, attempt: 1 };
    if age(due_s) <= GRACE_MS {
        return start;
    }
    // The first second whose run is not older than that.
    let since = |age_ms: i64| now.saturating_sub(age_ms).div_euclid(1_000) + 1;
    let pass_before = |second: i64| pass(timing, due_s, second);
    match record.spec.missed.unwrap_or_default() {
        Missed::Skip => pass_before(since(GRACE_MS)),
        Missed::All if age(due_s) <= age_max => start,
        Missed::All => pass_before(since(age_max)),
        Missed::Once => {
            let from = match age(due_s) <= age_max {
                true => Some(due_s),
                false => timing.after(since(age_max) - 1),
            };
            let now_s = now.div_euclid(1_000);
            match from.filter(|from| *from <= now_s) {
                // All that there were are too old.
                None => pass_before(now_s + 1),
                Some(from) => match timing.last_until(from, now_s, LOOKED_AT_MAX) {
                    last if last == due_s => start,
                    last => pass_before(last),
                },
            }
        }
    }
}

/// Passes over the runs from `due_s` on that are before `second`.
fn pass(timing: &Timing, due_s: i64, second: i64) -> Step {
    Step::Pass {
        missed: timing.count(due_s, second, COUNTED_MAX),
        next_s: timing.after((second - 1).max(due_s)),
    }
}

/// The record after runs were passed over.
pub(super) fn passed(record: &ScheduleRecord, missed: u64, next_s: Option<i64>) -> ScheduleRecord {
    ScheduleRecord {
        missed: record.missed.saturating_add(missed),
        last_s: record.next_s,
        next_s,
        retry: None,
        ..record.clone()
    }
}

/// The record after an attempt to start a run, and how it counts.
pub(super) fn ended(
    record: &ScheduleRecord,
    timing: &Timing,
    due_s: i64,
    attempt: u32,
    ended: Ended,
    now_ms: u64,
) -> (ScheduleRecord, FiringOutcome) {
    let run = |execution_arn: Option<String>, error: Option<String>| {
        Some(LastRun {
            due_s,
            at_ms: now_ms,
            execution_arn,
            error,
        })
    };
    let mut after = record.clone();
    if let Ended::Later(why) = &ended
        && attempt <= record.spec.target.retries_max
    {
        after.last_failed = run(None, Some(why.clone()));
        after.retry = Some(Retry {
            attempts: attempt,
            next_ms: now_ms.saturating_add(pause_ms(attempt)),
        });
        return (after, FiringOutcome::Retried);
    }
    after.retry = None;
    after.last_s = Some(due_s);
    after.next_s = timing.after(due_s);
    match ended {
        Ended::Started(arn) => {
            after.started += 1;
            after.last = run(Some(arn), None);
            (after, FiringOutcome::Started)
        }
        Ended::Later(why) | Ended::Never(why) => {
            after.failed += 1;
            after.last = run(None, Some(why));
            after.last_failed.clone_from(&after.last);
            (after, FiringOutcome::Failed)
        }
    }
}

/// Whether a schedule has had its last run and is to go.
pub(super) fn is_over(record: &ScheduleRecord) -> bool {
    record.spec.delete_after && record.next_s.is_none()
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use super::*;
    use crate::triggers::schedule::{ScheduleSpec, ScheduleTarget};

    const MINUTE_MS: u64 = 60_000;
    const HOUR_MS: u64 = 60 * MINUTE_MS;
    /// 2026-01-01T00:00:00Z
    const BEGIN_MS: u64 = 1_767_225_600_000;

    fn record(expression: &str, missed: Missed, age_s_max: u32) -> ScheduleRecord {
        let spec = ScheduleSpec {
            name: "s".into(),
            group: "default".into(),
            expression: expression.into(),
            timezone: "UTC".into(),
            start_s: None,
            end_s: None,
            description: String::new(),
            enabled: true,
            window_minutes: None,
            target: ScheduleTarget {
                arn: "arn:m".into(),
                role_arn: String::new(),
                input: None,
                age_s_max,
                retries_max: 3,
            },
            delete_after: false,
            key_arn: None,
            missed: Some(missed),
            client_token: None,
        };
        ScheduleRecord::new(spec, BEGIN_MS).unwrap()
    }

    /// A world with a clock of its own: what was started by name, as the engine keeps it, and the record as the store does.
    struct World {
        record: ScheduleRecord,
        started: BTreeMap<i64, u32>,
    }

    impl World {
        /// Looks until nothing is due. `crashes` counts down: at 0 the process dies between the start and its record.
        fn look(&mut self, now_ms: u64, crashes: &mut u32) {
            loop {
                let timing = self.record.timing().unwrap();
                match step(&self.record, &timing, now_ms) {
                    Step::Nothing => return,
                    Step::Pass { missed, next_s } => {
                        self.record = passed(&self.record, missed, next_s);
                    }
                    Step::GiveUp { due_s } => {
                        let never = Ended::Never("too late".into());
                        self.record = ended(&self.record, &timing, due_s, 9, never, now_ms).0;
                    }
                    Step::Start { due_s, attempt } => {
                        // Started under its name: a second time finds it.
                        *self.started.entry(due_s).or_default() += 1;
                        if *crashes > 0 {
                            *crashes -= 1;
                            return;
                        }
                        let arn = Ended::Started("arn:e".into());
                        self.record = ended(&self.record, &timing, due_s, attempt, arn, now_ms).0;
                    }
                }
            }
        }
    }

    fn world(expression: &str, missed: Missed, age_s_max: u32) -> World {
        World {
            record: record(expression, missed, age_s_max),
            started: BTreeMap::new(),
        }
    }

    /// What was started, in minutes since the beginning.
    fn minutes(world: &World) -> Vec<i64> {
        let begin = i64::try_from(BEGIN_MS / 1_000).unwrap();
        world.started.keys().map(|at| (at - begin) / 60).collect()
    }

    #[test]
    fn each_run_has_one_name_whatever_crashes_and_whatever_the_clock_does() {
        let mut world = world("rate(1 minute)", Missed::All, 86_400);
        let mut crashes = 0;
        for minute in 0..10 {
            crashes += 1;
            let at = BEGIN_MS + minute * MINUTE_MS;
            world.look(at, &mut crashes);
            // The clock goes back an hour, and comes again.
            world.look(at - HOUR_MS, &mut crashes);
            world.look(at + 500, &mut crashes);
        }
        assert_eq!(minutes(&world), (0..10).collect::<Vec<_>>());
        assert_eq!(world.record.started, 10);
        assert_eq!(world.record.missed, 0);
    }

    /// Policy, longest age, what of 0, 10, 20, …, 180 minutes starts after three hours and five minutes, what is missed.
    #[test]
    fn after_a_downtime_the_policy_decides() {
        for (missed, age_s_max, wanted, passed_over) in [
            (Missed::Once, 86_400, vec![180], 18),
            (Missed::Once, 120, vec![], 19),
            (Missed::Once, 600, vec![180], 18),
            (Missed::Skip, 86_400, vec![], 19),
            (Missed::All, 1_800, vec![160, 170, 180], 16),
            (Missed::All, 60, vec![], 19),
        ] {
            for expression in ["rate(10 minutes)", "cron(0/10 * * * ? *)"] {
                let mut world = world(expression, missed, age_s_max);
                let now = BEGIN_MS + 3 * HOUR_MS + 5 * MINUTE_MS;
                world.look(now, &mut 0);
                assert_eq!(
                    minutes(&world),
                    wanted,
                    "{missed:?} {age_s_max} {expression}"
                );
                assert_eq!(
                    world.record.missed, passed_over,
                    "{missed:?} {age_s_max} {expression}"
                );
                // It goes on in time.
                world.look(BEGIN_MS + 3 * HOUR_MS + 10 * MINUTE_MS, &mut 0);
                assert_eq!(minutes(&world).last(), Some(&190));
            }
        }
    }

    #[test]
    fn a_year_of_silence_is_one_look() {
        let mut world = world("cron(* * * * ? *)", Missed::Once, 86_400);
        world.look(BEGIN_MS + 365 * 24 * HOUR_MS, &mut 0);
        assert_eq!(minutes(&world), [365 * 24 * 60]);
        assert_eq!(world.record.missed, COUNTED_MAX);
    }

    #[test]
    fn a_start_that_fails_is_tried_again_until_it_may_not() {
        let mut record = record("rate(1 hour)", Missed::Once, 86_400);
        let timing = record.timing().unwrap();
        let mut now = BEGIN_MS;
        let mut pauses = Vec::new();
        for attempt in 1..=4 {
            let Step::Start {
                due_s,
                attempt: told,
            } = step(&record, &timing, now)
            else {
                panic!("attempt {attempt} is due")
            };
            assert_eq!(told, attempt);
            let busy = Ended::Later("busy".into());
            let (after, outcome) = ended(&record, &timing, due_s, told, busy, now);
            record = after;
            let last = attempt == 4;
            let wanted = if last {
                FiringOutcome::Failed
            } else {
                FiringOutcome::Retried
            };
            assert_eq!(outcome, wanted);
            if let Some(due) = record.due_ms() {
                pauses.push(due - now);
                assert_eq!(step(&record, &timing, due - 1), Step::Nothing);
                now = due;
            }
        }
        assert_eq!(pauses[..3], [1_000, 2_000, 4_000]);
        assert_eq!((record.failed, record.started), (1, 0));
        assert_eq!(
            record.next_s,
            Some(i64::try_from((BEGIN_MS + HOUR_MS) / 1_000).unwrap())
        );
    }

    #[test]
    fn a_change_of_what_is_started_keeps_the_times_and_a_change_of_times_begins_anew() {
        let mut old = record("rate(10 minutes)", Missed::Once, 86_400);
        old = passed(&old, 0, Some(old.next_s.unwrap() + 600));
        let later = BEGIN_MS + 12 * MINUTE_MS;
        let mut spec = old.spec.clone();
        spec.target.input = Some("1".into());
        assert_eq!(
            old.changed(spec.clone(), later).unwrap().next_s,
            old.next_s,
            "due stays due"
        );
        spec.expression = "rate(7 minutes)".into();
        let later_s = i64::try_from(later / 1_000).unwrap();
        assert_eq!(
            old.changed(spec.clone(), later).unwrap().next_s,
            Some(later_s)
        );
        // The clock went back: never a run before one that there was.
        let changed = old.changed(spec, BEGIN_MS - HOUR_MS).unwrap();
        assert!(changed.next_s > old.last_s);
        let mut off = old.spec.clone();
        off.enabled = false;
        let off = old.changed(off, later).unwrap();
        assert_eq!(off.due_ms(), None);
        let on = off.changed(old.spec.clone(), later).unwrap();
        let twenty = i64::try_from(BEGIN_MS / 1_000).unwrap() + 20 * 60;
        assert_eq!(
            on.next_s,
            Some(twenty),
            "what was due meanwhile does not come back"
        );
    }

    #[test]
    fn a_schedule_that_goes_with_its_last_run_is_over_then() {
        let mut once = record("at(2026-01-01T00:05:00)", Missed::Once, 86_400);
        once.spec.delete_after = true;
        assert!(!is_over(&once));
        let mut world = World {
            record: once,
            started: BTreeMap::new(),
        };
        world.look(BEGIN_MS + 5 * MINUTE_MS, &mut 0);
        assert_eq!(minutes(&world), [5]);
        assert!(is_over(&world.record));
    }
}
