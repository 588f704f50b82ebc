"""What gRPC is told of the server."""

from __future__ import annotations

from featsvc.processes import connections_within_files
from featsvc.server.calls.admission import RECEIVED_PART
from featsvc.settings.tree import GatewaySettings

# What a peer may take to agree on HTTP/2, and how a peer that has gone without a word is noticed.
HANDSHAKE_MS = 10_000
DEAD_AFTER_MS, DEAD_ANSWER_MS = 60_000, 20_000
ONLY_IDENTITY = 1
LONGEST = 2**31 - 1
# gRPC counts the connections of each listening socket: localhost has one of IPv6 too, and the REST shim one of its own.
LISTENING = 2


def grpc_options(settings: GatewaySettings) -> tuple[tuple[str, int], ...]:
    """What one connection may cost, and when it ends."""
    return (
        ("grpc.max_receive_message_length", min(RECEIVED_PART * settings.max_request_bytes, LONGEST)),
        ("grpc.max_send_message_length", -1),
        # Two servers on one port would share the calls out between them.
        ("grpc.so_reuseport", 0),
        # Without this a client that opens calls and resets them at once costs gigabytes.
        ("grpc.max_concurrent_streams", settings.max_calls_per_connection),
        # A few kilobytes unpack to gigabytes, before anybody can judge them; pictures are packed already.
        ("grpc.compression_enabled_algorithms_bitset", ONLY_IDENTITY),
        ("grpc.max_allowed_incoming_connections", most_connections(settings)),
        ("grpc.max_connection_idle_ms", round(1000 * settings.connection_idle)),
        ("grpc.server_handshake_timeout_ms", HANDSHAKE_MS),
        ("grpc.keepalive_time_ms", DEAD_AFTER_MS),
        ("grpc.keepalive_timeout_ms", DEAD_ANSWER_MS),
        ("grpc.keepalive_permit_without_calls", 1),
        # Pings are answered, however many: to disconnect their sender costs gRPC kilobytes for each of them, and calls
        # of clients that ping every few seconds would die with their work.
        ("grpc.http2.max_ping_strikes", 0),
    )


def most_connections(settings: GatewaySettings) -> int:
    """How many connections the port may have."""
    return connections_within_files(settings.max_connections, LISTENING)
