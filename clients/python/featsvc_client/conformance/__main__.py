"""`python -m featsvc_client.conformance ADDRESS CASES.json [API_KEY]`: prints a line of JSON about each question."""

from __future__ import annotations

import json
import sys
from pathlib import Path

import grpc

from featsvc_client import channel
from featsvc_client.conformance.asking import Asker
from featsvc_client.conformance.cases import read


def main(address: str, cases: str, api_key: str = channel.DEFAULT_KEY) -> None:
    """Asks all cases of a file."""
    with grpc.insecure_channel(address, channel.OPTIONS) as connected:
        asker = Asker(connected, api_key)
        for case in read(Path(cases)):
            for line in asker.lines(case):
                print(json.dumps(line), flush=True)


if __name__ == "__main__":
    main(*sys.argv[1:])
