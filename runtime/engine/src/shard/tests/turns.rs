//! Whose turn it is: long work is done in pieces, and leaves the others theirs; stops and deadlines come in between.

use stepwell_interp::{Event, Input, TaskId, Timestamp, What};
use stepwell_query::Value;

use super::rig::{
    AT, CHEAP, EXPENSIVE, LOOP, LOOP_BESIDE_A_TASK, TURNS, evaluations, is_over, shard, start,
    start_as, stop, take_up, work, work_at,
};
use crate::{
    journal::{ExecutionId, Landed},
    limits::TURN_MS_MAX,
    shard::{In, Mode, Out, Shard},
};

#[test]
fn an_expensive_map_leaves_others_their_turns() {
    let mut shard = shard(TURN_MS_MAX);
    let (expensive, mut started) = start(&mut shard, 1, EXPENSIVE);
    let mut evaluated = 0;
    while started.try_recv().is_err() {
        for (_, events) in work(&mut shard) {
            evaluated += evaluations(&events);
        }
        assert_eq!(evaluated, 0, "the caller waits for what may take long");
    }
    // It is in the middle of its work when the other one begins.
    while evaluated < 10 {
        for (_, events) in work(&mut shard) {
            evaluated += evaluations(&events);
        }
    }
    let (cheap, _started) = start(&mut shard, 2, CHEAP);
    let (mut since, mut turns) = (0, 0);
    loop {
        for (execution, events) in work(&mut shard) {
            assert!(
                execution == cheap || !is_over(&events),
                "the expensive one came first"
            );
            if execution == expensive {
                since += evaluations(&events);
                continue;
            }
            assert!(since <= 1, "{since} evaluations before turn {turns}");
            (since, turns) = (0, turns + 1);
            if is_over(&events) {
                return;
            }
        }
    }
}

#[test]
fn evaluations_that_turn_out_short_share_an_append() {
    let mut shard = shard(0);
    let (_, _started) = start(&mut shard, 1, EXPENSIVE);
    let mut appends = 0;
    loop {
        let appended = work(&mut shard);
        appends += appended.len();
        if appended.iter().any(|(_, events)| is_over(events)) {
            break;
        }
    }
    // The start's own, and one for each thousand of its 1,000 events.
    assert!(appends <= 4, "{appends} appends");
}

/// An execution in the middle of work that has no end, and all its events so far.
fn in_the_middle(definition: &str) -> (Shard, ExecutionId, Vec<Event>) {
    let mut shard = shard(TURN_MS_MAX);
    let (id, _started) = start(&mut shard, 1, definition);
    let mut events = Vec::new();
    while events.len() < 100 {
        events.extend(
            work_at(&mut shard, AT)
                .into_iter()
                .flat_map(|(_, events)| events),
        );
    }
    (shard, id, events)
}

/// A state of thousands of costly paths, over rows of which it reads each one every time.
fn costly_paths(fields: usize) -> String {
    let fields: Vec<String> = (0..fields)
        .map(|field| format!(r#""f{field}.$": "States.ArrayLength($..[?(@[0]==@[1])])""#))
        .collect();
    let rows: Vec<String> = (0..500).map(|row| format!("[{row}, {row}]")).collect();
    let (fields, rows) = (fields.join(","), rows.join(","));
    format!(
        r#"{{"TimeoutSeconds": 60, "StartAt": "Rows", "States": {{
            "Rows": {{"Type": "Pass", "Result": [{rows}], "Next": "All"}},
            "All": {{"Type": "Pass", "Parameters": {{{fields}}}, "End": true}}}}}}"#
    )
}

/// What the next append holds.
fn next_append(shard: &mut Shard, at: Timestamp) -> Vec<Event> {
    for _ in 0..4 {
        if let Some((_, events)) = work_at(shard, at).pop() {
            return events;
        }
    }
    panic!("nothing is appended");
}

#[test]
fn a_stop_is_taken_between_two_steps_of_endless_work() {
    let (mut shard, id, _) = in_the_middle(LOOP);
    shard.handle(AT, In::Message(stop(id)));
    let events = next_append(&mut shard, AT);
    let [stopped] = events.as_slice() else {
        panic!("it went on: {events:?}");
    };
    assert!(matches!(stopped.what, What::ExecutionAborted { .. }));
    assert!(!shard.is_busy(), "there is nothing left to do");
}

