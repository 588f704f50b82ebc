"""python -m rest_shim.serve --page-port --clip-port --dino-port --sam2-port --grpc-target: page and ports at once"""

import sys

from rest_shim.processes.entry import run

if __name__ == "__main__":
    sys.exit(run())
