//! All that the simulated vendor knows, and the right answer to every request.

use std::collections::{BTreeMap, HashMap};

use jiff::Timestamp;
use serde::{Deserialize, Serialize};
use tokio::time::Instant;

use super::{
    answer::{Answer, http_date},
    counters::{Counters, Quota, Seen},
    credentials::{Credentials, Standing},
    fault::Fault,
    life::{Fields, InvalidScript, SessionScript},
    rule::{ActiveRule, Route, Rule},
    settings::Settings,
    shape,
};
use crate::{
    clock::Clock,
    config::simulate::{ErrorBody, RateLimitScope, Refusal, RetryAfterForm},
};

/// The links registered for one domain.
#[derive(Clone, Debug, Default, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields, default)]
pub struct LinksScript {
    /// The links, each with its fields as JSON.
    pub links: Vec<Fields>,
    /// The tokens, or principals of issued tokens, that may see them; for all others there are
    /// none.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub visible_to: Option<Vec<String>>,
}

#[derive(Debug)]
pub(super) struct World {
    pub clock: Clock,
    pub settings: Settings,
    pub credentials: Credentials,
    pub counters: Counters,
    pub sessions: BTreeMap<String, Life>,
    pub links: BTreeMap<String, LinksScript>,
    pub rules: Vec<ActiveRule>,
    started: Instant,
    ids_by_token: HashMap<String, String>,
    quota: Quota,
    seed: u64,
    rule_count: u64,
    request_count: u64,
}

/// A script, and since when it is played.
#[derive(Debug)]
pub(super) struct Life {
    pub script: SessionScript,
    since: Instant,
    since_time: Timestamp,
}

/// A request as far as the answer depends on it.
#[derive(Debug)]
pub(super) struct Request {
    pub call: Call,
    pub token: Option<String>,
    pub accepts_gzip: bool,
    pub method: String,
    pub target: String,
    pub headers: BTreeMap<String, String>,
}

/// What a request asks for.
#[derive(Debug)]
pub(super) enum Call {
    Session(String),
    SystemLinks(Option<String>),
    /// A method that the path does not know.
    WrongMethod,
    NoSuchRoute,
}

/// The right answer, and what becomes of it.
pub(super) struct Plan {
    pub right: Answer,
    pub fault: Fault,
    /// Seconds to wait before anything is sent.
    pub delay: f64,
}

impl World {
    pub(super) fn new(clock: Clock, settings: Settings, seed: u64) -> Self {
        Self {
            clock,
            settings,
            credentials: Credentials::default(),
            counters: Counters::default(),
            sessions: BTreeMap::new(),
            links: BTreeMap::new(),
            rules: Vec::new(),
            started: Instant::now(),
            ids_by_token: HashMap::new(),
            quota: Quota::default(),
            seed,
            rule_count: 0,
            request_count: 0,
        }
    }

    pub(super) fn put_session(&mut self, script: SessionScript) -> Result<(), InvalidScript> {
        let script = script.checked()?;
        self.delete_session(&script.id);
        if let Some(token) = &script.token {
            self.ids_by_token.insert(token.clone(), script.id.clone());
        }
        let life = Life { since: Instant::now(), since_time: self.clock.now(), script };
        self.sessions.insert(life.script.id.clone(), life);
        Ok(())
    }

    pub(super) fn delete_session(&mut self, id: &str) -> bool {
        let life = self.sessions.remove(id);
        if let Some(token) = life.as_ref().and_then(|life| life.script.token.as_ref()) {
            self.ids_by_token.remove(token);
        }
        life.is_some()
    }

    pub(super) fn add_rule(&mut self, rule: Rule) -> u64 {
        self.rule_count += 1;
        // Each rule has a chance of its own, or two of them would always strike together.
        let seed = self.seed.wrapping_add(self.rule_count);
        self.rules.push(ActiveRule::new(self.rule_count, rule, seed));
        self.rule_count
    }

