"""The dashboard's connection to a coordinator, and the model that it feeds."""
