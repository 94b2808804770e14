"""One question for many rows."""
