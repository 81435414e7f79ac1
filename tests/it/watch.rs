//! `WatchSession`: its rules under paused time, each as a sentence; random histories; and what only
//! real sockets, processes and numbers can show.

mod crash;
mod drain;
mod ledger;
mod random;
mod rules;
mod soak;
mod stage;
mod wire;
mod world;
