"""`python -m understudy`, for `torchrun --module` and the like."""

from understudy.cli import main

main()
