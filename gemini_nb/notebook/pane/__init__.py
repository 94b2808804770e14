"""The live pane beneath a cell, as widgets, and the painter of everything that is painted."""
