"""What is kept on disk: the answers that were paid for, to read again and not to pay for again."""
