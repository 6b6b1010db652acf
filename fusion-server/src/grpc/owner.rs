//! Calls that belong to the owner of a view: where several servers are, sent on to it.
//!
//! Stands behind authentication and paths, before repeats and audit, which are the owner's. Which view a call is about
//! is read out of its first message, for all methods alike, by what [`methods`] says of each. A call is sent on as it came,
//! message and metadata, with its caller's own token, and marked; a marked one is never sent on again. Its answer names
//! the owner (`fusion-owner`), so that an agent can connect there. Without other servers nothing of it runs. Must never:
//! say that it is somebody whom it has not heard from; who is known by a certificate alone is told where to go.

mod message;

use std::collections::HashMap;
use std::convert::Infallible;
use std::pin::Pin;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::task::{Context, Poll};
use std::time::Duration;

use fusion_core::id::{CorrelationId, SessionId, ViewName};
use fusion_core::view::ViewState;
use fusion_proto::client::{ClientTls, ConnectError, lazy_channel_with};
use fusion_proto::limits;
use fusion_proto::pb::ReadClass;
use fusion_proto::status::Refusal;
use fusion_store::{Item, ServerId, Space, ViewId};
use futures_util::future::Either;
use http::request::Parts;
use http::{HeaderMap, HeaderValue, Request, Response, header};
use prost::Message as _;
use tonic::body::Body;
use tonic::transport::Channel;
use tower::{Layer, Service, ServiceExt as _};
use uuid::Uuid;

use self::message::{Named, Opens, Plans, class_of, first_message};
use super::authenticate::{Credentials, caller_in};
use super::body::CutBody;
use super::idempotency::refused;
use super::methods::{self, Whose};
use super::{Services, draining};
use crate::cluster::Cluster;
use crate::service::{jobs, sessions};
use crate::stores::LoadError;

/// Connections to other servers that are kept.
const CHANNELS: usize = 64;
/// When to ask again where the owner, or the store that says who it is, does not answer.
const RETRY: Duration = Duration::from_secs(2);

#[derive(Clone)]
pub(super) struct OwnerLayer {
    /// Absent: there is no other server.
    shared: Option<Arc<Shared>>,
}

struct Shared {
    cluster: Cluster,
    services: Services,
    /// Callers are known by tokens or certificates.
    asks_who: bool,
    /// Locked to look up or insert.
    channels: Mutex<HashMap<String, Channel>>,
}

/// Where a call goes.
enum Route {
    Here,
    To(String),
    Nowhere(Refusal),
}

impl OwnerLayer {
    pub(super) fn new(services: &Services, asks_who: bool) -> Self {
        let shared = services.conductor.as_ref().map(|conductor| Shared {
            cluster: conductor.cluster.clone(),
            services: services.clone(),
            asks_who,
            channels: Mutex::default(),
        });
        Self { shared: shared.map(Arc::new) }
    }
}

impl<S> Layer<S> for OwnerLayer {
    type Service = OwnerService<S>;

    fn layer(&self, inner: S) -> OwnerService<S> {
        OwnerService { inner, layer: self.clone() }
    }
}

#[derive(Clone)]
pub(super) struct OwnerService<S> {
    inner: S,
    layer: OwnerLayer,
}

type Answered = Pin<Box<dyn Future<Output = Result<Response<Body>, Infallible>> + Send>>;

impl<S> Service<Request<Body>> for OwnerService<S>
where
    S: Service<Request<Body>, Response = Response<Body>, Error = Infallible>,
    S: Clone + Send + 'static,
    S::Future: Send + 'static,
{
    type Response = Response<Body>;
    type Error = Infallible;
    type Future = Either<S::Future, Answered>;

    fn poll_ready(&mut self, context: &mut Context<'_>) -> Poll<Result<(), Infallible>> {
        self.inner.poll_ready(context)
    }

    fn call(&mut self, request: Request<Body>) -> Self::Future {
        // A server that is alone does not even ask whose a call is.
        let Some(shared) = &self.layer.shared else {
            return Either::Left(self.inner.call(request));
        };
        let whose = methods::whose(request.uri().path());
        if whose == Whose::Anyones {
            return Either::Left(self.inner.call(request));
        }
        let shared = Arc::clone(shared);
        // The one that is ready is the one that is called.
        let ready = self.inner.clone();
        let mut inner = std::mem::replace(&mut self.inner, ready);
        Either::Right(Box::pin(async move {
            let (head, body) = request.into_parts();
            let (message, body) = match first_message(body).await {
                Ok(read) => read,
                Err(refusal) => return Ok(refused(refusal)),
            };
            match shared.route(whose, &message, &head).await {
                Route::Here => inner.call(Request::from_parts(head, body)).await,
                Route::To(owner) => {
                    let is_read = matches!(whose, Whose::Readers(_));
                    Ok(shared.send_on(&owner, Request::from_parts(head, body), is_read).await)
                }
                Route::Nowhere(refusal) => Ok(refused(refusal)),
            }
        }))
    }
}

