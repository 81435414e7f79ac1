//! The handle by which a test changes the simulated vendor while it runs, and asks what it saw.

pub(super) mod http;

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use tokio::sync::Notify;

use super::{
    counters::Counters,
    credentials::Standing,
    life::{InvalidScript, SessionScript},
    rule::Rule,
    settings::Settings,
    world::{LinksScript, World},
};
use crate::clock::Clock;

/// Changes a running simulator from within the process; the control API does the same over HTTP.
/// Clones are handles of the same simulator.
#[derive(Clone, Debug)]
pub struct Control(Arc<Inner>);

#[derive(Debug)]
struct Inner {
    world: Mutex<World>,
    /// Told of every request that comes or ends.
    counted: Notify,
    begin: Begin,
}

/// What [`Control::reset`] goes back to.
#[derive(Debug)]
pub(super) struct Begin {
    pub settings: Settings,
    pub sessions: Vec<SessionScript>,
    pub links: Vec<(&'static str, LinksScript)>,
    pub rules: Vec<Rule>,
    pub seed: u64,
}

impl Control {
    pub(super) fn new(begin: Begin, clock: Clock) -> Result<Self, InvalidScript> {
        let world = begin.world(clock)?;
        Ok(Self(Arc::new(Inner { world: Mutex::new(world), counted: Notify::new(), begin })))
    }

    /// Puts a session, whose life begins now, in the place of an earlier one with the same id.
    pub fn put_session(&self, script: SessionScript) -> Result<(), InvalidScript> {
        self.world().put_session(script)
    }

    /// Takes a session away: it is 404 from now on. `false` if there was none.
    pub fn delete_session(&self, id: &str) -> bool {
        self.world().delete_session(id)
    }

    /// The script of a session.
    pub fn session(&self, id: &str) -> Option<SessionScript> {
        self.world().sessions.get(id).map(|life| life.script.clone())
    }

    /// The ids of all sessions with the status of each, `None` before its first step.
    pub fn statuses(&self) -> Vec<(String, Option<String>)> {
        let world = self.world();
        world.sessions.iter().map(|(id, life)| (id.clone(), life.status())).collect()
    }

    /// Puts the links of a domain in the place of earlier ones.
    pub fn put_links(&self, domain: &str, links: LinksScript) {
        self.world().links.insert(domain.into(), links);
    }

    /// Takes the links of a domain away. `false` if there were none.
    pub fn delete_links(&self, domain: &str) -> bool {
        self.world().links.remove(domain).is_some()
    }

    /// Adds a rule behind those there are, and gives its number.
    pub fn add_fault(&self, rule: impl Into<Rule>) -> u64 {
        self.world().add_rule(rule.into())
    }

    /// The rules with the number of each and how often it has struck.
    pub fn faults(&self) -> Vec<(u64, Rule, u64)> {
        self.world().rules.iter().map(|rule| (rule.id, rule.rule.clone(), rule.struck)).collect()
    }

    /// Takes a rule away. `false` if there was none.
    pub fn delete_fault(&self, number: u64) -> bool {
        let mut world = self.world();
        let before = world.rules.len();
        world.rules.retain(|rule| rule.id != number);
        world.rules.len() < before
    }

    /// Takes all rules away.
    pub fn clear_faults(&self) {
        self.world().rules.clear();
    }

    /// The settings.
    pub fn settings(&self) -> Settings {
        self.world().settings.clone()
    }

    /// Changes the settings.
    pub fn change_settings(&self, change: impl FnOnce(&mut Settings)) {
        change(&mut self.world().settings);
    }

    /// Gives a token, or all issued tokens of a principal, a standing.
    pub fn set_credential(&self, token: &str, standing: Standing) {
        self.world().credentials.set(token, Some(standing));
    }

    /// Takes that standing away again.
    pub fn forget_credential(&self, token: &str) {
        self.world().credentials.set(token, None);
    }

    /// Lets every access token that was issued so far expire now.
    pub fn expire_issued_tokens(&self) {
        self.world().credentials.expire();
    }

    /// What was asked so far.
    pub fn counters(&self) -> Counters {
        self.world().counters.clone()
    }

    /// Sets the counters back to zero.
    pub fn reset_counters(&self) {
        self.world().counters.set_back();
        self.0.counted.notify_waiters();
    }

    /// Waits until the counters are as `is_met` wants them. Has no limit of its own.
    pub async fn until(&self, is_met: impl Fn(&Counters) -> bool) {
        loop {
            let counted = self.0.counted.notified();
            tokio::pin!(counted);
            // Listen before looking, so that nothing falls between the two.
            counted.as_mut().enable();
            if is_met(&self.world().counters) {
                return;
            }
            counted.await;
        }
    }

    /// Back to the start: sessions, links, faults, settings, tokens and counters. The built-in and
    /// scripted lives begin anew.
    pub fn reset(&self) {
        let mut world = self.world();
        let in_flight = world.counters.in_flight;
        // What was playable at the start still is.
        if let Ok(begun) = self.0.begin.world(world.clock) {
            *world = begun;
            world.counters.in_flight = in_flight;
        }
        drop(world);
        self.0.counted.notify_waiters();
    }

    pub(super) fn world(&self) -> MutexGuard<'_, World> {
        self.0.world.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Counts a REST request out again when it is dropped.
    pub(super) fn in_flight(&self) -> InFlight {
        self.0.counted.notify_waiters();
        InFlight { control: self.clone(), is_answered: false }
    }
}

impl Begin {
    fn world(&self, clock: Clock) -> Result<World, InvalidScript> {
        let mut world = World::new(clock, self.settings.clone(), self.seed);
        for script in &self.sessions {
            world.put_session(script.clone())?;
        }
        for (domain, links) in &self.links {
            world.links.insert((*domain).into(), links.clone());
        }
        for rule in &self.rules {
            world.add_rule(rule.clone());
        }
        Ok(world)
    }
}

/// A REST request without an answer yet.
pub(super) struct InFlight {
    control: Control,
    is_answered: bool,
}

impl InFlight {
    pub(super) fn answered(mut self) {
        self.is_answered = true;
    }
}

impl Drop for InFlight {
    fn drop(&mut self) {
        let mut world = self.control.world();
        let counters = &mut world.counters;
        counters.in_flight = counters.in_flight.saturating_sub(1);
        counters.cancelled += u64::from(!self.is_answered);
        drop(world);
        self.control.0.counted.notify_waiters();
    }
}
