"""The blocks that a reader sees one beneath the other, and how the contents of each are put into words."""
