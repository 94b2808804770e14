"""The dashboard: all streams of the kernel, as rows."""
