"""python -m rest_shim.serve --clip-port --dino-port --sam2-port --host --grpc-target: all three ports at once"""

import sys

from rest_shim.endpoints import FAMILIES
from rest_shim.processes import main

if __name__ == "__main__":
    sys.exit(main(None, list(FAMILIES)))