#[test]
fn others_have_their_turns_within_one_state_of_costly_paths() {
    let definition = costly_paths(3_000);
    let mut shard = shard(TURN_MS_MAX);
    let (costly, _started) = start(&mut shard, 1, &definition);
    for _ in 0..10 {
        work(&mut shard);
    }
    let (cheap, _started) = start(&mut shard, 2, CHEAP);
    loop {
        for (execution, events) in work(&mut shard) {
            assert_ne!(execution, costly, "it cannot be done by now");
            if execution == cheap && is_over(&events) {
                return;
            }
        }
    }
}

#[test]
fn a_state_of_costly_paths_can_be_stopped_and_times_out() {
    let definition = costly_paths(3_000);
    for (stopped, at) in [(true, AT), (false, AT.plus_ms(60_000))] {
        let mut shard = self::shard(TURN_MS_MAX);
        let (id, _started) = start(&mut shard, 1, &definition);
        for _ in 0..10 {
            work(&mut shard);
        }
        if stopped {
            shard.handle(AT, In::Message(stop(id)));
        }
        let events = next_append(&mut shard, at);
        let aborted = matches!(events[0].what, What::ExecutionAborted { .. });
        let timed_out = matches!(events[0].what, What::ExecutionTimedOut { .. });
        assert_eq!((aborted, timed_out), (stopped, !stopped), "{events:?}");
    }
}

#[test]
fn what_a_timer_sets_going_is_done_in_pieces() {
    let expression = r#""{% $sum($map([1..3], function($n) { $n })) %}""#;
    let output = vec![expression; 20].join(",");
    let definition = format!(
        r#"{{"QueryLanguage": "JSONata", "StartAt": "W", "States": {{
            "W": {{"Type": "Wait", "Seconds": 1, "Output": [{output}], "End": true}}}}}}"#
    );
    let mut shard = shard(TURN_MS_MAX);
    let (_, _started) = start(&mut shard, 1, &definition);
    let planned = |(_, events): &(ExecutionId, Vec<What>)| {
        matches!(events.last(), Some(What::WaitPlanned { .. }))
    };
    while !work(&mut shard).iter().any(planned) {}
    let mut pieces = 0;
    loop {
        pieces += 1;
        let appended = work_at(&mut shard, AT.plus_ms(1_000));
        let mut events = appended.into_iter().flat_map(|(_, events)| events);
        let ended = events.find_map(|event| match event.what {
            What::ExecutionSucceeded { output } => Some(output),
            _ => None,
        });
        if let Some(output) = ended {
            assert_eq!(output, Value::array(vec![Value::from(6); 20]));
            assert!(pieces > 5, "{pieces} pieces");
            return;
        }
    }
}

