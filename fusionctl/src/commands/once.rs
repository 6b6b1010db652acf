//! Changing calls that are repeated without being done twice.
//!
//! A call goes out under an idempotency key. Whether one that got no answer was done, nobody knows; a
//! repeat under the same key finds out: it gets the answer of the first, or is done now.

use std::time::Duration;

use fusion_proto::client::CallError;
use fusion_proto::views::live::may_go_on;
use uuid::Uuid;

use crate::exit::note;

/// Most tries of a call.
const TRIES: u32 = 5;
/// Longest wait before the next try, whatever the server asks for: whoever typed the command waits.
const PAUSE_MAX: Duration = Duration::from_secs(8);

tokio::task_local! {
    /// The key of the call that is being made.
    static KEY: String;
}

/// The key for the call that is being made, if it is one that is done once.
pub(super) fn key() -> Option<String> {
    KEY.try_with(Clone::clone).ok()
}

/// Makes a changing call: tries it again, under the same key, while the server is away or cannot do it
/// yet, and says so on standard error.
///
/// # Errors
/// What the last try was refused with.
pub(super) async fn once<T>(
    mut call: impl AsyncFnMut() -> Result<T, CallError>,
) -> Result<T, CallError> {
    let tries = async {
        let (mut tried, mut least) = (1, Duration::from_secs(1));
        loop {
            let error = match call().await {
                Ok(answer) => return Ok(answer),
                Err(error) => error,
            };
            let Some(pause) = may_go_on(&error).filter(|_| tried < TRIES) else {
                return Err(error);
            };
            let pause = pause.max(least).min(PAUSE_MAX);
            note(&format!(
                "{error}; tried again in {:.1} s, under the same key: it is done once",
                pause.as_secs_f64()
            ));
            tokio::time::sleep(pause).await;
            (tried, least) = (tried + 1, least * 2);
        }
    };
    KEY.scope(Uuid::new_v4().to_string(), tries).await
}

#[cfg(test)]
mod tests {
    use super::*;
    use fusion_proto::status::Refusal;

    fn away() -> CallError {
        Refusal::ServerDraining { retry_after: Duration::from_secs(3_600) }.into()
    }

    #[tokio::test(start_paused = true)]
    async fn a_call_is_repeated_under_one_key_until_it_is_answered() {
        let mut keys = Vec::new();
        let answer = once(async || {
            keys.push(key().unwrap());
            if keys.len() < 3 { Err(away()) } else { Ok(7) }
        });
        assert_eq!(answer.await, Ok(7));
        assert!(keys.len() == 3 && keys.iter().all(|key| *key == keys[0]), "{keys:?}");
        let other = once(async || Ok(key().unwrap())).await;
        assert_ne!(other.as_ref(), Ok(&keys[0]));
        assert_eq!(key(), None, "no key for what only reads");
    }

    #[tokio::test(start_paused = true)]
    async fn tries_are_bounded_and_what_is_refused_for_good_is_not_repeated() {
        let mut tries = 0;
        let answer: Result<(), _> = once(async || {
            tries += 1;
            Err(away())
        })
        .await;
        assert_eq!((answer, tries), (Err(away()), TRIES));
        let refused: CallError = Refusal::JobNotFound { job: "x".to_owned() }.into();
        let mut tries = 0;
        let answer: Result<(), _> = once(async || {
            tries += 1;
            Err(refused.clone())
        })
        .await;
        assert_eq!((answer, tries), (Err(refused), 1));
    }
}
