"""Conversations over several streams."""
