//! Anything that may be said of sessions.

use super::*;

pub(super) fn session() -> impl Strategy<Value = SessionId> {
    any_of::uuid().prop_map(SessionId::new)
}

pub(super) fn role() -> impl Strategy<Value = Role> {
    prop_oneof![Just(Role::Leader), Just(Role::Follower)]
}

pub(super) fn state() -> impl Strategy<Value = SessionState> {
    prop_oneof![
        Just(SessionState::Active),
        Just(SessionState::Ended),
        Just(SessionState::Expired),
        Just(SessionState::Superseded),
        Just(SessionState::Evicted),
        Just(SessionState::Reset),
    ]
}

prop_compose! {
    pub(super) fn create_session()(
        view in any_of::view_name(),
        agent in any_of::agent_id(),
        ids in (any_of::uuid(), any_of::uuid()),
        client in any_of::client_info(),
        root in any_of::root_claim(),
        capabilities in any_of::capabilities(),
        proposed_timeout in option::of(any_of::span()),
    ) -> CreateSession {
        let (instance, spool) = (InstanceId::new(ids.0), SpoolId::new(ids.1));
        CreateSession { view, agent, instance, spool, client, root, capabilities, proposed_timeout }
    }
}

prop_compose! {
    pub(super) fn settings()(
        spans in (any_of::span(), any_of::span(), any_of::span()),
        deep_audit_one_in in 1..=u32::MAX,
        batch_rows in limits::BATCH_ROWS_MIN..=limits::BATCH_ROWS,
        batch_bytes in limits::BATCH_BYTES_MIN..=limits::BATCH_BYTES,
        exclude in vec("[a-z*/]{1,20}", 0..3),
        withheld in (any::<bool>(), any::<bool>()),
    ) -> AgentSettings {
        let (cache_horizon, hot_threshold, audit_interval) = spans;
        AgentSettings {
            cache_horizon,
            hot_threshold,
            audit_interval,
            deep_audit_one_in,
            batch_rows,
            batch_bytes,
            exclude,
            withheld: Withheld { owner: withheld.0, mode: withheld.1 },
        }
    }
}

prop_compose! {
    pub(super) fn info()(
        session in option::of(session()),
        view in any_of::view_name(),
        agent in any_of::agent_id(),
        client in any_of::client_info(),
        standing in (state(), role(), any::<u64>()),
        times in (any_of::server_time(), any_of::server_time()),
        timeout in any_of::span(),
        root_uri in "file://[a-z]{0,9}",
        status in option::of(any_of::agent_status()),
    ) -> SessionInfo {
        SessionInfo {
            session,
            view,
            agent,
            client,
            state: standing.0,
            role: standing.1,
            epoch: LeaderEpoch(standing.2),
            created_at: times.0,
            last_heartbeat: times.1,
            timeout,
            root_uri,
            status,
        }
    }
}

prop_compose! {
    pub(super) fn created()(
        session in session(),
        info in info(),
        leader_epoch: u64,
        heartbeat_interval in any_of::span(),
        server_time in any_of::server_time(),
        settings in settings(),
    ) -> CreatedSession {
        let info = SessionInfo { session: Some(session), ..info };
        let leader_epoch = LeaderEpoch(leader_epoch);
        CreatedSession { session, info, leader_epoch, heartbeat_interval, server_time, settings }
    }
}

pub(super) fn action() -> impl Strategy<Value = Action> {
    let scan = (any_of::path(), any_of::source(), any::<bool>(), option::of(1..=u64::MAX));
    prop_oneof![
        scan.prop_map(|(path, source, recursive, audit_number)| Action::Scan {
            path,
            source,
            recursive,
            audit_number
        }),
        vec(any_of::path(), 0..4).prop_map(|paths| Action::Probe { paths }),
        "\\PC{0,20}".prop_map(|why| Action::Stop { why }),
        prop_oneof![Just(AgentPart::Watch), Just(AgentPart::Scan)]
            .prop_map(|part| Action::Restart { part }),
    ]
}

prop_compose! {
    pub(super) fn command()(
        id in any_of::uuid(),
        lease in "[a-z0-9-]{0,36}",
        correlation in option::of(any_of::correlation_id()),
        traceparent in "[0-9a-f-]{0,55}",
        action in action(),
    ) -> Command {
        Command { id, lease, correlation, traceparent, action }
    }
}

pub(super) fn value() -> impl Strategy<Value = ResultValue> {
    let leaf = prop_oneof![
        Just(ResultValue::Null),
        any::<bool>().prop_map(ResultValue::Bool),
        (-1e300..1e300).prop_map(ResultValue::Number),
        "\\PC{0,20}".prop_map(ResultValue::Text),
    ];
    leaf.prop_recursive(4, 64, 6, |inner| {
        prop_oneof![
            vec(inner.clone(), 0..6).prop_map(ResultValue::List),
            btree_map("[a-z]{0,6}", inner, 0..6).prop_map(ResultValue::Fields),
        ]
    })
}

prop_compose! {
    pub(super) fn report()(
        id in any_of::uuid(),
        lease in "[a-z0-9-]{0,36}",
        state in prop_oneof![
            Just(CommandState::Running),
            Just(CommandState::Done),
            Just(CommandState::Failed),
        ],
        progress in 0..=100_u8,
        result in btree_map("[a-z]{0,6}", value(), 0..4),
    ) -> CommandReport {
        CommandReport { id, lease, state, progress, result }
    }
}

prop_compose! {
    pub(super) fn heartbeat()(
        session in session(),
        agent_time in option::of(any::<i64>().prop_map(AgentTime::from_nanos)),
        delivered_through in option::of(any_of::server_time()),
        status in option::of(any_of::agent_status()),
        reports in vec(report(), 0..3),
    ) -> Heartbeat {
        Heartbeat { session, agent_time, delivered_through, status, reports }
    }
}

prop_compose! {
    pub(super) fn answer()(
        server_time in any_of::server_time(),
        role in role(),
        leader_epoch: u64,
        commands in vec(command(), 0..3),
        reports_refused in vec(any_of::uuid(), 0..3),
        audit_number: u64,
    ) -> HeartbeatAnswer {
        let leader_epoch = LeaderEpoch(leader_epoch);
        HeartbeatAnswer {
            server_time,
            role,
            leader_epoch,
            commands,
            reports_refused,
            audit_number,
        }
    }
}
