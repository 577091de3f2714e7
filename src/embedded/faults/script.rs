//! The scripted mode: the user's own code decides about a request.

use super::ReceivedRequest;
use crate::embedded::state::Reply;
use crate::protocol::{Message, Request};
use bytes::Bytes;
use std::fmt;
use std::sync::Arc;
use std::time::Duration;

/// What a script makes of a request; for [`Cluster::intercept`](crate::embedded::Cluster::intercept).
#[derive(Debug)]
#[non_exhaustive]
pub enum Intercept<Response> {
    /// The broker serves the request as if there were no script.
    Pass,
    /// This is the answer; the request has no effect.
    Answer(Response),
    /// This is the answer, after a time by the cluster's clock; the request has no effect.
    AnswerAfter(Duration, Response),
    /// The connection is closed; the request has no effect.
    Close,
    /// There is no answer, the request has no effect, and the connection goes on.
    Silence,
    /// These bytes are written as they are: length, correlation id and all. The request has no effect, and the connection
    /// goes on.
    Raw(Bytes),
}

/// The same, of any API.
#[derive(Debug)]
pub(in crate::embedded) enum Verdict {
    Pass,
    /// This instead, after a time.
    Instead(Reply, Duration),
}

impl<Response: crate::protocol::Response + Send + 'static> From<Intercept<Response>> for Verdict {
    fn from(intercept: Intercept<Response>) -> Self {
        match intercept {
            Intercept::Pass => Self::Pass,
            Intercept::Answer(response) => Self::Instead(Reply::of(response), Duration::ZERO),
            Intercept::AnswerAfter(delay, response) => Self::Instead(Reply::of(response), delay),
            Intercept::Close => Self::Instead(Reply::Close, Duration::ZERO),
            Intercept::Silence => Self::Instead(Reply::Silence, Duration::ZERO),
            Intercept::Raw(bytes) => Self::Instead(Reply::Raw(bytes), Duration::ZERO),
        }
    }
}

/// The user's code for requests of one API.
#[derive(Clone)]
pub(in crate::embedded) struct Script(Arc<dyn Fn(&mut dyn Message, &ReceivedRequest) -> Verdict + Send + Sync>);

impl Script {
    pub(in crate::embedded) fn new<R>(
        script: impl Fn(&R, &ReceivedRequest) -> Intercept<R::Response> + Send + Sync + 'static,
    ) -> Self
    where
        R: Request + Send + 'static,
        R::Response: Send + 'static,
    {
        Self(Arc::new(move |body, received| {
            body.as_any_mut().downcast_ref::<R>().map_or(Verdict::Pass, |request| script(request, received).into())
        }))
    }

    pub(in crate::embedded) fn ask(&self, body: &mut dyn Message, received: &ReceivedRequest) -> Verdict {
        (self.0)(body, received)
    }
}

/// The user's code that changes answers of one API.
#[derive(Clone)]
pub(in crate::embedded) struct Edit(Arc<dyn Fn(&mut dyn Message) + Send + Sync>);

impl Edit {
    pub(in crate::embedded) fn new<R>(edit: impl Fn(&mut R::Response) + Send + Sync + 'static) -> Self
    where
        R: Request,
        R::Response: 'static,
    {
        Self(Arc::new(move |answer| {
            if let Some(response) = answer.as_any_mut().downcast_mut::<R::Response>() {
                edit(response);
            }
        }))
    }

    pub(in crate::embedded) fn apply(&self, answer: &mut dyn Message) {
        (self.0)(answer);
    }
}

impl fmt::Debug for Script {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Script")
    }
}

impl fmt::Debug for Edit {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Edit")
    }
}
