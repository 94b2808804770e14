"""What a person sees: magics, panes and the dashboard."""
