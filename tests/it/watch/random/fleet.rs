//! A fleet in a random world, and what happens to it.

use std::{
    future::pending,
    sync::{Arc, Mutex},
    time::Duration,
};

use fastrand::Rng;
use gotoassist_grpc::{clock::Clock, fleet::polls::SharedPolls};
use tokio::time::{Instant, sleep};

use super::CALM_AFTER;
use crate::fleet::poll_store::{Data, Network, Server};

/// The Redis of a fleet, and the networks of its replicas.
#[derive(Clone)]
pub struct Fleet {
    store: Server,
    networks: Vec<Network>,
    rng: Arc<Mutex<Rng>>,
}

impl Fleet {
    pub fn new(mut rng: Rng) -> Self {
        let networks: Vec<Network> = (0..rng.usize(2..=5)).map(|_| Network::default()).collect();
        for network in &networks {
            network.change(|way| way.delay = Duration::from_micros(rng.u64(100..20_000)));
        }
        // The clock of Redis and those of the replicas differ by years.
        let store = Server::new(Duration::from_hours(500_000));
        Self { store, networks, rng: Arc::new(Mutex::new(rng)) }
    }

    /// The number of replicas.
    pub fn size(&self) -> usize {
        self.networks.len()
    }

    pub fn polls(&self, place: usize, clock: Clock) -> SharedPolls {
        self.store.polls_with_key("key", &self.networks[place], clock)
    }

    /// Disturbs the fleet again and again for this time.
    pub async fn disturb(&self, time: Duration) {
        let start = Instant::now();
        let mut kept = Data::default();
        while start.elapsed() < time {
            let mut rng = self.rng.lock().unwrap().fork();
            sleep(Duration::from_millis(rng.u64(100..60_000))).await;
            let network = rng.choice(&self.networks).unwrap();
            let duration = Duration::from_millis(rng.u64(50..40_000));
            match rng.u8(0..8) {
                0 | 1 => {
                    network.change(|way| way.is_cut = true);
                    sleep(duration).await;
                    network.change(|way| way.is_cut = false);
                }
                2 => network.change(|way| way.loss = rng.f64()),
                3 => network.change(|way| way.delay = duration / 60),
                4 => self.store.pause(duration / 4),
                5 => {
                    self.store.set_down(true);
                    sleep(duration).await;
                    self.store.set_down(false);
                }
                6 => {
                    // With all data, with those of a while ago, or with none. The clock may jump.
                    let data = [self.store.data(), kept.clone(), Data::default()];
                    let jump = rng.i64(-300_000_000..300_000_000) * i64::from(rng.bool());
                    self.store.restart(rng.choice(data).unwrap(), jump);
                }
                _ => {
                    kept = self.store.data();
                    if rng.bool() {
                        self.store.change_data(|data| *data = Data::default());
                    }
                }
            }
        }
        for network in &self.networks {
            network.change(|way| (way.is_cut, way.loss) = (false, 0.0));
        }
    }
}

/// Disturbs the fleet, if there is one, until the calm. Never returns.
pub async fn disturb(fleet: Option<Fleet>) {
    if let Some(fleet) = fleet {
        fleet.disturb(CALM_AFTER).await;
    }
    pending::<()>().await;
}
