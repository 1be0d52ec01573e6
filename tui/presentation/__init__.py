"""Views as text: formatting, layout, summaries. Pure."""
