//! The process's limit on file descriptors. It is raised as far as the system allows. Callers'
//! connections may use only a part of the descriptors, so that some are left for connections to the
//! vendor.

use std::time::Duration;

use rlimit::Resource;

use crate::{
    admin::port,
    callback,
    config::{ServeConfig, UpstreamConfig},
};

/// The descriptors that the process itself needs: standard streams, listeners, signals, runtimes,
/// and files that are read from time to time.
const OWN: usize = 40;

/// Returns how many connections of callers may be open at once. This is `--max-connections`, or
/// fewer if the limit on file descriptors is too low. Raises the soft limit to the hard limit.
pub(super) fn max_connections(config: &ServeConfig) -> usize {
    let wanted = config.limits.max_connections;
    let limit = rlimit::increase_nofile_limit(u64::MAX).or_else(|_| Resource::NOFILE.get_soft());
    // If the system reports no limit, assume that there is none.
    let Ok(limit) = limit else { return wanted };
    let for_callbacks = config.callback.endpoint().map_or(0, |_| callback::MAX_CONNECTIONS);
    let reserve = OWN + port::MAX_CONNECTIONS + for_callbacks + for_vendor(&config.upstream);
    wanted.min(left(usize::try_from(limit).unwrap_or(usize::MAX), reserve))
}

/// Returns the number of connections to the vendor in the worst case: every request takes until its
/// timeout and needs its own connection.
fn for_vendor(config: &UpstreamConfig) -> usize {
    let in_flight = Duration::try_from_secs_f64(config.rps * config.timeout.as_secs_f64());
    let in_flight = in_flight.map_or(u64::MAX, |requests| requests.as_secs());
    let requests = in_flight.saturating_add(config.burst.into());
    usize::try_from(requests).unwrap_or(usize::MAX)
}

/// Returns the limit minus the reserve. If the limit is too low for the reserve, callers get a
/// quarter of the limit.
fn left(limit: usize, reserve: usize) -> usize {
    limit.saturating_sub(reserve).max(limit / 4)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn callers_get_what_the_reserve_leaves_and_at_least_a_quarter() {
        assert_eq!(left(1_024, 200), 824);
        assert_eq!(left(220, 200), 55);
        assert_eq!(left(100, 200), 25);
        assert_eq!(left(usize::MAX, 200), usize::MAX - 200);
    }
}
