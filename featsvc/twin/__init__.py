"""Each protobuf message of a request has a twin, a frozen pydantic class with the same fields; this converts them."""

from featsvc.twin.messages import from_message, to_message
from featsvc.twin.violations import in_holders, violations

__all__ = ["from_message", "in_holders", "to_message", "violations"]
