# One image for gateway, workers and REST. Needs the NVIDIA container runtime for GPUs; runs on a CPU without it.
FROM python:3.11-slim

WORKDIR /app
COPY requirements.lock pyproject.toml README.md ./
COPY featsvc featsvc
COPY rest_shim rest_shim
RUN pip install --no-cache-dir -r requirements.lock \
    && SAM2_BUILD_CUDA=0 pip install --no-cache-dir --no-build-isolation --no-deps sam2==1.1.0 \
    && pip install --no-cache-dir --no-build-isolation --no-deps . \
    && useradd --create-home featsvc
USER featsvc

# gRPC, CLIP, DINO, SAM2
EXPOSE 50051 8096 8097 8098

# Listening beyond loopback needs a key: set FEATSVC_API_KEY, or the server refuses to start and says so.
ENV FEATSVC_HOST=0.0.0.0
CMD ["featsvc", "up"]
