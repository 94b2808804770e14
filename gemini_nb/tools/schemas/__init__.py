"""From a Python function to the declaration that Gemini reads."""
