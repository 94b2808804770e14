"""One stream at work: what it waits for, its model calls, its rounds of tools."""
