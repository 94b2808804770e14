"""What the user sees: magics, panes and the dashboard."""
