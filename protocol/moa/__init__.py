"""Moa, GitLab's language of expressions in `${{ ... }}`, which are evaluated when a job runs. Pure.

Templates come from pipeline files, values from users: parsing and evaluating are bounded in depth, in the size of the
texts made, and in time.
"""
