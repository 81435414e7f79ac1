//! The state of the simulator, and the right answer to every request.

use std::collections::{BTreeMap, HashMap};

use serde::{Deserialize, Serialize};
use tokio::time::Instant;

use super::{
    answer::{Answer, http_date},
    body,
    callback::Schedule,
    counters::{Counters, Quota, Seen},
    credentials::{Credentials, Standing},
    fault::Fault,
    life::{Fields, InvalidScript, Life, SessionScript},
    play::{Outcome, later, play},
    rule::{ActiveRule, Route, Rule},
};
use crate::{
    clock::Clock,
    config::simulate::{ErrorBody, RateLimitScope, Refusal, RetryAfterForm, Settings},
};

/// The links registered for one domain.
#[derive(Clone, Debug, Default, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields, default)]
pub struct LinksScript {
    /// The links, each with its fields as JSON.
    pub links: Vec<Fields>,
    /// The tokens, or principals of issued tokens, that may see the links. All others see no links.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub visible_to: Option<Vec<String>>,
}

/// The state at the start, and again after a reset.
#[derive(Debug)]
pub(super) struct Start {
    pub settings: Settings,
    pub sessions: Vec<SessionScript>,
    pub links: BTreeMap<String, LinksScript>,
    pub rules: Vec<Rule>,
    pub seed: u64,
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
    pub seed: u64,
    pub request_count: u64,
    pub schedule: Schedule,
    started: Instant,
    ids_by_token: HashMap<String, String>,
    quota: Quota,
    rule_count: u64,
}

/// The parts of a request that the answer and the counters depend on.
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
    /// The session with this id or token.
    Session(String),
    /// The sessions that these query parameters select.
    SessionList(HashMap<String, String>),
    /// The links of this domain.
    SystemLinks(Option<String>),
    WrongMethod,
    NoSuchRoute,
}

/// How a request is answered.
pub(super) struct Plan {
    /// Seconds to wait before the answer.
    pub delay: f64,
    pub outcome: Outcome,
}

impl World {
    pub(super) fn new(start: &Start, clock: Clock) -> Result<Self, InvalidScript> {
        let mut world = Self {
            clock,
            settings: start.settings.clone(),
            credentials: Credentials::default(),
            counters: Counters::default(),
            sessions: BTreeMap::new(),
            links: start.links.clone(),
            rules: Vec::new(),
            started: Instant::now(),
            ids_by_token: HashMap::new(),
            quota: Quota::default(),
            seed: start.seed,
            schedule: Schedule::default(),
            rule_count: 0,
            request_count: 0,
        };
        start.sessions.iter().try_for_each(|script| world.put_session(script.clone()))?;
        for rule in &start.rules {
            world.add_rule(rule.clone());
        }
        Ok(world)
    }

    pub(super) fn put_session(&mut self, script: SessionScript) -> Result<(), InvalidScript> {
        let script = script.checked()?;
        self.delete_session(&script.id);
        let life = Life::new(script, self.clock.now(), self.schedule.next_number());
        self.ids_by_token.insert(life.start_token.clone(), life.script.id.clone());
        let id = life.script.id.clone();
        self.sessions.insert(id.clone(), life);
        self.plan_callbacks(&id);
        Ok(())
    }

    pub(super) fn delete_session(&mut self, id: &str) -> bool {
        let Some(life) = self.sessions.remove(id) else { return false };
        // Another session may have the same token by now.
        if self.ids_by_token.get(&life.start_token).is_some_and(|known| known == id) {
            self.ids_by_token.remove(&life.start_token);
        }
        true
    }

    pub(super) fn add_rule(&mut self, rule: Rule) -> u64 {
        self.rule_count += 1;
        // Each rule has its own seed. With the same seed, all rules would draw the same numbers.
        let seed = self.seed.wrapping_add(self.rule_count);
        self.rules.push(ActiveRule::new(self.rule_count, rule, seed));
        self.rule_count
    }