    /// Counts a REST request and decides what becomes of it.
    pub(super) fn plan(&mut self, request: Request) -> Plan {
        let name = request.token.as_deref().map(|token| self.credentials.name(token));
        let (route, session_id) = match &request.call {
            Call::Session(id) => (Some(Route::Sessions), Some(id.as_str())),
            Call::SystemLinks(_) => (Some(Route::SystemLinks), None),
            Call::WrongMethod | Call::NoSuchRoute => (None, None),
        };
        let scope = match self.settings.rate_limit_scope {
            RateLimitScope::Api => "",
            RateLimitScope::Credential => name.as_deref().unwrap_or_default(),
        };
        let mut plan = if self.quota.admits(scope, self.settings.rate_limit) {
            let (fault, delay) = route
                .and_then(|route| self.strike(route, session_id, name.as_deref()))
                .unwrap_or_default();
            let answer = self.right_answer(&request, name.as_deref(), &fault);
            let may_be_encoded = request.accepts_gzip && fault.is_answer();
            let right = if may_be_encoded { answer.encoded() } else { answer };
            Plan { right, fault, delay }
        } else {
            Plan { right: self.over_quota(), fault: Fault::Right, delay: 0.0 }
        };
        self.request_count += 1;
        plan.right = plan.right.of_request(self.request_count, self.clock.now());
        let seen = Seen {
            at: self.started.elapsed().as_secs_f64(),
            status: plan.status(),
            method: request.method,
            target: request.target,
            headers: request.headers,
            credential: name,
        };
        self.counters.see(seen, session_id);
        plan
    }

    /// Counts a request to the token endpoint and decides what becomes of it.
    pub(super) fn plan_token(
        &mut self,
        form: &HashMap<String, String>,
        client: Option<(String, String)>,
    ) -> Plan {
        self.counters.token_requests += 1;
        let name = client.as_ref().map(|(id, _)| id.clone());
        let (fault, delay) = self.strike(Route::Token, None, name.as_deref()).unwrap_or_default();
        let right = self.credentials.issue(form, client, &self.settings);
        self.request_count += 1;
        let right = right.of_request(self.request_count, self.clock.now());
        Plan { right, fault, delay }
    }

    /// What the first rule that fits does, and after how many seconds.
    fn strike(
        &mut self,
        route: Route,
        session_id: Option<&str>,
        credential: Option<&str>,
    ) -> Option<(Fault, f64)> {
        let rule = self
            .rules
            .iter_mut()
            .find_map(|rule| rule.strikes(route, session_id, credential).then_some(&rule.rule))?;
        self.counters.faults += 1;
        Some((rule.fault.clone(), rule.delay))
    }

    fn over_quota(&self) -> Answer {
        let message = "Rate limit quota";
        let mut answer = self.error(429, "RateLimitQuota", message);
        answer.reason = Some(message.into());
        match self.settings.rate_limit_retry_after {
            RetryAfterForm::None => answer,
            RetryAfterForm::Seconds => answer.header("retry-after", "1"),
            RetryAfterForm::Date => {
                let second = jiff::SignedDuration::from_secs(1);
                let at = self.clock.now().saturating_add(second).unwrap_or_default();
                answer.header("retry-after", http_date(at))
            }
        }
    }

    /// The right answer, or the one of another time, shape or session if the fault is about that.
    fn right_answer(&self, request: &Request, name: Option<&str>, fault: &Fault) -> Answer {
        match request.call {
            Call::NoSuchRoute => {
                let message = "The requested resource does not exist";
                return Answer::error(404, ErrorBody::Route, "NOT_FOUND", message);
            }
            Call::WrongMethod => {
                let answer = self.error(405, "MethodNotAllowed", "The method is not allowed");
                return answer.header("allow", "GET, HEAD");
            }
            Call::Session(_) | Call::SystemLinks(_) => {}
        }
        let only_issued = self.settings.only_issued_tokens;
        let standing = request
            .token
            .as_deref()
            .map_or(Standing::Refused, |token| self.credentials.standing(token, only_issued));
        match standing {
            Standing::Accepted => {}
            Standing::Refused => return self.refusal(),
            Standing::NoSeat => {
                let message = "The user has no Remote Support seat";
                return self.error(401, "NoSeat", message);
            }
        }
        let name = name.unwrap_or_default();
        match &request.call {
            Call::Session(id) => self.session(id, name, fault),
            Call::SystemLinks(domain) => self.system_links(domain.as_deref(), name, fault),
            Call::WrongMethod | Call::NoSuchRoute => Answer::empty(500),
        }
    }

