"""`python -m understudy`, for `torchrun --module` and the like."""

from understudy.cli import main

if __name__ == "__main__":
    main()
