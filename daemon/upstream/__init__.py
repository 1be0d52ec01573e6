"""What goes to the coordinator and comes from it."""
