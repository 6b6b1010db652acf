//! Who calls, and what they may do.
//!
//! Owns the roles, and what a caller may see; where tokens come from is in [`tokens`]. The edge finds
//! the caller of every call and asks it here. Must never: let a caller tell a view that it may not see
//! from one that does not exist.

pub(crate) mod quotas;
pub mod tokens;

use std::collections::BTreeSet;
use std::sync::Arc;

use fusion_core::id::{AgentId, ViewName};
use fusion_core::path::{PathRef, TreePath, notation};
use fusion_core::session::{Principal, Session};
use fusion_proto::status::Refusal;

/// What a caller is for.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Role {
    /// Reports what an agent sees, and asks for nothing.
    Agent,
    /// Reads.
    Reader,
    /// Reads, and has agents look: jobs, refreshes, the trash.
    Operator,
    /// May do everything.
    Admin,
}

impl Role {
    /// All, with how each is written.
    pub const ALL: [(&'static str, Self); 4] = [
        ("agent", Self::Agent),
        ("reader", Self::Reader),
        ("operator", Self::Operator),
        ("admin", Self::Admin),
    ];

    /// As it is written.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Agent => "agent",
            Self::Reader => "reader",
            Self::Operator => "operator",
            Self::Admin => "admin",
        }
    }
}

/// What a method is for, and so which roles may call it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Least {
    /// Whoever connects, also without a token.
    Anyone,
    /// Agents with their own sessions.
    Agent,
    /// Agents with their own sessions, and who operates.
    AgentOrOperator,
    /// Who reads, and all above.
    Reader,
    /// Who operates, and all above.
    Operator,
    /// Administrators.
    Admin,
}

impl Least {
    /// Whether a role is enough.
    pub(crate) const fn is_met_by(self, role: Role) -> bool {
        match (self, role) {
            (Self::Anyone, _) | (_, Role::Admin) => true,
            (Self::Agent, role) => matches!(role, Role::Agent),
            (Self::AgentOrOperator, role) => matches!(role, Role::Agent | Role::Operator),
            (Self::Reader, role) => matches!(role, Role::Reader | Role::Operator),
            (Self::Operator, role) => matches!(role, Role::Operator),
            (Self::Admin, _) => false,
        }
    }

    /// What is said to be missing.
    pub(crate) const fn as_str(self) -> &'static str {
        match self {
            Self::Anyone => "nothing",
            Self::Agent => "role agent",
            Self::AgentOrOperator => "role agent or operator",
            Self::Reader => "role reader",
            Self::Operator => "role operator",
            Self::Admin => "role admin",
        }
    }
}

/// All of a kind, or those that are named.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Scope<T> {
    /// All, those to come too.
    All,
    /// These.
    Only(Arc<BTreeSet<T>>),
}

impl<T: Ord> Scope<T> {
    /// Whether one is of them.
    pub fn has(&self, one: &T) -> bool {
        match self {
            Self::All => true,
            Self::Only(these) => these.contains(one),
        }
    }
}

/// What somebody may see: views, and in each of them all, or what lies at a path and below it. Cheap to clone.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Reach {
    pub(crate) views: Scope<ViewName>,
    /// None: all.
    pub(crate) below: Option<Arc<TreePath>>,
}

impl Reach {
    /// All of everything.
    pub(crate) const ALL: Self = Self { views: Scope::All, below: None };

    /// The path at and below which all lies that may be seen.
    pub(crate) fn top(&self) -> PathRef<'_> {
        self.below.as_deref().map_or(PathRef::ROOT, TreePath::as_ref)
    }

    /// Whether what stands at a path of a view may be seen.
    pub(crate) fn has(&self, view: &ViewName, path: PathRef<'_>) -> bool {
        self.views.has(view) && path.is_within(self.top())
    }

    /// Lets somebody ask for a path, whether or not there is anything.
    ///
    /// # Errors
    /// PERMISSION_DENIED, in the same words for every path that is not theirs.
    pub(crate) fn admit(&self, path: PathRef<'_>) -> Result<(), Refusal> {
        if path.is_within(self.top()) {
            return Ok(());
        }
        let top = notation::to_text(self.top().as_bytes());
        Err(Refusal::PermissionDenied { permission: format!("a path at or below {top}") })
    }
}

/// Who calls; cheap to clone.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Caller {
    pub(crate) principal: Principal,
    /// None if it has shown no token where one is asked for.
    pub(crate) role: Option<Role>,
    pub(crate) reach: Reach,
    pub(crate) agents: Scope<AgentId>,
}

impl Caller {
    /// Whoever calls where no token is asked for: may do everything.
    pub(crate) fn anonymous() -> Self {
        Self {
            principal: Principal::anonymous(),
            role: Some(Role::Admin),
            reach: Reach::ALL,
            agents: Scope::All,
        }
    }

    /// Whether it is whoever calls where no token is asked for.
    pub(crate) fn is_everybody(&self) -> bool {
        self.role.is_some() && self.principal == Principal::anonymous()
    }

    /// Who has shown no token where one is asked for.
    pub(crate) fn nobody() -> Self {
        Self {
            principal: Principal::anonymous(),
            role: None,
            reach: Reach { views: Scope::Only(Arc::default()), below: None },
            agents: Scope::Only(Arc::default()),
        }
    }

    /// Lets an agent of that name join that view.
    ///
    /// # Errors
    /// VIEW_NOT_FOUND for a view that it may not see, whether there is one or not; PERMISSION_DENIED
    /// for the name of another agent.
    pub(crate) fn admit(&self, view: &ViewName, agent: &AgentId) -> Result<(), Refusal> {
        if !self.reach.views.has(view) {
            return Err(Refusal::ViewNotFound { view: view.clone() });
        }
        if !self.agents.has(agent) {
            return Err(Refusal::PermissionDenied { permission: format!("agent id {agent}") });
        }
        Ok(())
    }

    /// Whether it may look at a session: at its own, and who operates at those of its views.
    pub(crate) fn sees(&self, session: &Session) -> bool {
        let operates = self.role.is_some_and(|role| Least::Operator.is_met_by(role));
        session.principal == self.principal || operates && self.reach.views.has(&session.view)
    }
}
