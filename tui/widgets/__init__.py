"""Widgets that are given plain views and know no data source; they draw only what is visible."""
