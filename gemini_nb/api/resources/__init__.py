"""What the service keeps or knows beside answers: files, caches, models, counts of tokens."""
