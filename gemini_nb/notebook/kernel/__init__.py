"""What depends on how a kernel works inside: its cells, its front end, its outputs and its event loop."""
