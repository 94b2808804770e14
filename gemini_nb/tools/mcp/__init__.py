"""MCP servers, whose tools a stream uses beside functions."""
