//! The status page. The server renders it, so it needs no script. It refreshes itself.

use std::time::Duration;

use maud::{DOCTYPE, Markup, PreEscaped, html};

use super::{
    failures::Failure,
    history::{BARS, Rate},
    snapshot::{Fleet, Poll, Snapshot},
};

/// The greatest number of polls in the list. The page only counts the others.
const LISTED: usize = 50;

pub(super) fn render(snapshot: &Snapshot, rates: &[Rate]) -> Markup {
    let (state, mood) = if snapshot.is_ready { ("ready", "good") } else { ("not ready", "bad") };
    html! {
        (DOCTYPE)
        html lang="en" {
            head {
                meta charset="utf-8";
                meta name="viewport" content="width=device-width, initial-scale=1";
                meta name="color-scheme" content="light dark";
                meta http-equiv="refresh" content="5";
                title { "gotoassist-grpc: " (state) }
                style { (PreEscaped(STYLE)) }
            }
            body {
                header {
                    h1 { "gotoassist-grpc" }
                    p { span.mood.(mood) { (state) } " · version " (snapshot.version)
                        " · up " (span(snapshot.uptime)) }
                }
                main {
                    (figures(snapshot))
                    (vendor(snapshot, rates))
                    @if let Some(fleet) = &snapshot.fleet { (replicas(fleet)) }
                    (polls(&snapshot.polls, snapshot.listed_polls))
                    (failures(&snapshot.failures))
                }
                footer { a href="/status.json" { "status.json" } " · "
                    a href="/metrics" { "metrics" } " · " a href="/readyz" { "readyz" }
                    " · " a href="/livez" { "livez" } }
            }
        }
    }
}

fn figures(snapshot: &Snapshot) -> Markup {
    let latest = snapshot.polls.iter().map(|poll| poll.age).min();
    html! {
        section.figures {
            (figure(snapshot.watchers, "watchers"))
            (figure(snapshot.polls.len(), "polls"))
            (figure(ago(latest), "last poll"))
            (figure(snapshot.connections, "connections"))
        }
    }
}

fn figure(value: impl maud::Render, name: &str) -> Markup {
    html! { div { strong { (value) } span { (name) } } }
}

fn vendor(snapshot: &Snapshot, rates: &[Rate]) -> Markup {
    let (upstream, callbacks) = (&snapshot.upstream, &snapshot.callbacks);
    let (state, mood) =
        if upstream.is_serving { ("answers", "good") } else { ("does not answer", "bad") };
    html! {
        section {
            h2 { "GoToAssist " span.mood.(mood) { (state) } }
            p { (rate(rates.last().copied().unwrap_or_default().requests)) " of "
                (rate(upstream.requests_per_second)) " requests a second in use, "
                (upstream.waiting) " waiting; last answer " (ago(upstream.last_answer_age)) "." }
            @if snapshot.is_ready && !upstream.is_serving {
                p { "This replica stays ready, because another one would not reach GoToAssist "
                    "either. Watches go on and become stale. Calls fail until GoToAssist answers." }
            }
            @if let Some(callbacks) = callbacks {
                p { "Callbacks are on: " (callbacks.received) " since the start, the latest "
                    (ago(callbacks.latest_age)) "." }
            }
            (chart(rates, upstream.requests_per_second))
            p.note { "Requests a second in the last " (BARS / 6) " minutes; failed ones in red, "
                "the line is the limit. " (upstream.requests) " requests since the start, "
                (upstream.failed_requests) " failed." }
        }
    }
}

fn replicas(fleet: &Fleet) -> Markup {
    let (state, mood) =
        if fleet.is_joined { ("shares the quota", "good") } else { ("DEGRADED", "bad") };
    html! {
        section {
            h2 { "Fleet " span.mood.(mood) { (state) } }
            @if fleet.is_joined {
                p { (fleet.replicas) " replicas share the quota, " (fleet.silent) " of them silent." }
            } @else if fleet.share > 0.0 {
                p { "Redis does not answer in time. This replica goes on alone with "
                    (rate(fleet.share)) " requests a second, its share among "
                    (fleet.replicas) " replicas." }
            } @else {
                p { "Redis does not answer in time. This replica has no share of the quota, and "
                    "sends no requests until Redis answers." }
            }
        }
    }
}

/// Draws the bars from the right. The chart is as high as the limit or the highest bar.
fn chart(rates: &[Rate], limit: f64) -> Markup {
    const WIDTH: f64 = 10.0;
    const HEIGHT: f64 = 100.0;
    let top = rates.iter().map(|rate| rate.requests).fold(limit, f64::max).max(1.0) * 1.1;
    let height = |rate: f64| rate / top * HEIGHT;
    let missing = BARS.saturating_sub(rates.len());
    let bar = |class, left: f64, rate: f64| {
        html! {
            rect class=(class) x=(left) y=(short(HEIGHT - height(rate))) width="8"
                height=(short(height(rate))) {}
        }
    };
    html! {
        svg viewBox="0 0 600 100" preserveAspectRatio="none" role="img"
            aria-label="Requests to GoToAssist a second, over the last minutes" {
            @for (index, rate) in (missing..BARS).zip(rates) {
                @let left = WIDTH * f64::from(u32::try_from(index).unwrap_or_default());
                (bar("sent", left, rate.requests))
                (bar("failed", left, rate.failed))
            }
            line.limit x1="0" x2="600" y1=(short(HEIGHT - height(limit)))
                y2=(short(HEIGHT - height(limit))) {}
        }
    }
}

