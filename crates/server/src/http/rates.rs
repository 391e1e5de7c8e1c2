//! Rate limits: what a user reads and writes over HTTP, and what an address may fail to authenticate, with the headers
//! `RateLimit-Policy` and `RateLimit` (draft-ietf-httpapi-ratelimit-headers-10) and, beyond them, 429 with `Retry-After`.
//!
//! Valid tokens count for their user, wherever the request comes from: neighbours behind one address, or behind one
//! proxy, do not limit each other. What is answered 401 counts for the address. A server with `--open` has no users and
//! is reached from this machine only, so it counts nobody, unless it is open to the world: then an address is a user.

use std::{net::IpAddr, net::SocketAddr, sync::Arc, time::Instant};

use axum::{
    extract::{ConnectInfo, Request, State},
    middleware::Next,
    response::{IntoResponse, Response},
};
use http::{HeaderMap, HeaderName, HeaderValue, Method, StatusCode, header};

use super::Refusal;
use crate::{
    api,
    app::App,
    auth::Principal,
    config::Config,
    rates::{Quota, Rates, Standing},
};

pub(super) const POLICY: HeaderName = HeaderName::from_static("ratelimit-policy");
pub(super) const STANDING: HeaderName = HeaderName::from_static("ratelimit");
const READS: &str = "reads";
const WRITES: &str = "writes";
const FAILURES: &str = "failures";

/// What the HTTP calls of everybody are counted in.
#[derive(Debug)]
pub(crate) struct Counts {
    reads: Rates,
    writes: Rates,
    failures: Rates,
    /// Times are counted from here: a clock that is set back stops nobody.
    start: Instant,
}

impl Counts {
    /// Starts to count.
    pub(crate) fn new(config: &Config) -> Self {
        let limits = &config.limits;
        let rates =
            |requests| Rates::new(Quota { requests, window_ms: limits.rate_window_ms }, limits.rate_callers);
        Self {
            reads: rates(limits.rate_reads),
            writes: rates(limits.rate_writes),
            failures: rates(limits.rate_failures),
            start: Instant::now(),
        }
    }

    fn take(&self, policy: &'static str, caller: &Caller) -> Option<Counted> {
        let rates = match policy {
            READS => &self.reads,
            WRITES => &self.writes,
            _ => &self.failures,
        };
        let now_us = u64::try_from(self.start.elapsed().as_micros()).unwrap_or(u64::MAX >> 1);
        let standing = rates.take(caller, now_us)?;
        Some(Counted { policy, quota: rates.quota()?, standing })
    }
}

/// Whom a request counts for.
#[derive(Debug, PartialEq, Eq, Hash)]
enum Caller {
    User(Arc<str>),
    Address(IpAddr),
}

/// A request that was counted.
struct Counted {
    policy: &'static str,
    quota: Quota,
    standing: Standing,
}

impl Counted {
    /// Tells the caller; parameters are whole seconds, rounded so that waiting so long is enough.
    fn tell(&self, headers: &mut HeaderMap) {
        let (name, quota) = (self.policy, self.quota);
        let window = quota.window_ms.div_ceil(1_000);
        let reset = self.wait_seconds().unwrap_or(self.standing.whole_in_ms.div_ceil(1_000));
        let left = self.standing.left;
        let told = [
            (POLICY, format!("\"{name}\";q={};w={window}", quota.requests)),
            (STANDING, format!("\"{name}\";r={left};t={reset}")),
        ];
        for (name, value) in told {
            if let Ok(value) = HeaderValue::from_str(&value) {
                headers.insert(name, value);
            }
        }
    }

    fn wait_seconds(&self) -> Option<u64> {
        self.standing.refused_for_ms.map(|wait| wait.div_ceil(1_000).max(1))
    }

