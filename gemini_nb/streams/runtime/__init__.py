"""What all streams share: the loop, threads for callbacks, readers, and the waits for an end."""
