"""From a cell to its streams: the extension, the magics, their options and prompts."""
