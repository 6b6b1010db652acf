//! State on real servers that die, stand still, are full, or had their stream removed by hand.

use std::io::{BufRead as _, BufReader, Read as _, Write as _};
use std::net::TcpStream;
use std::sync::Arc;
use std::time::Duration;

use fusion_core::time::ServerTime;
use fusion_store::engines::Whose;
use fusion_store::engines::nats::{Nats, NatsSettings, NatsState, NatsSync};
use fusion_store::{Expect, Put, Space, State, StoreError, Survives, Swap};

use super::proxy::{Line, Proxy};
use super::server::{self, Options};
use super::{settings, whose};
use crate::faults::{self, until};

const NOW: ServerTime = ServerTime::from_nanos(1);

/// Calls end soon, so that a fault is seen.
fn soon(servers: Vec<String>) -> NatsSettings {
    NatsSettings { timeout: Duration::from_millis(700), ..settings(servers) }
}

fn open(settings: &NatsSettings, number: u128) -> NatsState {
    Nats::connect(settings.clone()).unwrap().state(whose(number)).unwrap()
}

/// What the engine answers a client that is not ours.
fn ask(port: u16, subject: &str, payload: &str) -> String {
    let mut stream = TcpStream::connect(("127.0.0.1", port)).unwrap();
    stream.set_read_timeout(Some(Duration::from_secs(10))).unwrap();
    let length = payload.len();
    write!(
        stream,
        "CONNECT {{\"verbose\":false}}\r\nSUB told 1\r\nPUB {subject} told {length}\r\n{payload}\r\n"
    )
    .unwrap();
    let mut lines = BufReader::new(stream);
    loop {
        let mut line = String::new();
        assert!(lines.read_line(&mut line).unwrap() > 0, "it hung up");
        if let Some(rest) = line.strip_prefix("MSG told 1 ") {
            let mut answer = vec![0; rest.trim().parse().unwrap()];
            lines.read_exact(&mut answer).unwrap();
            return String::from_utf8(answer).unwrap();
        }
        assert!(!line.starts_with("-ERR"), "{line}");
    }
}

fn is_other<T: std::fmt::Debug>(outcome: Result<T, StoreError>) {
    assert!(matches!(outcome, Err(StoreError::OtherState { .. })), "{outcome:?}");
}

#[test]
fn state_outlives_the_only_server_killed_in_the_middle() {
    if !server::is_there("state_outlives_the_only_server_killed_in_the_middle") {
        return;
    }
    let mut servers = server::Nats::one(&Options { sync_always: true, ..Options::default() });
    let settings = NatsSettings { sync: NatsSync::Always, ..soon(servers.urls()) };
    let state = open(&settings, 1);
    faults::Writing::begin(&state).while_it_happens(&state, || {
        servers.nodes[0].kill();
        std::thread::sleep(Duration::from_secs(1));
        servers.nodes[0].start();
        servers.wait_until_well();
    });
    assert_eq!(state.guarantee().survives, Survives::Power);
}

#[test]
fn state_goes_on_when_the_leader_of_three_is_killed() {
    if !server::is_there("state_goes_on_when_the_leader_of_three_is_killed") {
        return;
    }
    let mut servers = server::Nats::three(&Options { sync_always: true, ..Options::default() });
    let settings = NatsSettings { replicas: 3, ..soon(servers.urls()) };
    // Three that have just begun may take longer to make it than a call is to wait for a fault.
    drop(open(&NatsSettings { timeout: Duration::from_secs(30), ..settings.clone() }, 1));
    let state = open(&settings, 1);
    let stream = format!("KV_{}-state", settings.prefix);
    let leader = servers.leader(&stream);
    faults::Writing::begin(&state).while_it_happens(&state, || {
        servers.nodes[leader].kill();
        // The other two go on without it.
        until(|| state.put(Space::View, b"v", b"1", None).ok());
    });
    servers.nodes[leader].start();
    servers.wait_until_well();
    let told = state.guarantee();
    assert_eq!(told.survives, Survives::Processes, "{told}");
}

