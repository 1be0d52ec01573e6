"""`python -m cli`: how Longshore's processes start each other, whatever is on the PATH."""

from cli.main import main

main()
