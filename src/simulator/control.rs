//! The handle with which a test changes a running simulator and reads its counters.

use std::sync::Arc;

use parking_lot::{Mutex, MutexGuard};
use tokio::sync::{Notify, watch};

use super::{
    counters::Counters,
    credentials::Standing,
    life::{InvalidScript, SessionScript},
    rule::Rule,
    world::{LinksScript, Start, World},
};
use crate::{clock::Clock, config::simulate::Settings};

/// Changes a running simulator from within the process. The control API does the same over HTTP.
/// Clones are handles of the same simulator.
#[derive(Clone, Debug)]
pub struct Control(Arc<Inner>);

#[derive(Debug)]
struct Inner {
    world: Mutex<World>,
    /// Notified after each change of the counters, when the world is no longer locked.
    counted: watch::Sender<()>,
    /// Notified when the planned callbacks have changed.
    replanned: Notify,
    start: Start,
}

impl Control {
    pub(super) fn new(start: Start, clock: Clock) -> Result<Self, InvalidScript> {
        let world = Mutex::new(World::new(&start, clock)?);
        let counted = watch::Sender::new(());
        Ok(Self(Arc::new(Inner { world, counted, replanned: Notify::new(), start })))
    }

    /// Adds a session, whose life begins now. It replaces an earlier one with the same id.
    pub fn put_session(&self, script: SessionScript) -> Result<(), InvalidScript> {
        self.world().put_session(script)?;
        self.0.replanned.notify_one();
        Ok(())
    }

    /// Removes a session, so that it is 404. Returns whether there was one.
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

    /// Sets the links of a domain.
    pub fn put_links(&self, domain: &str, links: LinksScript) {
        self.world().links.insert(domain.into(), links);
    }

    /// Removes the links of a domain. Returns whether there were any.
    pub fn delete_links(&self, domain: &str) -> bool {
        self.world().links.remove(domain).is_some()
    }

    /// Adds a rule after the present ones, and returns its number.
    pub fn add_fault(&self, rule: impl Into<Rule>) -> u64 {
        self.world().add_rule(rule.into())
    }

    /// The rules, each with its number and how often its fault was played.
    pub fn faults(&self) -> Vec<(u64, Rule, u64)> {
        self.world().rules.iter().map(|rule| (rule.id, rule.rule.clone(), rule.played)).collect()
    }

    /// Removes a rule. Returns whether there was one.
    pub fn delete_fault(&self, number: u64) -> bool {
        let mut world = self.world();
        let before = world.rules.len();
        world.rules.retain(|rule| rule.id != number);
        world.rules.len() < before
    }

    /// Removes all rules.
    pub fn clear_faults(&self) {
        self.world().rules.clear();
    }

    /// The settings.
    pub fn settings(&self) -> Settings {
        self.world().settings.clone()
    }

    /// Changes the settings.
    pub fn change_settings(&self, change: impl FnOnce(&mut Settings)) {
        let mut world = self.world();
        // Callbacks about what has happened so far still go to the old URL.
        world.collect_callbacks();
        let url = world.settings.callbacks.url.clone();
        change(&mut world.settings);
        if world.settings.callbacks.url != url {
            world.replan_callbacks();
        }
        drop(world);
        self.0.replanned.notify_one();
    }

    /// Sets the standing of a token, or of all issued tokens of a principal.
    pub fn set_credential(&self, token: &str, standing: Standing) {
        self.world().credentials.set(token, Some(standing));
    }

    /// Removes the standing that [`Control::set_credential`] set.
    pub fn forget_credential(&self, token: &str) {
        self.world().credentials.set(token, None);
    }

    /// Makes every access token that was issued so far expire now.
    pub fn expire_issued_tokens(&self) {
        self.world().credentials.expire();
    }

    /// The requests so far.
    pub fn counters(&self) -> Counters {
        self.world().counters.clone()
    }

    /// Sets the counters to zero.
    pub fn reset_counters(&self) {
        self.world().counters.reset();
        self.0.counted.send_replace(());
    }

    /// Waits until the counters satisfy `is_met`, without a time limit.
    pub async fn until(&self, is_met: impl Fn(&Counters) -> bool) {
        // This cannot fail: the sender lives as long as `self`.
        let _ = self.0.counted.subscribe().wait_for(|()| is_met(&self.world().counters)).await;
    }

    /// Goes back to the start: sessions, links, faults, settings, tokens and counters. The built-in
    /// and scripted lives begin again.
    pub fn reset(&self) {
        let mut world = self.world();
        // This always succeeds, since the same scripts were valid at the start.
        if let Ok(mut started) = World::new(&self.0.start, world.clock) {
            started.counters.in_flight = world.counters.in_flight;
            *world = started;
        }
        drop(world);
        self.0.counted.send_replace(());
        self.0.replanned.notify_one();
    }

    /// Waits until the planned callbacks have changed.
    pub(super) async fn replanned(&self) {
        self.0.replanned.notified().await;
    }

    /// Changes the counters.
    pub(super) fn count(&self, change: impl FnOnce(&mut Counters)) {
        change(&mut self.world().counters);
        self.0.counted.send_replace(());
    }

    pub(super) fn world(&self) -> MutexGuard<'_, World> {
        self.0.world.lock()
    }

    /// Notifies that a REST request was counted. The guard counts the end of the request when it is
    /// dropped.
    pub(super) fn in_flight(&self) -> InFlight {
        self.0.counted.send_replace(());
        InFlight { control: self.clone(), is_answered: false }
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
        self.control.0.counted.send_replace(());
    }
}
