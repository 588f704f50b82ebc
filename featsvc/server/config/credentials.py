"""TLS of the gRPC port, with the certificate of the moment for each new connection."""

from __future__ import annotations

from typing import Any

import grpc

from featsvc.certificates import Identity, ServerCertificate


def server_credentials(certificate: ServerCertificate) -> grpc.ServerCredentials:
    """Asks before each connection whether the certificate has changed; connections that are open stay."""
    known = certificate.now()

    def changed() -> Any:  # Any: grpc is untyped
        """The new certificate, or None where gRPC has it already; gRPC asks one at a time, from threads of its own."""
        nonlocal known
        identity = certificate.now()
        if identity is known:
            return None
        known = identity
        return _configuration(identity)

    return grpc.dynamic_ssl_server_credentials(
        _configuration(known), changed, require_client_authentication=bool(known.authorities)
    )


def _configuration(identity: Identity) -> Any:
    return grpc.ssl_server_certificate_configuration(
        [(identity.key, identity.chain)], identity.authorities or None
    )