fn polls(polls: &[Poll], listed: usize) -> Markup {
    let mut by_status: Vec<(&str, usize)> = Vec::new();
    for poll in polls {
        match by_status.iter_mut().find(|(status, _)| *status == poll.status) {
            Some((_, count)) => *count += 1,
            None => by_status.push((poll.status, 1)),
        }
    }
    let stale = polls.iter().filter(|poll| poll.is_stale).count();
    html! {
        section {
            h2 { "Watched sessions" }
            @if polls.is_empty() {
                p { "None." }
            } @else {
                p { @for (status, count) in by_status { span.chip { (status) " " b { (count) } } }
                    @if stale > 0 { span.chip.bad { "stale " b { (stale) } } } }
                @if listed > 0 { p.note { "GoToAssist's list of sessions shows " (listed)
                    " of them. A change that the list shows is polled for at once." } }
                table {
                    thead { tr { th { "session" } th { "status" } th { "watchers" }
                        th { "last poll" } } }
                    tbody { @for poll in polls.iter().take(LISTED) {
                        tr { td { code { (poll.session_digest) } }
                            td { (poll.status) @if poll.is_stale { " " span.bad { "stale" } } }
                            td { (poll.watchers) } td { (ago(Some(poll.age))) } }
                    } }
                }
                @if polls.len() > LISTED { p.note { "and " (polls.len() - LISTED) " more" } }
            }
        }
    }
}

fn failures(failures: &[Failure]) -> Markup {
    html! {
        section {
            h2 { "Failed calls" }
            @if failures.is_empty() {
                p { "None since the start." }
            } @else {
                table {
                    thead { tr { th { "reason" } th { "code" } th { "count" } th { "last" } } }
                    tbody { @for failure in failures {
                        tr { td { code { (failure.reason) } @if let Some(cause) = &failure.cause { " " code { (cause) } } }
                            td { code { (failure.code) } }
                            td { (failure.count) } td { (ago(Some(failure.age))) } }
                    } }
                }
            }
        }
    }
}

fn ago(age: Option<Duration>) -> String {
    age.map_or_else(|| "never".to_owned(), |age| format!("{} ago", span(age)))
}

/// A duration in its one or two largest units.
fn span(duration: Duration) -> String {
    let seconds = duration.as_secs();
    match (seconds / 86400, seconds / 3600 % 24, seconds / 60 % 60, seconds % 60) {
        (0, 0, 0, seconds) => format!("{seconds} s"),
        (0, 0, minutes, seconds) => format!("{minutes} min {seconds} s"),
        (0, hours, minutes, _) => format!("{hours} h {minutes} min"),
        (days, hours, _, _) => format!("{days} d {hours} h"),
    }
}

fn rate(rate: f64) -> String {
    format!("{rate:.1}")
}

fn short(length: f64) -> String {
    format!("{length:.2}")
}

const STYLE: &str = "
:root { color-scheme: light dark; --ink: #1c2024; --paper: #fbfbfc; --card: #fff; --edge: #d9dce0;
  --dim: #5c646d; --good: #17713a; --bad: #b3261e; --bar: #3b6fd4 }
@media (prefers-color-scheme: dark) { :root { --ink: #e8eaed; --paper: #131518; --card: #1c1f24;
  --edge: #363b42; --dim: #a2abb5; --good: #6fd394; --bad: #ff8a80; --bar: #7da7f5 } }
* { box-sizing: border-box }
body { margin: 0 auto; max-width: 60rem; padding: 1rem; background: var(--paper);
  color: var(--ink); font: 1rem/1.5 system-ui, sans-serif }
h1 { margin: 0; font-size: 1.4rem } h2 { margin: 0 0 .5rem; font-size: 1.1rem }
p { margin: .25rem 0 } .note, footer, th { color: var(--dim); font-size: .85rem }
section { margin: 1rem 0; padding: 1rem; border: 1px solid var(--edge); border-radius: .5rem;
  background: var(--card); overflow-x: auto }
.figures { display: grid; gap: 1rem; grid-template-columns: repeat(auto-fit, minmax(8rem, 1fr)) }
.figures strong { display: block; font-size: 1.4rem; font-variant-numeric: tabular-nums }
.figures span { color: var(--dim) } .mood { font-weight: 600 }
.good { color: var(--good) } .bad { color: var(--bad) }
.chip { display: inline-block; margin: 0 .5rem .25rem 0; padding: 0 .6rem;
  border: 1px solid var(--edge); border-radius: 1rem }
table { width: 100%; border-collapse: collapse; font-variant-numeric: tabular-nums }
th, td { padding: .3rem .75rem .3rem 0; text-align: left; border-bottom: 1px solid var(--edge) }
svg { display: block; width: 100%; height: 6rem; margin: .5rem 0 }
.sent { fill: var(--bar) } .failed { fill: var(--bad) }
td code { overflow-wrap: anywhere }
@media (max-width: 30rem) { section { padding: .75rem } th, td { padding-right: .4rem } }
.limit { stroke: var(--dim); stroke-dasharray: 6 6; vector-effect: non-scaling-stroke }
a { color: inherit }
";

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn durations_read_in_their_largest_units() {
        for (seconds, text) in [
            (0, "0 s"),
            (59, "59 s"),
            (61, "1 min 1 s"),
            (7_260, "2 h 1 min"),
            (200_000, "2 d 7 h"),
        ] {
            assert_eq!(span(Duration::from_secs(seconds)), text);
        }
    }

    #[test]
    fn a_bar_is_never_higher_than_the_chart() {
        let rates = [Rate { requests: 1000.0, failed: 10.0 }; 3];
        let chart = chart(&rates, 8.0).into_string();
        assert_eq!(chart.matches("class=\"sent\"").count(), 3);
        assert!(!chart.contains("\"-"), "{chart}");
    }
}
