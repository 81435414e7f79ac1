//! `WatchSession` under paused time: the rules of the contract, each as a sentence.

mod rules;
mod world;
