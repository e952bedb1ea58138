//! Concurrency limits: who has a place, who waits, who is refused; in memory and over a restart on a real directory.

mod rig;
mod usual;

use stepwell_engine::{Code, MachineKind, PageRequest, Status, Store};

use crate::support::{at, caller, machine, start_of, tags};
use rig::{Rig, WORKS, Works, open, refusal, run, stores, tagged};

#[test]
fn what_exceeds_waits_in_order_and_tells_its_position() {
    for (store, _directory) in stores() {
        run(async {
            let tags = [("stepwell:concurrency", "2")];
            let rig = Rig::new(store, 0, MachineKind::Standard, &tags).await;
            let mut started = Vec::new();
            for n in 0_u64..6 {
                started.push(rig.start(&format!("e{n}"), &n.to_string()).await);
                rig.comes_to(n.saturating_sub(1), u64::min(n + 1, 2)).await;
            }
            rig.begins(2).await;
            for (n, arn) in started.iter().enumerate() {
                let told = rig.describe(arn).await;
                assert_eq!(told.status, Status::Running);
                let position = told
                    .waiting
                    .as_ref()
                    .map(|waiting| waiting.position.unwrap());
                let expected = (n >= 2).then(|| n as u64 - 1);
                assert_eq!(position, expected, "{n}");
                if let Some(waiting) = told.waiting {
                    assert_eq!((waiting.of, waiting.since), (Some(4), told.started_at));
                }
            }
            let page = PageRequest::default();
            let listed = rig.engine.executions(caller(), &rig.machine, None, page);
            let listed = listed.await.unwrap().items;
            let waiting = listed.iter().filter(|item| item.waiting.is_some()).count();
            assert_eq!(waiting, 4);
            // One that waits has begun, and done nothing.
            let page = PageRequest::default();
            let history = rig.engine.history(caller(), &started[5], false, page);
            assert_eq!(history.await.unwrap().items.len(), 1);

            rig.works.permits.add_permits(6);
            for arn in &started {
                let ended = rig.ended(arn).await;
                assert_eq!(ended.status, Status::Succeeded);
                assert_eq!(ended.waiting, None);
            }
            rig.comes_to(0, 0).await;
            assert_eq!(rig.works.most().0, 2);
            let mut begun = rig.works.begun();
            assert_eq!(begun.len(), 6);
            begun[2..].sort();
            assert_eq!(begun[2..], ["2", "3", "4", "5"]);
            rig.engine.shutdown().await;
        });
    }
}

#[test]
fn keys_have_their_own_limit_and_take_turns() {
    run(async {
        let tags = [
            ("stepwell:concurrency-key", "{% $states.input %}"),
            ("stepwell:concurrency-per-key", "1"),
        ];
        let rig = Rig::new(Store::Memory, 0, MachineKind::Standard, &tags).await;
        let mut started = Vec::new();
        for (n, input) in [r#""a""#, r#""a""#, r#""a""#, r#""b""#].iter().enumerate() {
            started.push(rig.start(&format!("e{n}"), input).await);
        }
        rig.comes_to(2, 2).await;
        rig.begins(2).await;
        // Whichever two of the three: those that start within a moment have no order.
        let mut keys = Vec::new();
        for arn in &started {
            keys.extend(rig.describe(arn).await.waiting.map(|told| told.key));
        }
        assert_eq!(keys, [Some("a".into()), Some("a".into())]);
        rig.works.permits.add_permits(4);
        for arn in &started {
            assert_eq!(rig.ended(arn).await.status, Status::Succeeded);
        }
        rig.comes_to(0, 0).await;
        let (most, of_key) = rig.works.most();
        assert!(most <= 2 && of_key == 1, "{most} {of_key}");
        // An input that has no key starts nothing.
        rig.tag(&[("stepwell:concurrency-key", "{% $states.input.customer %}")])
            .await;
        let (code, why) = refusal(rig.try_start("e9", "{}").await);
        assert_eq!(code, Code::InvalidExecutionInput);
        assert!(why.contains("$states.input.customer"), "{why}");
        rig.engine.shutdown().await;
    });
}

#[test]
fn what_exceeds_is_refused_where_tags_say_so() {
    run(async {
        let tags = [
            ("stepwell:concurrency", "2"),
            ("stepwell:concurrency-mode", "refuse"),
        ];
        let rig = Rig::new(Store::Memory, 0, MachineKind::Standard, &tags).await;
        let first = rig.start("e0", "0").await;
        let second = rig.start("e1", "1").await;
        let (code, why) = refusal(rig.try_start("e2", "2").await);
        assert_eq!(code, Code::ThrottlingException);
        assert!(why.contains("`stepwell:concurrency`"), "{why}");
        // The same start again is none.
        assert_eq!(rig.start("e0", "0").await, first);
        rig.begins(2).await;
        rig.comes_to(0, 2).await;
        rig.works.permits.add_permits(1);
        rig.comes_to(0, 1).await;
        let third = rig.start("e2", "2").await;
        refusal(rig.try_start("e3", "3").await);
        rig.works.permits.add_permits(2);
        for arn in [first, second, third] {
            assert_eq!(rig.ended(&arn).await.status, Status::Succeeded);
        }
        rig.comes_to(0, 0).await;
        assert_eq!(rig.works.most().0, 2);
        rig.engine.shutdown().await;
    });
}

