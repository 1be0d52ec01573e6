"""Internals of the log viewer: a sparse document of pages, its colours and sections, and its data source."""
