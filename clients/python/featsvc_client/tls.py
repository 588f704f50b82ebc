"""TLS of a connection: whom it trusts, and what it shows of itself."""

from __future__ import annotations

import grpc

from featsvc.certificates import CallerFiles


class Tls(CallerFiles):
    """Files in PEM form. `Tls()` trusts the authorities that everybody does, and shows nothing."""

    def credentials(self) -> grpc.ChannelCredentials:
        """For gRPC. Raises OSError where a file cannot be read."""
        return grpc.ssl_channel_credentials(*self.contents())
