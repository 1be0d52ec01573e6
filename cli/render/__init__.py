"""Views as text and JSON."""
