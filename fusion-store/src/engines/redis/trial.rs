//! Commands of tests, over a connection of their own.

#![allow(clippy::unwrap_used, reason = "for tests alone")]

use ::redis::{Value, cmd};

use crate::engines::EngineSettings;
use crate::engines::bridge::Bridge;

/// Runs a command; what it gives as text, parts of it apart by a comma.
pub(in crate::engines) fn command(settings: &EngineSettings, words: &[&str]) -> String {
    let (address, login) = super::address(settings).unwrap();
    let words: Vec<String> = words.iter().map(|word| (*word).to_owned()).collect();
    let bridge = Bridge::new("trial", "Redis").unwrap();
    let work = async move {
        let ::redis::ConnectionAddr::Tcp(host, port) = address else { unreachable!("it is near") };
        let stream = tokio::net::TcpStream::connect((host.as_str(), port)).await.unwrap();
        let config = ::redis::AsyncConnectionConfig::new();
        let made =
            ::redis::aio::MultiplexedConnection::new_with_config(&login, stream, config).await;
        let (mut connection, carried) = made.unwrap();
        let carried = tokio::runtime::Handle::current().spawn(carried);
        let mut command = cmd(&words[0]);
        command.arg(&words[1..]);
        let answer: Result<Value, _> = command.query_async(&mut connection).await;
        carried.abort();
        Ok(answer.map_or_else(|error| error.to_string(), |answer| told(&answer)))
    };
    bridge.run("ask", std::time::Duration::from_secs(60), work).unwrap()
}

fn told(answer: &Value) -> String {
    match answer {
        Value::BulkString(bytes) => String::from_utf8_lossy(bytes).into_owned(),
        Value::Array(parts) => parts.iter().map(told).collect::<Vec<_>>().join(","),
        Value::Int(number) => number.to_string(),
        Value::Okay => "OK".to_owned(),
        other => format!("{other:?}"),
    }
}
