"""Python functions as Gemini tools: declaration, validation, execution."""
