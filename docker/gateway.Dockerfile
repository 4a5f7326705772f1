# The gateway, and the init containers of a release. Build it in a checkout:
#   docker build -f docker/gateway.Dockerfile -t registry.example/opswright-gateway:1 .
# It was linted (hadolint), never built: no container runtime was at hand where it was written.
FROM python:3.11-slim-bookworm AS build
WORKDIR /src
COPY . .
# transformers reads the tokenizers of bundles for TensorRT-LLM, whose prompts the gateway renders
RUN python -m venv /opt/opswright \
 && /opt/opswright/bin/pip install --no-cache-dir -c constraints.txt ".[serve,guard,remote,store]" s3fs transformers \
 && find /opt/opswright -name __pycache__ -prune -exec rm -rf {} +

FROM python:3.11-slim-bookworm
COPY --from=build /opt/opswright /opt/opswright
ENV PATH=/opt/opswright/bin:$PATH PYTHONUNBUFFERED=1 PYTHONDONTWRITEBYTECODE=1
# pods run it as this user, with a root file system that cannot be written to
USER 10001:10001
WORKDIR /tmp
EXPOSE 8700
ENTRYPOINT []
CMD ["python", "-m", "opswright.serving.gateway", "--home=/workspace"]