#[test]
fn a_write_that_was_given_up_does_not_come_after_what_followed() {
    if !server::is_there("a_write_that_was_given_up_does_not_come_after_what_followed") {
        return;
    }
    let servers = server::Nats::one(&Options::default());
    let state = open(&soon(servers.urls()), 1);
    let node = &servers.nodes[0];
    for _ in 0..5 {
        faults::given_up_stays_behind(&state, || node.freeze(), || node.thaw());
    }
}

#[test]
fn what_an_earlier_life_left_under_way_is_never_stored() {
    if !server::is_there("what_an_earlier_life_left_under_way_is_never_stored") {
        return;
    }
    let servers = server::Nats::one(&Options { hidden: true, ..Options::default() });
    let proxy = Proxy::new(servers.nodes[0].port);
    let through = soon(vec![proxy.url()]);
    let direct = NatsSettings { servers: servers.urls(), ..through.clone() };
    let earlier = open(&through, 1);
    earlier.put(Space::Job, b"k", b"before", None).unwrap();
    proxy.set(Line::Held);
    earlier.put(Space::Job, b"k", b"too late", None).unwrap_err();
    let later = open(&direct, 1);
    let there = || later.get(Space::Job, b"k", NOW).unwrap().unwrap().value;
    assert_eq!(there(), b"before");
    proxy.set(Line::Open);
    let refused = until(|| match earlier.put(Space::Job, b"k", b"too late", None) {
        Err(error) if error.to_string().contains("has taken over") => Some(error),
        outcome => {
            assert!(outcome.is_err(), "{outcome:?}");
            None
        }
    });
    assert!(refused.is_of_the_engine(), "{refused}");
    assert_eq!(there(), b"before");
}

#[test]
fn a_swap_of_which_the_acknowledgement_was_lost_is_found() {
    if !server::is_there("a_swap_of_which_the_acknowledgement_was_lost_is_found") {
        return;
    }
    let servers = server::Nats::one(&Options { hidden: true, ..Options::default() });
    let proxy = Proxy::new(servers.nodes[0].port);
    let state = open(&settings(vec![proxy.url()]), 1);
    let mut expect = Expect::Absent;
    for round in 0..6_u8 {
        let swapped = std::thread::scope(|scope| {
            proxy.set(Line::Deaf);
            let swap = || state.compare_and_swap(Space::View, b"v", expect, &[round], None, NOW);
            let swapping = scope.spawn(swap);
            std::thread::sleep(Duration::from_millis(100 * u64::from(round)));
            proxy.cut();
            proxy.set(Line::Open);
            swapping.join().unwrap().unwrap()
        });
        let Swap::Done(version) = swapped else { panic!("nobody else swaps: {swapped:?}") };
        let there = state.get(Space::View, b"v", NOW).unwrap().unwrap();
        assert_eq!((there.value, there.version), (vec![round], version));
        expect = Expect::Version(version);
    }
}

