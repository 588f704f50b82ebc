"""`featsvc-client`, and `python -m featsvc_client.bulk`."""

from __future__ import annotations

import sys

from featsvc_client.bulk.extra import missing


def main() -> int:
    """Runs the command, or says which library it lacks."""
    try:
        from featsvc_client.bulk import cli
    except ModuleNotFoundError as error:
        print(f"featsvc-client: {missing(str(error.name), 'its commands')}", file=sys.stderr)
        return 2
    return cli.main()


if __name__ == "__main__":
    sys.exit(main())
