//! What several servers say of themselves at their HTTP ports.

use fusion_proto::pb;

use crate::following::scanned;
use crate::harness::VIEW;
use crate::servers::{Engine, One, eventually};

/// What it says of a gauge or counter of the view; nothing if it does not.
async fn of_view(one: &One, name: &str) -> Option<f64> {
    of(one, &format!("fusion_{name}{{view=\"{VIEW}\"}}")).await
}

async fn of(one: &One, series: &str) -> Option<f64> {
    let text = one.server.get("/metrics").await;
    let line = text.lines().find_map(|line| line.strip_prefix(series)?.strip_prefix(' '));
    line.map(|number| number.parse().unwrap())
}

async fn move_to(one: &One, to: &One) {
    let asked = pb::ListServersRequest {};
    let listed = one.server.admin.clone().list_servers(asked).await.unwrap().into_inner().servers;
    let to = listed.into_iter().find(|listed| listed.address == to.address).unwrap().server_id;
    let asked = pb::MoveViewRequest { view: VIEW.into(), server_id: to };
    one.server.admin.clone().move_view(asked).await.unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn whose_a_view_is_and_how_the_lease_goes_is_measured() {
    let engine = Engine::new();
    let mut servers = engine.start_many(2).await;
    let (mut owner, other) = (engine.take_owner(&mut servers), servers.remove(0));
    scanned(&mut owner).await;
    // It is to stay there, however long this takes.
    move_to(&owner, &owner).await;
    for (one, owned) in [(&owner, 1.0), (&other, 0.0)] {
        eventually("both say whose it is, and that all is well", async || {
            let epoch = of_view(one, "view_owner_epoch").await;
            of_view(one, "view_owned").await == Some(owned)
                && epoch == Some(engine.epoch() as f64)
                && of_view(one, "view_lag_revisions").await == Some(0.0)
                && of(one, "fusion_servers{state=\"live\"}").await == Some(2.0)
                && of(one, "fusion_servers{state=\"silent\"}").await == Some(0.0)
        })
        .await;
        assert_eq!(of_view(one, "view_hand_overs_total").await, Some(0.0));
        assert_eq!(of_view(one, "view_take_overs_total").await, Some(owned));
        assert_eq!(of(one, "fusion_lease_lapses_total").await, Some(0.0));
    }
    assert_eq!(of_view(&owner, "view_lag_seconds").await, Some(0.0));
    eventually("the follower has heard the owner", async || {
        of_view(&other, "view_lag_seconds").await.is_some_and(|seconds| seconds > 0.0)
    })
    .await;
    let ready = owner.server.get("/readyz").await;
    let says = format!("owns, owner {}, epoch {}, lag 0", owner.address, engine.epoch());
    assert!(ready.contains(&says), "{ready}");
    let ready = other.server.get("/readyz").await;
    assert!(ready.contains(&format!("follows, owner {},", owner.address)), "{ready}");

    move_to(&owner, &other).await;
    eventually("it is handed over", async || {
        of_view(&other, "view_owned").await == Some(1.0)
            && of_view(&other, "view_take_overs_total").await == Some(1.0)
            && of_view(&owner, "view_hand_overs_total").await == Some(1.0)
    })
    .await;

    other.members.cut(true);
    eventually("its lease lapses, and it says so", async || {
        of(&other, "fusion_lease_lapses_total").await == Some(1.0)
            && of(&other, "fusion_lease_renewal_failures_total").await > Some(0.0)
            && of_view(&other, "view_owned").await == Some(0.0)
            && of_view(&other, "view_lag_revisions").await.is_none()
            && of(&other, "fusion_servers{state=\"live\"}").await == Some(0.0)
    })
    .await;
    eventually("another one says that it is silent", async || {
        of(&owner, "fusion_servers{state=\"silent\"}").await == Some(1.0)
    })
    .await;
    other.members.cut(false);
    eventually("it is heard again", async || {
        of(&other, "fusion_servers{state=\"live\"}").await == Some(2.0)
    })
    .await;
    assert_eq!(of(&other, "fusion_lease_lapses_total").await, Some(1.0), "counted once");
}
