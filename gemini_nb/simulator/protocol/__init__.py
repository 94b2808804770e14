"""What the service takes and refuses: paths, fields, rules, the order of a conversation, and its errors."""
