//! The numbers of a server and of an account that bound all state machines: they count where tags say nothing, and over lives.

use stepwell_engine::{Code, Exceeding, MachineKind, Quotas, Store};

use super::rig::{Rig, Works, open_bounded, refusal, run};
use crate::support::{at, caller};

#[test]
fn what_is_usual_bounds_all_machines_and_tags_may_say_less() {
    run(async {
        let usual = Quotas {
            machine_concurrency: Some(2),
            ..Quotas::default()
        };
        let rig = Rig::bounded(Store::Memory, usual, MachineKind::Standard, &[]).await;
        for n in 0..6 {
            rig.start(&format!("e{n}"), "1").await;
        }
        rig.comes_to(4, 2).await;
        // More than is usual is none.
        rig.tag(&[("stepwell:concurrency", "5")]).await;
        rig.start("e6", "1").await;
        rig.comes_to(5, 2).await;
        rig.tag(&[("stepwell:concurrency", "1")]).await;
        rig.works.permits.add_permits(1);
        rig.comes_to(5, 1).await;
        let untag = ["stepwell:concurrency".to_owned()];
        let untagged = rig.engine.untag(caller(), &rig.machine, &untag).await;
        untagged.unwrap();
        rig.comes_to(4, 2).await;
        // The account's own says more, and is told at once to those that wait.
        let account = &*caller().tenant;
        rig.engine.add_tenant(account, "").await.unwrap();
        let own = |machine_concurrency, machine_concurrency_mode| Quotas {
            machine_concurrency,
            machine_concurrency_mode,
            ..Quotas::default()
        };
        rig.engine
            .set_quotas(account, own(Some(4), None))
            .await
            .unwrap();
        rig.comes_to(2, 4).await;
        let refuse = Some(Exceeding::Refuse);
        let refusing = own(Some(4), refuse);
        rig.engine.set_quotas(account, refusing).await.unwrap();
        let (code, why) = refusal(rig.try_start("e7", "1").await);
        assert_eq!(code, Code::ThrottlingException);
        assert!(why.contains("`machine-concurrency`"), "{why}");
        let (code, _) = refusal(rig.engine.set_quotas(account, own(Some(0), None)).await);
        assert_eq!(code, Code::ValidationException);
        rig.works.permits.add_permits(6);
        rig.comes_to(0, 0).await;
        rig.engine.shutdown().await;
    });
}

#[test]
fn what_is_usual_counts_for_what_is_taken_up() {
    let usual = || Quotas {
        machine_concurrency: Some(1),
        ..Quotas::default()
    };
    let directory = tempfile::tempdir().unwrap();
    let mut machine = String::new();
    run(async {
        let store = at(directory.path());
        let rig = Rig::bounded(store, usual(), MachineKind::Standard, &[]).await;
        for n in 0..4 {
            rig.start(&format!("e{n}"), "1").await;
        }
        rig.comes_to(3, 1).await;
        rig.begins(1).await;
        rig.engine.shutdown().await;
        machine = rig.machine;
    });
    run(async {
        let works = Works::new(0);
        let engine = open_bounded(at(directory.path()), usual(), &works);
        let rig = Rig {
            engine,
            machine,
            works,
        };
        rig.comes_to(3, 1).await;
        rig.works.permits.add_permits(4);
        rig.comes_to(0, 0).await;
        assert_eq!(rig.works.most().0, 1);
        rig.engine.shutdown().await;
    });
}
