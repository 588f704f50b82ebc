# One image for gateway, workers and REST. Needs the NVIDIA container runtime for GPUs; runs on a CPU without it.
# For torch's smaller builds without CUDA give their index, and versions without the hashes of others:
#   docker build --build-arg PIP_EXTRA_INDEX_URL=… --build-arg REQUIREMENTS=requirements.lock .
# The digest is that of python:3.11-slim as public Dockerfiles have it. For a newer one: docker buildx imagetools inspect python:3.11-slim
ARG BASE=python:3.11-slim@sha256:9c900dea9e8fb7e16277c179b555cc72d29a352dbc33cff48ad5a0412fd5bfc7
FROM ${BASE}

# pip reads it.
ARG PIP_EXTRA_INDEX_URL
ARG REQUIREMENTS=requirements.hashes
# ray.hashes for an image with Ray, for workers on other machines.
ARG RAY

WORKDIR /app
COPY deploy/requirements.hashes deploy/requirements.lock deploy/sam2.hashes deploy/ray.hashes ./
# pip takes only files that have the hashes, where the lines have some.
RUN pip install --no-cache-dir -r ${REQUIREMENTS} \
    && SAM2_BUILD_CUDA=0 pip install --no-cache-dir --no-build-isolation --no-deps -r sam2.hashes \
    && if [ -n "${RAY}" ]; then pip install --no-cache-dir -r "${RAY}"; fi

COPY pyproject.toml README.md LICENSE ./
COPY featsvc featsvc
COPY rest_shim rest_shim
# The command needs nothing of this folder any more; what it downloads stays in the user's cache, for a volume to keep.
RUN pip install --no-cache-dir --no-build-isolation --no-deps . \
    && rm -rf /app/* \
    && useradd --create-home featsvc \
    && install --directory --owner=featsvc --group=featsvc /home/featsvc/.cache
USER featsvc
WORKDIR /home/featsvc
VOLUME /home/featsvc/.cache

# gRPC, the page, CLIP, DINO, SAM2
EXPOSE 50051 8095 8096 8097 8098

# Listening beyond loopback needs a key: set FEATSVC_API_KEY, or the server refuses to start and says so.
# The port of metrics is for this machine alone, without TLS whatever the others have: the check needs neither key nor certificate.
ENV FEATSVC_HOST=0.0.0.0 FEATSVC_METRICS_PORT=9464
HEALTHCHECK --start-period=2m --interval=15s --timeout=10s \
    CMD ["python", "-c", "import urllib.request; urllib.request.urlopen('http://127.0.0.1:9464/readyz')"]
CMD ["featsvc", "up"]