#[test]
fn two_servers_share_a_state() {
    if !server::is_there("two_servers_share_a_state") {
        return;
    }
    let servers = server::Nats::three(&Options::default());
    let settings = NatsSettings { replicas: 3, ..settings(servers.urls()) };
    let (one, two) = (open(&settings, 1), open(&settings, 2));
    assert_eq!(one.id(), two.id());
    one.put(Space::Job, b"n", b"0", None).unwrap();
    let count = |state: &NatsState| {
        for _ in 0..20 {
            until(|| {
                let there = state.get(Space::Job, b"n", NOW).unwrap().unwrap();
                let n: u32 = std::str::from_utf8(&there.value).unwrap().parse().unwrap();
                let (more, expect) = ((n + 1).to_string(), Expect::Version(there.version));
                let swapped =
                    state.compare_and_swap(Space::Job, b"n", expect, more.as_bytes(), None, NOW);
                matches!(swapped.unwrap(), Swap::Done(_)).then_some(())
            });
        }
    };
    std::thread::scope(|scope| {
        for state in [&one, &one, &two, &two] {
            scope.spawn(move || count(state));
        }
    });
    for state in [&one, &two] {
        assert_eq!(state.get(Space::Job, b"n", NOW).unwrap().unwrap().value, b"80");
    }
    let due = ServerTime::from_nanos(5);
    let puts: Vec<_> = (0..300_u32).map(|n| put(n, Some(due))).collect();
    one.put_all(&puts).unwrap();
    let swept: usize = std::thread::scope(|scope| {
        let sweep = |state| scope.spawn(move || NatsState::expire(state, due, 1_000).unwrap());
        [&one, &two].map(sweep).into_iter().map(|sweeping| sweeping.join().unwrap()).sum()
    });
    assert_eq!(swept, 300, "each went once");
    assert!(two.delete(Space::Job, b"n").unwrap());
    assert!(!one.delete(Space::Job, b"n").unwrap(), "a removal is seen");
    assert_eq!(one.get(Space::Session, &7_u32.to_be_bytes(), NOW).unwrap(), None);
    let absent = Expect::Absent;
    let again = one.compare_and_swap(Space::Session, &7_u32.to_be_bytes(), absent, b"", None, NOW);
    assert!(matches!(again.unwrap(), Swap::Done(_)), "what was swept can be written again");
}

fn put(number: u32, expires_at: Option<ServerTime>) -> Put {
    let key = number.to_be_bytes().to_vec();
    Put { space: Space::Session, value: key.clone(), key, expires_at }
}

/// Those of one batch and those of a bundle, the server killed at any moment of it.
#[test]
fn many_values_are_there_or_none_of_them() {
    if !server::is_there("many_values_are_there_or_none_of_them") {
        return;
    }
    let mut servers = server::Nats::one(&Options { sync_always: true, ..Options::default() });
    let settings = soon(servers.urls());
    let state = open(&settings, 1);
    let mut outcomes = [0; 2];
    for round in 0..10_u32 {
        let count = [700, 2_500][round as usize % 2];
        let value = round.to_be_bytes().to_vec();
        let puts: Vec<_> =
            (0..count).map(|n| Put { value: value.clone(), ..put(n, None) }).collect();
        std::thread::scope(|scope| {
            let putting = scope.spawn(|| state.put_all(&puts));
            std::thread::sleep(Duration::from_millis(u64::from(round) * 23));
            servers.nodes[0].kill();
            drop(putting.join().unwrap());
        });
        servers.nodes[0].start();
        servers.wait_until_well();
        let reader = open(&settings, 2);
        let page = reader.scan(Space::Session, b"", None, 10_000, NOW).unwrap();
        let written = page.items.iter().filter(|item| item.value == value).count();
        assert!(written == 0 || written == count as usize, "{written} of {count}");
        outcomes[usize::from(written > 0)] += 1;
        until(|| state.put_all(&puts).ok());
        let page = reader.scan(Space::Session, b"", None, count as usize, NOW).unwrap();
        assert!(page.items.iter().all(|item| item.value == value), "round {round}");
        // Once it was unpacked, whoever reads it anew reads the same.
        assert_eq!(state.expire(NOW, 1).unwrap(), 0);
        let anew = open(&settings, 2).scan(Space::Session, b"", None, count as usize, NOW);
        assert_eq!(
            anew.unwrap(),
            state.scan(Space::Session, b"", None, count as usize, NOW).unwrap()
        );
    }
    println!("not written, written: {outcomes:?}");
}

