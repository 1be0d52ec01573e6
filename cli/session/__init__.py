"""How a verb reaches a coordinator: a remote one, a state directory's owner, or one of its own."""
