"""`python -m coordinator.cli`: how Longshore's processes start each other, whatever is on the PATH."""

from coordinator.cli.main import main

main()
