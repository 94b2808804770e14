"""The answers that the simulator makes up: what is asked for, which tools are called, what is written."""
