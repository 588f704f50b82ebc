"""Names of the metadata in which the REST shim tells the gateway of its own caller."""

JSON = "featsvc-json"
"""Most bytes of arrays in the JSON that a reply ends as, and whether masks become float32 in it."""
ADDRESS = "featsvc-address"
"""Where its caller is, so that a wrong key is laid to its own sender."""
CERTIFICATE = "featsvc-certificate"
"""Names in the certificate that its caller has shown, quoted as in URLs, with commas between."""
