"""`python -m featsvc`: the command line."""

from featsvc.server.cli import main

if __name__ == "__main__":
    raise SystemExit(main())
