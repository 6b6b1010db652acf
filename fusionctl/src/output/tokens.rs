//! Tokens, without their secrets: nobody has them.

use fusion_server::access::tokens::TokenEntry;
use serde_json::json;

use super::Printer;
use crate::exit::Failure;

impl Printer {
    /// The head of a table of tokens; nothing in JSON.
    pub(crate) fn tokens_head(&mut self) -> Result<(), Failure> {
        self.head(&format!(
            "{:<20}  {:<20}  {:<8}  {:<20}  {:<20}  VIEWS; AGENTS OR PATH",
            "ID", "PRINCIPAL", "ROLE", "CREATED", "EXPIRES"
        ))
    }

    /// One token.
    pub(crate) fn token(&mut self, token: &TokenEntry) -> Result<(), Failure> {
        let TokenEntry { id, principal, role, views, agents, path, created, expires, .. } = token;
        if self.is_json() {
            return self.document(&json!({
                "id": id, "principal": principal, "role": role, "views": views,
                "agents": agents, "path": path, "created": created, "expires": expires,
            }));
        }
        let mut scope = views.join(", ");
        if !agents.is_empty() {
            scope = format!("{scope}; {}", agents.join(", "));
        }
        if let Some(path) = path {
            scope = format!("{scope}; {path}");
        }
        let expires = expires.as_deref().unwrap_or("never");
        self.text(&format!(
            "{id:<20}  {principal:<20}  {role:<8}  {created:<20}  {expires:<20}  {scope}"
        ))
    }
}
