"""python -m rest_shim.run_page_server --host --port --workers --api-key --log-level [--grpc-target]"""

import sys

from rest_shim.processes.entry import run

if __name__ == "__main__":
    sys.exit(run(["page"]))
