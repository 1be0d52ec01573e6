"""The log viewer's insides: a sparse document of pages, its colours and sections, and what fills it."""
