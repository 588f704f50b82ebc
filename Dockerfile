# One image for gateway, workers and REST. Needs the NVIDIA container runtime for GPUs; runs on a CPU without it.
# For torch's smaller builds without CUDA give their index: docker build --build-arg PIP_EXTRA_INDEX_URL=… .
FROM python:3.11-slim

# pip reads it.
ARG PIP_EXTRA_INDEX_URL

WORKDIR /app
COPY deploy/requirements.lock requirements.lock
RUN pip install --no-cache-dir -r requirements.lock \
    && SAM2_BUILD_CUDA=0 pip install --no-cache-dir --no-build-isolation --no-deps sam2==1.1.0

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

# gRPC, CLIP, DINO, SAM2
EXPOSE 50051 8096 8097 8098

# Listening beyond loopback needs a key: set FEATSVC_API_KEY, or the server refuses to start and says so.
ENV FEATSVC_HOST=0.0.0.0
HEALTHCHECK --start-period=2m --interval=15s --timeout=10s \
    CMD ["python", "-c", "import urllib.request; urllib.request.urlopen('http://127.0.0.1:8096/readyz')"]
CMD ["featsvc", "up"]
