"""Connects verbs to a coordinator: a remote one, the owner of a state directory, or an embedded one."""
