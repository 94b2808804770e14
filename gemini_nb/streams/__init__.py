"""What runs: states, events, the log, streams, their orchestrator and their manager."""
