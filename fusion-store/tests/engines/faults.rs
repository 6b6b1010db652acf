//! What befalls an engine, whichever it is.

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use fusion_core::time::ServerTime;
use fusion_store::{Expect, Space, State, StoreError, Swap};

const NOW: ServerTime = ServerTime::from_nanos(1);

/// Asks until there is an answer.
pub(crate) fn until<T>(mut ask: impl FnMut() -> Option<T>) -> T {
    for _ in 0..2_000 {
        if let Some(answer) = ask() {
            return answer;
        }
        std::thread::sleep(Duration::from_millis(10));
    }
    panic!("it did not happen");
}

/// Writers that note what was acknowledged to them.
pub(crate) struct Writing;

impl Writing {
    pub(crate) fn begin(state: &dyn State) -> Self {
        state.put(Space::Session, b"before", b"before", None).unwrap();
        Self
    }

    /// Four writers write while something happens, until each was acknowledged again after it; then
    /// all that was acknowledged is there, and nothing that nobody wrote.
    pub(crate) fn while_it_happens(&mut self, state: &dyn State, happen: impl FnOnce()) {
        let is_over = AtomicBool::new(false);
        std::thread::scope(|scope| {
            let is_over = &is_over;
            let writers: Vec<_> =
                (0..4).map(|writer| scope.spawn(move || write(state, writer, is_over))).collect();
            until(|| state.get(Space::Job, b"3-20", NOW).unwrap());
            happen();
            is_over.store(true, Ordering::SeqCst);
            let mut failures = 0;
            for writer in writers {
                let (acknowledged, failed) = writer.join().unwrap();
                failures += failed;
                for (key, value) in acknowledged {
                    let found = state.get(Space::Job, key.as_bytes(), NOW).unwrap();
                    assert_eq!(found.unwrap().value, value.as_bytes(), "{key}");
                }
            }
            assert!(failures > 0, "nothing befell the writers");
        });
        assert!(state.get(Space::Session, b"before", NOW).unwrap().is_some());
    }
}

/// Writes key after key, each until it is acknowledged, and swaps one that only it has.
fn write(state: &dyn State, writer: u8, is_over: &AtomicBool) -> (BTreeMap<String, String>, u32) {
    let (mut acknowledged, mut failures, mut after) = (BTreeMap::new(), 0, 0);
    let own = format!("own-{writer}");
    let mut expect = Expect::Absent;
    for number in 0.. {
        let (key, value) = (format!("{writer}-{number}"), format!("{number}"));
        until(|| match state.put(Space::Job, key.as_bytes(), value.as_bytes(), None) {
            Ok(_) => Some(()),
            Err(error) => {
                assert!(error.is_of_the_engine(), "{error}");
                failures += 1;
                None
            }
        });
        acknowledged.insert(key, value.clone());
        // As the port says it: a conflict with the value that was to be written is a swap that was done.
        let mut is_repeat = false;
        expect = until(|| {
            let swapped = state.compare_and_swap(
                Space::Job,
                own.as_bytes(),
                expect,
                value.as_bytes(),
                None,
                NOW,
            );
            match swapped {
                Ok(Swap::Done(version)) => Some(Expect::Version(version)),
                Ok(Swap::Conflict(Some(there))) if is_repeat && there.value == value.as_bytes() => {
                    Some(Expect::Version(there.version))
                }
                Ok(conflict) => panic!("nobody else swaps it: {conflict:?}"),
                Err(error) => {
                    assert!(error.is_of_the_engine(), "{error}");
                    failures += 1;
                    is_repeat = true;
                    None
                }
            }
        });
        acknowledged.insert(own.clone(), value);
        after += u32::from(is_over.load(Ordering::SeqCst));
        if after == 20 {
            break;
        }
    }
    (acknowledged, failures)
}

/// A write is given up because the engine stands; when the engine goes on, another value is written at
/// once. The first must never show after the second was acknowledged.
pub(crate) fn given_up_stays_behind(state: &dyn State, stop: impl FnOnce(), go_on: impl FnOnce()) {
    state.put(Space::Job, b"k", b"before", None).unwrap();
    stop();
    let large = vec![b'o'; 1 << 20];
    let late = state.put(Space::Job, b"k", &large, None).unwrap_err();
    assert!(matches!(&late, StoreError::Away { .. }), "{late}");
    let told = late.to_string();
    assert!(told.contains("127.0.0.1") && told.contains("has not answered within"), "{told}");
    assert!(state.get(Space::Job, b"k", NOW).is_err(), "reads do not hang either");
    go_on();
    until(|| state.put(Space::Job, b"k", b"after", None).ok());
    for _ in 0..50 {
        let there = state.get(Space::Job, b"k", NOW).unwrap().unwrap();
        assert!(there.value == b"after", "what was given up came after what was acknowledged");
        std::thread::sleep(Duration::from_millis(2));
    }
}

/// A CA and what it signs, in files.
pub(crate) struct Certificates {
    dir: tempfile::TempDir,
    ca: rcgen::CertifiedIssuer<'static, rcgen::KeyPair>,
    key: rcgen::KeyPair,
}

impl Certificates {
    pub(crate) fn new() -> Self {
        let mut params = rcgen::CertificateParams::default();
        params.is_ca = rcgen::IsCa::Ca(rcgen::BasicConstraints::Unconstrained);
        let ca = rcgen::CertifiedIssuer::self_signed(params, rcgen::KeyPair::generate().unwrap());
        let (dir, ca) = (tempfile::tempdir().unwrap(), ca.unwrap());
        std::fs::write(dir.path().join("ca.pem"), ca.pem()).unwrap();
        Self { dir, ca, key: rcgen::KeyPair::generate().unwrap() }
    }

    /// The file of the CA.
    pub(crate) fn ca(&self) -> PathBuf {
        self.dir.path().join("ca.pem")
    }

    /// A certificate for a name.
    pub(crate) fn certificate(&self, name: &str) -> String {
        let params = rcgen::CertificateParams::new([name.to_owned()]).unwrap();
        params.signed_by(&self.key, &self.ca).unwrap().pem()
    }

    pub(crate) fn key(&self) -> String {
        self.key.serialize_pem()
    }
}