    fn refusal(&self) -> Answer {
        let (code, message) = ("InvalidToken", "Invalid token passed");
        match self.settings.refusal {
            Refusal::InvalidToken => Answer::error(403, ErrorBody::Gateway, code, message)
                .header("x-amzn-errortype", "UnauthorizedException"),
            Refusal::Unauthorized => self
                .error(401, code, message)
                .header("www-authenticate", "Bearer error=\"invalid_token\""),
        }
    }

    fn session(&self, asked: &str, name: &str, fault: &Fault) -> Answer {
        // Who mixes sessions up does not ask whose they are.
        let (asked, found) = if let Fault::ForeignSession { id } = fault {
            (id.as_str(), self.life(id))
        } else {
            let life = self.life(asked);
            (asked, life.filter(|life| sees(life.script.visible_to.as_ref(), name)))
        };
        found
            .and_then(|life| self.living(life, asked, fault))
            .unwrap_or_else(|| self.error(404, "NotFound", "The session does not exist"))
    }

    fn life(&self, asked: &str) -> Option<&Life> {
        let id = self.ids_by_token.get(asked).map_or(asked, String::as_str);
        self.sessions.get(id)
    }

    /// The answer for a session; `None` if it is not there yet, or not any more.
    fn living(&self, life: &Life, asked: &str, fault: &Fault) -> Option<Answer> {
        let script = &life.script;
        let at = life.since.elapsed().as_secs_f64();
        // Not there yet, or not any more, is never out of date.
        let now = script.moment(at)?;
        let kept = script.retention.unwrap_or(self.settings.retention);
        let is_gone = now.ended_at.is_some_and(|ended_at| at >= ended_at + kept);
        let has_id = script.token.is_none() || now.status != "notStarted";
        if is_gone || (!has_id && asked == script.id) {
            return None;
        }
        let moment = if let Fault::Stale { seconds } = *fault {
            script.moment((at - seconds).min(at).max(script.begin()))?
        } else {
            now
        };
        let shape = fault.shape().or(script.shape).or(self.settings.shape);
        let count = self.request_count;
        let body = shape::session(script, &moment, shape, life.since_time, count);
        Some(Answer::json(body).encodable(shape.encoding()))
    }

    fn system_links(&self, domain: Option<&str>, name: &str, fault: &Fault) -> Answer {
        let Some(domain) = domain.filter(|domain| !domain.is_empty()) else {
            return self.error(400, "InvalidRequest", "systemDomain is missing");
        };
        let found = self.links.get(domain).filter(|links| sees(links.visible_to.as_ref(), name));
        let links = found.map(|links| links.links.as_slice()).unwrap_or_default();
        let shape = fault.shape().or(self.settings.shape);
        Answer::json(shape::system_links(links, shape)).encodable(shape.encoding())
    }

    fn error(&self, status: u16, code: &str, message: &str) -> Answer {
        Answer::error(status, self.settings.error_body, code, message)
    }
}

impl Life {
    /// The status now; `None` before the first step.
    pub(super) fn status(&self) -> Option<String> {
        self.script.moment(self.since.elapsed().as_secs_f64()).map(|moment| moment.status)
    }
}

impl Plan {
    /// The status of the fault, if it is one, otherwise of the right answer.
    fn status(&self) -> u16 {
        if let Fault::Status { status, .. } = self.fault {
            status
        } else if let Fault::Redirect { status, .. } = self.fault {
            status
        } else if self.fault == Fault::NoContent {
            204
        } else {
            self.right.status
        }
    }
}

fn sees(visible_to: Option<&Vec<String>>, name: &str) -> bool {
    visible_to.is_none_or(|names| names.iter().any(|known| known == name))
}