#[test]
fn an_attempt_has_one_token_however_many_pieces_its_parameters_take() {
    let definition = costly_paths(1_000)
        .replace(
            r#""All": {"Type": "Pass", "Parameters": {"#,
            r#""All": {"Type": "Task", "Resource": "arn:aws:states:us-east-1:000000000000:activity:known",
                "Parameters": {"token.$": "$$.Task.Token", "#,
        );
    let mut shard = shard(TURN_MS_MAX);
    let (_, _started) = start(&mut shard, 1, &definition);
    for pieces in 0.. {
        let appended = work(&mut shard).into_iter().flat_map(|(_, events)| events);
        for event in appended {
            if let What::Scheduled(scheduled) = event {
                let told = scheduled.parameters.get("token").and_then(Value::as_str);
                let token = scheduled.token.as_ref().map(|token| &*token.0);
                assert!(token.is_some());
                assert_eq!(told, token);
                assert!(pieces > 3, "{pieces} pieces");
                return;
            }
        }
    }
}

#[test]
fn a_state_of_too_many_costly_paths_fails_with_what_to_do() {
    let definition = costly_paths(14_000).replace("[0, 0],", &"[0, 0],".repeat(4_500));
    let mut shard = shard(0);
    let (_, _started) = start(&mut shard, 1, &definition);
    loop {
        for (_, events) in work(&mut shard) {
            if let Some(What::ExecutionFailed { error, cause }) = events.last() {
                assert_eq!(error.as_deref(), Some("States.Runtime"));
                let cause = cause.as_deref().unwrap_or_default();
                assert!(cause.contains("Make their paths more specific"), "{cause}");
                return;
            }
            assert!(!is_over(&events), "{events:?}");
        }
    }
}

#[test]
fn a_stop_waits_for_no_news() {
    let (mut shard, id, _) = in_the_middle(LOOP_BESIDE_A_TASK);
    for entry in 0..1_000 {
        let task = TaskId { entry, attempt: 0 };
        let input = Input::Heartbeat { task };
        let execution = id;
        shard.handle(AT, In::Heartbeat { execution, input });
    }
    shard.handle(AT, In::Message(stop(id)));
    let events = next_append(&mut shard, AT);
    assert!(matches!(events[0].what, What::ExecutionAborted { .. }));
}

#[test]
fn deadlines_end_endless_work() {
    let (mut shard, ..) = in_the_middle(LOOP);
    let events = next_append(&mut shard, AT.plus_ms(60_000));
    let [over] = events.as_slice() else {
        panic!("it went on: {events:?}");
    };
    assert!(matches!(over.what, What::ExecutionTimedOut { .. }));
    assert_eq!(over.at, AT.plus_ms(60_000));

    let (mut shard, ..) = in_the_middle(LOOP_BESIDE_A_TASK);
    let events = next_append(&mut shard, AT.plus_ms(30_000));
    let first = &events.first().expect("an append has events").what;
    assert!(matches!(first, What::TimedOut { .. }), "{first:?}");
}

#[test]
fn a_deadline_waits_for_the_news_before_it_and_for_no_more() {
    let (mut shard, execution, _) = in_the_middle(LOOP_BESIDE_A_TASK);
    let late = AT.plus_ms(30_000);
    let beat = |shard: &mut Shard| {
        let task = TaskId {
            entry: 0,
            attempt: 0,
        };
        let input = Input::Heartbeat { task };
        shard.handle(late, In::Heartbeat { execution, input });
    };
    for _ in 0..3 {
        beat(&mut shard);
    }
    for _ in 0..20 {
        // There is always another one.
        beat(&mut shard);
        beat(&mut shard);
        let events = work_at(&mut shard, late)
            .into_iter()
            .flat_map(|(_, events)| events);
        if events
            .map(|event| event.what)
            .any(|what| matches!(what, What::TimedOut { .. }))
        {
            return;
        }
    }
    panic!("the deadline of the task was never taken");
}

#[test]
fn after_a_start_stops_and_deadlines_come_before_the_work_that_was_left() {
    for (stopped, at) in [(true, AT), (false, AT.plus_ms(61_000))] {
        let (_, id, events) = in_the_middle(LOOP);
        let mut shard = self::shard(TURN_MS_MAX);
        shard.handle(at, In::Wake(id));
        assert!(matches!(shard.take_out().as_slice(), [Out::Load { .. }]));
        let messages = stopped.then(|| stop(id)).into_iter().collect();
        take_up(&mut shard, id, LOOP, &events, messages);
        let events = next_append(&mut shard, at);
        let [over] = events.as_slice() else {
            panic!("it went on: {events:?}");
        };
        let aborted = matches!(over.what, What::ExecutionAborted { .. });
        let timed_out = matches!(over.what, What::ExecutionTimedOut { .. });
        assert_eq!((aborted, timed_out), (stopped, !stopped));
    }
}

#[test]
fn an_express_execution_goes_on_when_its_start_is_durable() {
    let mut shard = shard(0);
    let (_, mut started) = start_as(&mut shard, 1, EXPENSIVE, Mode::ExpressAsync);
    shard.work(AT, TURNS);
    let outs = shard.take_out();
    let [Out::Commit { ticket, .. }] = outs.as_slice() else {
        panic!("the start is appended");
    };
    // Its turns come while the commit is on its way, to no use.
    while shard.is_busy() {
        shard.work(AT, TURNS);
    }
    let ticket = *ticket;
    let verdict = Ok(Landed::default());
    shard.handle(AT, In::Committed { ticket, verdict });
    assert!(started.try_recv().unwrap().is_ok());
    assert!(shard.is_busy(), "it has all of its work to do");
    while !work(&mut shard).iter().any(|(_, events)| is_over(events)) {
        assert!(shard.is_busy());
    }
}