#[test]
fn limits_change_while_executions_wait() {
    run(async {
        let tags = [("stepwell:concurrency", "1")];
        let rig = Rig::new(Store::Memory, 0, MachineKind::Standard, &tags).await;
        let mut started = Vec::new();
        for n in 0..5 {
            started.push(rig.start(&format!("e{n}"), "1").await);
        }
        rig.comes_to(4, 1).await;
        rig.tag(&[("stepwell:concurrency", "3")]).await;
        rig.comes_to(2, 3).await;
        // Fewer than have a place: nobody loses one.
        rig.tag(&[("stepwell:concurrency", "1")]).await;
        rig.begins(3).await;
        rig.comes_to(2, 3).await;
        let untag = ["stepwell:concurrency".to_owned()];
        let untagged = rig.engine.untag(caller(), &rig.machine, &untag).await;
        untagged.unwrap();
        rig.comes_to(0, 5).await;
        rig.works.permits.add_permits(6);
        // Without a limit nobody stands in the line any more.
        started.push(rig.start("free", "1").await);
        for arn in &started {
            assert_eq!(rig.ended(arn).await.status, Status::Succeeded);
        }
        // Nor is anything kept of it.
        rig.is_let_go_of().await;
        rig.engine.shutdown().await;
    });
}

#[test]
fn who_waits_can_be_stopped_and_times_out() {
    run(async {
        let definition = r#"{"StartAt":"A","TimeoutSeconds":2,"States":{"A":{"Type":"Task","Resource":"wasm:work","End":true}}}"#;
        let tags = [("stepwell:concurrency", "1")];
        let kind = MachineKind::Standard;
        let rig = Rig::of(Store::Memory, 0, definition, kind, &tags).await;
        let runs = rig.start("e0", "0").await;
        rig.comes_to(0, 1).await;
        let stopped = rig.start("e1", "1").await;
        let waits = rig.start("e2", "2").await;
        rig.comes_to(2, 1).await;
        let stop = rig
            .engine
            .stop(caller(), &stopped, Some("Enough".into()), None);
        stop.await.unwrap();
        let told = rig.describe(&stopped).await;
        assert_eq!((told.status, told.waiting), (Status::Aborted, None));
        assert_eq!(told.error.as_deref(), Some("Enough"));
        let page = PageRequest::default();
        let history = rig.engine.history(caller(), &stopped, false, page).await;
        assert_eq!(history.unwrap().items.len(), 2);
        // Their time counts from their start, also while they wait.
        assert_eq!(rig.ended(&waits).await.status, Status::TimedOut);
        assert_eq!(rig.ended(&runs).await.status, Status::TimedOut);
        rig.comes_to(0, 0).await;
        rig.engine.shutdown().await;
    });
}