    /// Counts a REST request and decides how it is answered.
    pub(super) fn plan(&mut self, request: Request) -> Plan {
        let name = request.token.as_deref().map(|token| self.credentials.name(token));
        let (route, session_id) = match &request.call {
            Call::Session(id) => (Some(Route::Sessions), Some(id.as_str())),
            Call::SessionList(_) => (Some(Route::SessionList), None),
            Call::SystemLinks(_) => (Some(Route::SystemLinks), None),
            Call::WrongMethod | Call::NoSuchRoute => (None, None),
        };
        let scope = match self.settings.rate_limit_scope {
            RateLimitScope::Api => "",
            RateLimitScope::Credential => name.as_deref().unwrap_or_default(),
        };
        let (mut fault, mut delay) = (Fault::Right, 0.0);
        let right = if self.quota.admits(scope, self.settings.rate_limit) {
            if let Some(route) = route {
                (fault, delay) = self.fault(route, session_id, name.as_deref());
            }
            if route == Some(Route::SessionList) {
                delay += self.settings.list.delay;
            }
            let right = self.right_answer(&request, name.as_deref(), &fault);
            Answer { encoding: right.encoding.filter(|_| request.accepts_gzip), ..right }
        } else {
            self.over_quota()
        };
        let status = right.status;
        let outcome = self.play(fault, right);
        let seen = Seen {
            at: self.started.elapsed().as_secs_f64(),
            status: if let Outcome::Answer(answer) = &outcome { answer.status } else { status },
            method: request.method,
            target: request.target,
            headers: request.headers,
            credential: name,
        };
        self.counters.list_requests += u64::from(route == Some(Route::SessionList));
        self.counters.count(seen, session_id);
        Plan { delay, outcome }
    }

    /// Counts a request to the token endpoint and decides how it is answered.
    pub(super) fn plan_token(
        &mut self,
        form: &HashMap<String, String>,
        client: Option<(String, String)>,
    ) -> Plan {
        self.counters.token_requests += 1;
        let name = client.as_ref().map(|(id, _)| id.clone());
        let (fault, delay) = self.fault(Route::Token, None, name.as_deref());
        let right = self.credentials.issue(form, client, &self.settings);
        Plan { delay, outcome: self.play(fault, right) }
    }

    /// The answer of the page where a person signs in.
    pub(super) fn sign_in(
        &mut self,
        query: &HashMap<String, String>,
        decision: Option<&str>,
    ) -> Answer {
        self.credentials.sign_in(query, decision, &self.settings)
    }

    /// The fault of the first rule that applies, and the delay in seconds.
    fn fault(
        &mut self,
        route: Route,
        session_id: Option<&str>,
        credential: Option<&str>,
    ) -> (Fault, f64) {
        let rule = self
            .rules
            .iter_mut()
            .find_map(|rule| rule.applies(route, session_id, credential).then_some(&rule.rule));
        self.counters.faults += u64::from(rule.is_some());
        rule.map(|rule| (rule.fault.clone(), rule.delay)).unwrap_or_default()
    }

    fn play(&mut self, fault: Fault, right: Answer) -> Outcome {
        self.request_count += 1;
        let (number, now) = (self.request_count, self.clock.now());
        match play(fault, right.with_id_and_date(number, now), now) {
            Outcome::Answer(answer) => Outcome::Answer(answer.with_id_and_date(number, now)),
            outcome @ (Outcome::Hang | Outcome::Socket { .. }) => outcome,
        }
    }

    fn over_quota(&self) -> Answer {
        let message = "Rate limit quota";
        let mut answer = self.error(429, "RateLimitQuota", message);
        answer.reason = Some(message.into());
        match self.settings.rate_limit_retry_after {
            RetryAfterForm::None => answer,
            RetryAfterForm::Seconds => answer.header("retry-after", "1"),
            RetryAfterForm::Date => {
                answer.header("retry-after", http_date(later(self.clock.now(), 1)))
            }
        }
    }

