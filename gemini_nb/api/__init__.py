"""The wire: bytes, JSON values, keys and retries. Knows no notebook and no threads."""