#[test]
fn places_are_given_back_however_executions_end() {
    run(async {
        let tags = [("stepwell:concurrency", "1")];
        let rig = Rig::new(Store::Memory, 0, MachineKind::Standard, &tags).await;
        let fails = rig.start("e0", r#""fail""#).await;
        rig.begins(1).await;
        rig.works.permits.add_permits(1);
        assert_eq!(rig.ended(&fails).await.status, Status::Failed);
        rig.comes_to(0, 0).await;
        let aborted = rig.start("e1", "1").await;
        rig.begins(2).await;
        rig.engine
            .stop(caller(), &aborted, None, None)
            .await
            .unwrap();
        rig.comes_to(0, 0).await;
        // A redrive takes a place, and waits for none.
        let runs = rig.start("e2", "2").await;
        rig.comes_to(0, 1).await;
        rig.engine.redrive(caller(), &aborted, None).await.unwrap();
        rig.comes_to(0, 2).await;
        let last = rig.start("e3", "3").await;
        rig.comes_to(1, 2).await;
        rig.works.permits.add_permits(3);
        for arn in [&runs, &aborted, &last] {
            assert_eq!(rig.ended(arn).await.status, Status::Succeeded);
        }
        rig.comes_to(0, 0).await;
        // A deleted state machine stops those that run and those that wait.
        let runs = rig.start("e4", "4").await;
        let waits = rig.start("e5", "5").await;
        rig.comes_to(1, 1).await;
        rig.engine
            .delete_machine(caller(), &rig.machine)
            .await
            .unwrap();
        for arn in [&runs, &waits] {
            assert_eq!(rig.ended(arn).await.status, Status::Aborted);
        }
        // With it goes all that was kept of its line.
        rig.is_let_go_of().await;
        rig.engine.shutdown().await;
    });
}

#[test]
fn express_executions_wait_or_are_refused() {
    run(async {
        let tags = [("stepwell:concurrency", "1")];
        let rig = Rig::new(Store::Memory, 0, MachineKind::Express, &tags).await;
        rig.start("e0", "0").await;
        rig.comes_to(0, 1).await;
        rig.start("e1", "1").await;
        rig.comes_to(1, 1).await;
        // One that somebody waits for cannot wait itself.
        let sync = rig
            .engine
            .start_sync(caller(), rig.request(None, "2"))
            .await;
        let (code, why) = refusal(sync);
        assert_eq!(code, Code::ThrottlingException);
        assert!(why.contains("do not wait"), "{why}");
        rig.works.permits.add_permits(2);
        rig.comes_to(0, 0).await;
        rig.works.permits.add_permits(1);
        let sync = rig
            .engine
            .start_sync(caller(), rig.request(None, "2"))
            .await;
        assert_eq!(sync.unwrap().execution.status, Status::Succeeded);
        rig.comes_to(0, 0).await;
        // While it runs it has the place, and who waits for that gets it.
        let (engine, request) = (rig.engine.clone(), rig.request(None, "3"));
        let sync = tokio::spawn(async move { engine.start_sync(caller(), request).await });
        rig.comes_to(0, 1).await;
        rig.start("e4", "4").await;
        rig.comes_to(1, 1).await;
        rig.works.permits.add_permits(2);
        assert_eq!(
            sync.await.unwrap().unwrap().execution.status,
            Status::Succeeded
        );
        rig.comes_to(0, 0).await;
        assert_eq!(rig.works.most().0, 1);
        rig.engine.shutdown().await;
    });
}

#[test]
fn a_line_outlives_the_process() {
    for kind in [MachineKind::Standard, MachineKind::Express] {
        let directory = tempfile::tempdir().unwrap();
        let tags = [("stepwell:concurrency", "2")];
        let (machine, started) = {
            let mut kept = (String::new(), Vec::new());
            run(async {
                let rig = Rig::new(at(directory.path()), 0, kind, &tags).await;
                for n in 0..7 {
                    kept.1.push(rig.start(&format!("e{n}"), "1").await);
                }
                rig.comes_to(5, 2).await;
                rig.begins(2).await;
                rig.engine.shutdown().await;
                kept.0 = rig.machine;
            });
            kept
        };
        run(async {
            let works = Works::new(0);
            let engine = open(at(directory.path()), &works);
            let rig = Rig {
                engine,
                machine,
                works,
            };
            rig.comes_to(5, 2).await;
            rig.begins(2).await;
            rig.works.permits.add_permits(7);
            if kind == MachineKind::Standard {
                for arn in &started {
                    assert_eq!(rig.ended(arn).await.status, Status::Succeeded);
                }
            }
            rig.comes_to(0, 0).await;
            assert_eq!(rig.works.begun().len(), 7);
            assert_eq!(rig.works.most().0, 2);
            rig.engine.shutdown().await;
        });
    }
}

#[test]
fn wrong_tags_are_refused() {
    run(async {
        let limit = [("stepwell:concurrency", "1")];
        let rig = Rig::new(Store::Memory, 0, MachineKind::Standard, &limit).await;
        let wrong = [("stepwell:concurrency", "none")];
        let created = tagged("other", WORKS, MachineKind::Standard, &wrong);
        let (code, why) = refusal(rig.engine.create_machine(caller(), created).await);
        assert_eq!(code, Code::ValidationException);
        assert!(why.contains("'none'"), "{why}");
        let per_key = tags(&[("stepwell:concurrency-per-key", "1")]);
        let tagged = rig.engine.tag(caller(), &rig.machine, per_key).await;
        assert!(refusal(tagged).1.contains("stepwell:concurrency-key"));
        // What was refused is not kept.
        let kept = rig.engine.tags(caller(), &rig.machine).await.unwrap();
        assert_eq!(kept, tags(&limit));
        rig.engine.shutdown().await;
    });
}

#[test]
fn children_stand_in_the_line_of_their_machine() {
    run(async {
        let tags = [("stepwell:concurrency", "1")];
        let rig = Rig::new(Store::Memory, 0, MachineKind::Standard, &tags).await;
        let parent = format!(
            r#"{{"StartAt":"A","States":{{"A":{{"Type":"Task","Resource":"arn:aws:states:::states:startExecution.sync:2",
            "Parameters":{{"StateMachineArn":"{}","Input":{{"a":1}}}},"End":true}}}}}}"#,
            rig.machine
        );
        let parent = machine("parent", MachineKind::Standard, &parent);
        let parent = rig.engine.create_machine(caller(), parent).await.unwrap();
        let mut parents = Vec::new();
        for _ in 0..3 {
            let request = start_of(&parent.machine.arn);
            let started = rig.engine.start(caller(), request).await.unwrap();
            parents.push(started.execution_arn);
        }
        rig.comes_to(2, 1).await;
        // A child that waits ends with its parent.
        let stop = rig.engine.stop(caller(), &parents[0], None, None);
        stop.await.unwrap();
        rig.works.permits.add_permits(3);
        for arn in &parents[1..] {
            assert_eq!(rig.ended(arn).await.status, Status::Succeeded);
        }
        rig.comes_to(0, 0).await;
        // One more where the child that ran was stopped; its attempt may end a moment after its execution.
        assert!((2..=3).contains(&rig.works.begun().len()));
        rig.engine.shutdown().await;
    });
}
