"""What of a notebook goes along with a prompt: the cells above, and the one that failed, without secrets."""