    /// Answers a request that does not go through.
    fn refuse(&self, app: &App, path: &str) -> Response {
        app.metrics.limited(self.policy);
        let wait = self.wait_seconds().unwrap_or(1);
        let (requests, window) = (self.quota.requests, self.quota.window_ms.div_ceil(1_000));
        let text = match self.policy {
            FAILURES => format!(
                "this address failed to authenticate more than {requests} times in {window} s: get a valid token, \
                 and try again in {wait} s"
            ),
            policy => format!("more than {requests} {policy} in {window} s: try again in {wait} s"),
        };
        let mut response = match path.starts_with("/v1/users/") {
            true => api::too_many(text),
            false => Refusal::new(StatusCode::TOO_MANY_REQUESTS, "too_many_requests", text).into_response(),
        };
        response.headers_mut().insert(header::RETRY_AFTER, wait.into());
        self.tell(response.headers_mut());
        response
    }
}

/// Counts a request and refuses one too many, before its body is read.
pub(super) async fn limit(State(app): State<Arc<App>>, mut request: Request, next: Next) -> Response {
    let policy = match *request.method() {
        Method::GET | Method::HEAD | Method::OPTIONS => READS,
        _ => WRITES,
    };
    let address = request.extensions().get::<ConnectInfo<SocketAddr>>().map(|info| network(info.0.ip()));
    let principal = app.principal(super::token(request.headers())).ok();
    let path = request.uri().path().to_owned();
    let counted = caller(&app, principal.as_ref(), address).and_then(|c| app.counts.take(policy, &c));
    if let Some(counted) = counted.as_ref().filter(|counted| counted.standing.refused_for_ms.is_some()) {
        return counted.refuse(&app, &path);
    }
    if let Some(principal) = principal {
        // Judged once: whoever answers need not look at the token again.
        request.extensions_mut().insert(principal);
    }
    let mut response = next.run(request).await;
    if response.status() == StatusCode::UNAUTHORIZED {
        let failed = address.and_then(|address| app.counts.take(FAILURES, &Caller::Address(address)));
        return match failed {
            Some(failed) if failed.standing.refused_for_ms.is_some() => failed.refuse(&app, &path),
            Some(failed) => {
                failed.tell(response.headers_mut());
                response
            }
            None => response,
        };
    }
    if let Some(counted) = counted {
        counted.tell(response.headers_mut());
    }
    response
}

fn caller(app: &App, principal: Option<&Principal>, address: Option<IpAddr>) -> Option<Caller> {
    match principal?.user() {
        Some(user) => Some(Caller::User(user.clone())),
        None if app.config.open_to_the_world => address.map(Caller::Address),
        None => None,
    }
}

/// Returns what stands for whoever has an address: of IPv6 a household has a /64.
fn network(address: IpAddr) -> IpAddr {
    match address.to_canonical() {
        IpAddr::V6(address) => {
            let [a, b, c, d, ..] = address.segments();
            IpAddr::from([a, b, c, d, 0, 0, 0, 0])
        }
        address => address,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn neighbours_in_a_household_share_and_others_do_not() {
        let of = |text: &str| network(text.parse().expect("an address"));
        assert_eq!(of("2001:db8:1:2:3::4"), of("2001:db8:1:2:ffff::"));
        assert_ne!(of("2001:db8:1:2::"), of("2001:db8:1:3::"));
        assert_ne!(of("192.0.2.1"), of("192.0.2.2"));
        assert_eq!(of("::ffff:192.0.2.1"), of("192.0.2.1"));
    }

    #[test]
    fn what_is_told_is_enough() {
        let quota = Quota { requests: 3, window_ms: 1_500 };
        let standing = Standing { left: 0, whole_in_ms: 1_500, refused_for_ms: Some(1_001) };
        let mut headers = HeaderMap::new();
        Counted { policy: WRITES, quota, standing }.tell(&mut headers);
        assert_eq!(headers[POLICY], "\"writes\";q=3;w=2");
        assert_eq!(headers[STANDING], "\"writes\";r=0;t=2");
        let standing = Standing { left: 2, whole_in_ms: 500, refused_for_ms: None };
        Counted { policy: READS, quota, standing }.tell(&mut headers);
        assert_eq!(headers[STANDING], "\"reads\";r=2;t=1");
    }
}
