"""What a long-lived process needs: logging, signals, the interpreter."""
