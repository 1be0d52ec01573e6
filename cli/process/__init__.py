"""Process-level concerns of long-lived processes: logging, signals, the interpreter."""