    /// The right answer. A fault can ask for the answer at another time, in another shape, or for
    /// another session.
    fn right_answer(&mut self, request: &Request, name: Option<&str>, fault: &Fault) -> Answer {
        let refusal = self.refusal(request.token.as_deref());
        let name = name.unwrap_or_default();
        match &request.call {
            Call::NoSuchRoute => {
                let message = "The requested resource does not exist";
                Answer::error(404, ErrorBody::Route, "NOT_FOUND", message)
            }
            Call::WrongMethod => self
                .error(405, "MethodNotAllowed", "The method is not allowed")
                .header("allow", "GET, HEAD"),
            Call::Session(id) => refusal.unwrap_or_else(|| self.session(id, name, fault)),
            Call::SessionList(query) => {
                refusal.unwrap_or_else(|| self.session_list(query, name, fault))
            }
            Call::SystemLinks(domain) => {
                refusal.unwrap_or_else(|| self.system_links(domain.as_deref(), name, fault))
            }
        }
    }

    /// The answer to a token that is not accepted.
    fn refusal(&self, token: Option<&str>) -> Option<Answer> {
        let only_issued = self.settings.only_issued_tokens;
        let standing =
            token.map_or(Standing::Refused, |token| self.credentials.standing(token, only_issued));
        let (code, message) = ("InvalidToken", "Invalid token passed");
        match (standing, self.settings.refusal) {
            (Standing::Accepted, _) => None,
            (Standing::NoSeat, _) => {
                Some(self.error(401, "NoSeat", "The user has no Remote Support seat"))
            }
            (Standing::Refused, Refusal::InvalidToken) => Some(
                Answer::error(403, ErrorBody::Gateway, code, message)
                    .header("x-amzn-errortype", "UnauthorizedException"),
            ),
            (Standing::Refused, Refusal::Unauthorized) => Some(
                self.error(401, code, message)
                    .header("www-authenticate", "Bearer error=\"invalid_token\""),
            ),
        }
    }

    fn session(&self, asked: &str, name: &str, fault: &Fault) -> Answer {
        let found = if let Fault::ForeignSession { id } = fault {
            // A cache that mixes up sessions does not check who may see them.
            self.life(id).and_then(|life| self.shown(life, id, fault))
        } else {
            let life = self.life(asked);
            let life = life.filter(|life| may_see(life.script.visible_to.as_ref(), name));
            life.and_then(|life| self.shown(life, asked, fault))
        };
        found.unwrap_or_else(|| self.error(404, "NotFound", "The session does not exist"))
    }

    fn life(&self, asked: &str) -> Option<&Life> {
        let id = self.ids_by_token.get(asked).map_or(asked, String::as_str);
        self.sessions.get(id)
    }

    /// The answer for a session; `None` before its first step, and after its retention.
    fn shown(&self, life: &Life, asked: &str, fault: &Fault) -> Option<Answer> {
        let script = &life.script;
        let at = life.since.elapsed().as_secs_f64();
        let mut moment = script.moment(at)?;
        let is_gone = script.is_gone(at, moment.ended_at, self.settings.retention);
        if is_gone || (asked == script.id && !script.has_id(&moment.status)) {
            return None;
        }
        if let Fault::Stale { seconds } = *fault {
            moment = script.moment((at - seconds).min(at).max(script.begin()))?;
        }
        let shape = fault.shape().or(script.shape).or(self.settings.shape);
        let object = body::session(script, &moment, shape, life.since_time, self.request_count);
        let text = object.text(shape);
        Some(Answer { encoding: shape.encoding(), ..Answer::json(text) })
    }

    fn system_links(&self, domain: Option<&str>, name: &str, fault: &Fault) -> Answer {
        let Some(domain) = domain.filter(|domain| !domain.is_empty()) else {
            return self.error(400, "InvalidRequest", "systemDomain is missing");
        };
        let found = self.links.get(domain).filter(|links| may_see(links.visible_to.as_ref(), name));
        let links = found.map(|links| links.links.as_slice()).unwrap_or_default();
        let shape = fault.shape().or(self.settings.shape);
        Answer { encoding: shape.encoding(), ..Answer::json(body::system_links(links, shape)) }
    }

    pub(super) fn error(&self, status: u16, code: &str, message: &str) -> Answer {
        Answer::error(status, self.settings.error_body, code, message)
    }
}

/// Whether a token, or a principal of issued tokens, may see a session or links.
pub(super) fn may_see(visible_to: Option<&Vec<String>>, name: &str) -> bool {
    visible_to.is_none_or(|names| names.iter().any(|known| known == name))
}
