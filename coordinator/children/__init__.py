"""Compiles child pipelines in processes of their own, which may crash or hang without harm. Knows no engine."""
