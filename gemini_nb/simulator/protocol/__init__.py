"""What the service takes and refuses: paths, fields, rules, the order of a conversation, and its errors.

What a function here finds wrong with a request, it raises as a `RefusalError`, which becomes the error body.
"""
