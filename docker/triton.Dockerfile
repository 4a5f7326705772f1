# Triton for bundles that run on CPUs: NVIDIA's server, with the library that runs the engine. Build it anywhere:
#   docker build -f docker/triton.Dockerfile -t registry.example/opswright-triton:1 docker
# It was linted (hadolint), never built: no container runtime was at hand where it was written. The container has
# Python 3.12, for which both libraries have wheels; for the 3.10 of 24.10 they have none.
FROM nvcr.io/nvidia/tritonserver:26.07-py3
ENV PIP_BREAK_SYSTEM_PACKAGES=1
RUN pip install --no-cache-dir --only-binary=:all: onnxruntime-genai==0.18.0 onnxruntime==1.31.1 numpy==1.26.4
USER 1000:1000
WORKDIR /tmp
EXPOSE 8000 8002