impl Shared {
    async fn route(&self, whose: Whose, message: &[u8], call: &Parts) -> Route {
        if whose == Whose::Servers {
            return self.to_server(message, call);
        }
        let view = match self.view_of(whose, message).await {
            Ok(Some(view)) => view,
            // Its handler says what is wrong with it.
            Ok(None) => return Route::Here,
            Err(refusal) => return Route::Nowhere(refusal),
        };
        let is_seen = caller_in(&call.extensions).reach.views.has(&view);
        let handle = match self.services.views.get(&view) {
            Ok(handle) if is_seen => handle,
            // Of a view that another server has just made: what the store knows of it is not over.
            Err(_) if is_seen && whose.is_stored() && self.cluster.may_have(&view) => {
                return Route::Nowhere(self.services.views.not_owner(&view));
            }
            _ => return Route::Here,
        };
        if self.services.views.owned(&handle).is_ok() {
            return Route::Here;
        }
        if let Whose::Readers(class) = whose {
            let state = || self.services.views.status(&handle).state;
            match class_of(message, class) {
                ReadClass::Fresh => {}
                ReadClass::Trusted if state() != ViewState::Ready => {}
                ReadClass::Trusted | ReadClass::Any | ReadClass::Unspecified => return Route::Here,
            }
        }
        let owner = self.cluster.owner(ViewId(handle.id()));
        let owner = owner.filter(|owner| owner.server != self.cluster.id());
        match owner {
            Some(owner) if self.may_send(&owner.address, call) => Route::To(owner.address),
            _ => Route::Nowhere(self.services.views.not_owner(&view)),
        }
    }

    /// To the server that a call names; what is wrong with the name is said here.
    fn to_server(&self, message: &[u8], call: &Parts) -> Route {
        let named = Named::decode(message).ok().and_then(|named| Uuid::try_parse(&named.id).ok());
        let address = named.and_then(|id| self.cluster.address_of(ServerId(id)));
        match address.filter(|_| named != Some(self.cluster.id().0)) {
            None => Route::Here,
            Some(address) if self.may_send(&address, call) => Route::To(address),
            Some(address) => {
                let why = format!("cannot be asked on your account; ask it at {address}");
                Route::Nowhere(Refusal::invalid("server_id", why))
            }
        }
    }

    /// The view that a call is about; nothing if it names none that is known.
    async fn view_of(&self, whose: Whose, message: &[u8]) -> Result<Option<ViewName>, Refusal> {
        // Only where it is a text: of a message the numbers in it need not be one.
        let id = || Named::decode(message).map(|Named { id }| id).unwrap_or_default();
        match whose {
            Whose::Anyones | Whose::Servers => Ok(None),
            Whose::Owners | Whose::Readers(_) => Ok(ViewName::new(&id()).ok()),
            Whose::Sessions => self.of_session(&id()).await,
            Whose::Openings => match Opens::decode(message) {
                Ok(Opens { opening: Some(Named { id }) }) => self.of_session(&id).await,
                _ => Ok(None),
            },
            Whose::Jobs => match Uuid::try_parse(&id()) {
                Ok(id) => self.stored(Space::Job, id, jobs::home_of).await.map(Option::flatten),
                Err(_) => Ok(None),
            },
            Whose::Plans => {
                let first =
                    Plans::decode(message).ok().and_then(|plan| plan.steps.into_iter().next());
                Ok(first.and_then(|step| ViewName::new(&step.view).ok()))
            }
        }
    }

    async fn of_session(&self, id: &str) -> Result<Option<ViewName>, Refusal> {
        let Ok(session) = SessionId::parse(id) else { return Ok(None) };
        match self.services.sessions.view_of(session) {
            Some(view) => Ok(Some(view)),
            None => self.stored(Space::Session, session.uuid(), sessions::view_of).await,
        }
    }