#[test]
fn a_bucket_that_was_removed_is_not_begun_anew() {
    if !server::is_there("a_bucket_that_was_removed_is_not_begun_anew") {
        return;
    }
    let servers = server::Nats::one(&Options::default());
    let settings = settings(servers.urls());
    let state = open(&settings, 1);
    state.put(Space::Job, b"k", b"1", None).unwrap();
    let stream = format!("KV_{}-state", settings.prefix);
    let removed = ask(servers.nodes[0].port, &format!("$JS.API.STREAM.DELETE.{stream}"), "");
    assert!(removed.contains("\"success\":true"), "{removed}");
    let calls = || {
        is_other(state.get(Space::Job, b"k", NOW));
        is_other(state.put(Space::Job, b"k", b"2", None));
        is_other(state.compare_and_swap(Space::Job, b"k", Expect::Absent, b"2", None, NOW));
        is_other(state.scan(Space::Job, b"", None, 9, NOW));
        is_other(state.expire(NOW, 9));
        is_other(state.delete(Space::Job, b"k"));
    };
    calls();
    let nats = Nats::connect(settings.clone()).unwrap();
    is_other(nats.state(Whose { state: Some(state.id()), ..whose(1) }));
    // Whoever has no state yet begins one, and that is another one.
    let begun = open(&settings, 2);
    assert_ne!(begun.id(), state.id());
    calls();
    assert_eq!(begun.get(Space::Job, b"k", NOW).unwrap(), None, "nothing was written");
}

#[test]
fn an_engine_that_is_full_is_an_error_and_it_goes_on_when_there_is_room() {
    if !server::is_there("an_engine_that_is_full_is_an_error_and_it_goes_on_when_there_is_room") {
        return;
    }
    let servers = server::Nats::one(&Options { max_file_store: 3 << 20, ..Options::default() });
    let (filler, settings) = (settings(servers.urls()), soon(servers.urls()));
    open(&filler, 1).put(Space::Job, b"k", &vec![1; 2 << 20], None).unwrap();
    let state = open(&settings, 1);
    let mut written = 0_u32;
    let full = loop {
        let large = Put { value: vec![2; 100 << 10], ..put(written, None) };
        match state.put_all(&[large]) {
            Ok(()) => written += 1,
            Err(error) => break error,
        }
        assert!(written < 100, "it never was full");
    };
    assert!(full.is_of_the_engine() && written > 0, "{full}");
    assert_eq!(
        state.scan(Space::Session, b"", None, 1_000, NOW).map(|page| page.items.len()).ok(),
        Some(written as usize)
    );
    ask(servers.nodes[0].port, &format!("$JS.API.STREAM.DELETE.KV_{}-state", filler.prefix), "");
    until(|| state.put_all(&[put(written, None)]).ok());
    let there = state.scan(Space::Session, b"", None, 1_000, NOW).unwrap().items.len();
    assert_eq!(there, written as usize + 1);
}

#[test]
fn what_is_stored_can_be_read_by_people_and_a_format_of_the_future_is_refused() {
    if !server::is_there(
        "what_is_stored_can_be_read_by_people_and_a_format_of_the_future_is_refused",
    ) {
        return;
    }
    let servers = server::Nats::one(&Options::default());
    let settings = settings(servers.urls());
    let state = open(&settings, 1);
    state.put(Space::View, b"home", br#"{"v":1}"#, None).unwrap();
    let (port, bucket) = (servers.nodes[0].port, format!("{}-state", settings.prefix));
    let last = format!(r#"{{"last_by_subj":"$KV.{bucket}.view.home"}}"#);
    let told = ask(port, &format!("$JS.API.STREAM.MSG.GET.KV_{bucket}"), &last);
    // The value alone, in base64.
    assert!(told.contains(r#""data":"eyJ2IjoxfQ==""#), "{told}");
    let about = format!(r#"{{"v":7,"id":"{}"}}"#, state.id());
    ask(port, &format!("$KV.{bucket}.about"), &about);
    let nats = Nats::connect(settings).unwrap();
    let refused = Arc::clone(&nats).state(whose(1)).unwrap_err();
    assert!(matches!(refused, StoreError::FutureFormat { found: 7, known: 1, .. }), "{refused}");
}
