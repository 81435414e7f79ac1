//! `WatchSession` under paused time: the rules of the contract, each as a sentence.

mod delay;
mod ledger;
mod random;
mod rules;
mod world;
