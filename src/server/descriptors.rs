//! The process's limit on file descriptors: raised as far as the system allows, and shared between the
//! connections of callers and everything else, so that callers never take those of the vendor's
//! connections.

use std::time::Duration;

use rlimit::Resource;

use crate::{
    admin::port,
    config::{ServeConfig, UpstreamConfig},
};

/// What the process itself needs: standard streams, listeners, signals, runtimes, files that are read
/// now and then.
const OWN: usize = 40;

/// How many connections of callers may be open at once: `--max-connections`, or fewer if the limit on
/// file descriptors leaves no room for so many. Raises that limit to the hard one.
pub(super) fn max_connections(config: &ServeConfig) -> usize {
    let wanted = config.limits.max_connections;
    let limit = rlimit::increase_nofile_limit(u64::MAX).or_else(|_| Resource::NOFILE.get_soft());
    // A system that tells no limit has none that we know of.
    let Ok(limit) = limit else { return wanted };
    let reserve = OWN + port::MAX_CONNECTIONS + for_vendor(&config.upstream);
    wanted.min(left(usize::try_from(limit).unwrap_or(usize::MAX), reserve))
}

/// Connections to the vendor if it is as slow as it may be and shares none of them.
fn for_vendor(config: &UpstreamConfig) -> usize {
    let in_flight = Duration::try_from_secs_f64(config.rps * config.timeout.as_secs_f64());
    let in_flight = in_flight.map_or(u64::MAX, |requests| requests.as_secs());
    let requests = in_flight.saturating_add(config.burst.into());
    usize::try_from(requests).unwrap_or(usize::MAX)
}

/// What the reserve leaves. If the limit is so low that next to nothing is left, both sides are short:
/// callers get a quarter of it.
fn left(limit: usize, reserve: usize) -> usize {
    limit.saturating_sub(reserve).max(limit / 4)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_reserve_is_kept_from_callers_unless_nothing_would_be_left_for_them() {
        assert_eq!(left(1_024, 200), 824);
        assert_eq!(left(220, 200), 55);
        assert_eq!(left(100, 200), 25);
        assert_eq!(left(usize::MAX, 200), usize::MAX - 200);
    }
}
