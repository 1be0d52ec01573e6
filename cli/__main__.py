"""`python -m cli`: starts Longshore processes independently of PATH."""

from cli.main import main

main()
