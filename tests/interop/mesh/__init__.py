"""The service behind a real Envoy: several replicas, many watchers, and what goes wrong."""
