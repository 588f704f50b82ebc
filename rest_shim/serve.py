"""python -m rest_shim.serve --clip-port --dino-port --sam2-port --host --grpc-target: all three ports at once"""

import sys

from rest_shim.processes.entry import run

if __name__ == "__main__":
    sys.exit(run())