    /// What the store has, where another server may have written it.
    async fn stored<T: Send + 'static>(
        &self,
        space: Space,
        id: Uuid,
        read: fn(&Item) -> Result<T, LoadError>,
    ) -> Result<Option<T>, Refusal> {
        let Some(conductor) = &self.services.conductor else { return Ok(None) };
        let (state, now) = (Arc::clone(&conductor.stores.state), self.services.clock.now());
        let item = tokio::task::spawn_blocking(move || state.get(space, id.as_bytes(), now)).await;
        let unread = |error: &dyn std::fmt::Display| {
            tracing::error!(%error, "whose a call is cannot be looked up in the store");
            Refusal::StoreUnavailable { retry_after: RETRY }
        };
        let item = item.map_err(|error| unread(&error))?.map_err(|error| unread(&error))?;
        item.map(|item| read(&item)).transpose().map_err(|error| unread(&error))
    }

    /// Whether a call may be sent on: it was not before, and the owner will know who calls.
    fn may_send(&self, owner: &str, call: &Parts) -> bool {
        let has_token = call.extensions.get::<Credentials>().is_some();
        !call.headers.contains_key(limits::FORWARDED_KEY)
            && (has_token || !self.asks_who)
            && (owner.starts_with("http://") || self.cluster.peers().ca.is_some())
    }

    async fn send_on(&self, owner: &str, request: Request<Body>, is_read: bool) -> Response<Body> {
        let channel = match self.channel(owner) {
            Ok(channel) => channel,
            Err(error) => return refused(self.lost(owner, &error)),
        };
        let call = async {
            let mut channel = channel.ready_oneshot().await?;
            channel.call(self.marked(request)).await
        };
        let sent = tokio::select! {
            sent = call => sent,
            // An agent may have to look first: that is waited for here as little as at the owner. Nothing is left half done.
            () = self.services.draining.cancelled(), if is_read => return refused(draining()),
        };
        match sent {
            Ok(mut answer) => {
                if let Ok(owner) = HeaderValue::from_str(owner) {
                    answer.headers_mut().insert(limits::OWNER_KEY, owner);
                }
                let over = self.services.draining.clone().cancelled_owned();
                let over = async move {
                    over.await;
                    draining()
                };
                answer.map(|body| Body::new(CutBody::new(body, over)))
            }
            Err(error) => refused(self.lost(owner, &error)),
        }
    }

    /// The owner does not answer; whether it did what was asked is not known.
    fn lost(&self, owner: &str, error: &dyn std::fmt::Display) -> Refusal {
        tracing::warn!(owner, %error, "a call could not be sent on to the owner of its view");
        Refusal::ServerDraining { retry_after: RETRY }
    }

    /// The same call, marked, with the token of its caller.
    fn marked(&self, request: Request<Body>) -> Request<Body> {
        let (mut head, body) = request.into_parts();
        let (credentials, correlation) =
            (head.extensions.remove::<Credentials>(), head.extensions.remove::<CorrelationId>());
        let mut headers = std::mem::replace(&mut head.headers, HeaderMap::new());
        if let Some(Credentials(token)) = credentials {
            headers.insert(header::AUTHORIZATION, token);
        }
        let texts = [
            (limits::FORWARDED_KEY, Some(self.cluster.id().to_string())),
            (limits::CORRELATION_ID_KEY, correlation.map(|id| id.as_str().to_owned())),
        ];
        for (key, text) in texts {
            if let Some(value) = text.and_then(|text| HeaderValue::from_str(&text).ok()) {
                headers.insert(key, value);
            }
        }
        let mut sent = Request::new(body);
        (*sent.method_mut(), *sent.uri_mut()) = (head.method, head.uri);
        (*sent.headers_mut(), *sent.version_mut()) = (headers, http::Version::HTTP_2);
        sent
    }

    fn channel(&self, owner: &str) -> Result<Channel, ConnectError> {
        let known = self.channels().get(owner).cloned();
        if let Some(known) = known {
            return Ok(known);
        }
        let plain = ClientTls::default();
        let tls = if owner.starts_with("https://") { self.cluster.peers() } else { &plain };
        // Reads files.
        let channel = lazy_channel_with(owner, tls)?;
        let mut channels = self.channels();
        if channels.len() >= CHANNELS {
            channels.clear();
        }
        channels.insert(owner.to_owned(), channel.clone());
        Ok(channel)
    }

    fn channels(&self) -> MutexGuard<'_, HashMap<String, Channel>> {
        self.channels.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
