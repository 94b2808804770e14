"""A chat as a box in the notebook: its messages, and a place to type the next one."""
