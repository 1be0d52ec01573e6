"""Widgets that receive plain views and know no data source; they draw only visible content."""
