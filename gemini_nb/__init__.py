"""Stream Gemini answers and tool calls into live notebook panes while the kernel stays free."""
