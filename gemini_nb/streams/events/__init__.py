"""What a stream says: states, calls, events, the log, and the record that writes them."""
