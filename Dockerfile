# The service alone: no TensorFlow, no training. Build: docker build --target serve -t ordinal-serve .
# Run:   docker run -p 50051:50051 -v ./digits.onnx:/models/model.onnx:ro ordinal-serve
ARG PYTHON_IMAGE=python:3.11-slim-bookworm

FROM ${PYTHON_IMAGE} AS build
WORKDIR /src
COPY requirements-serve.lock ./
# The lock holds a hash for every file; the venv is copied whole into the image that runs.
RUN python -m venv /opt/ordinal \
 && /opt/ordinal/bin/pip install --no-cache-dir --no-deps --require-hashes -r requirements-serve.lock
COPY pyproject.toml README.md LICENSE ./
COPY serving serving
COPY pipeline/__init__.py pipeline/__init__.py
# This image has no GPU libraries: the CUDA and TensorRT providers would be 285 MB that cannot run.
RUN /opt/ordinal/bin/pip install --no-cache-dir --no-deps . \
 && rm -rf /opt/ordinal/lib/python3*/site-packages/pipeline /opt/ordinal/bin/ordinal-pipeline \
 && rm -f /opt/ordinal/lib/python3*/site-packages/onnxruntime/capi/libonnxruntime_providers_cuda.so \
          /opt/ordinal/lib/python3*/site-packages/onnxruntime/capi/libonnxruntime_providers_tensorrt.so \
 && /opt/ordinal/bin/pip uninstall --yes --quiet pip setuptools

FROM ${PYTHON_IMAGE} AS serve
LABEL org.opencontainers.image.title="ordinal-serve" \
      org.opencontainers.image.description="Class probabilities, expected ordinal value and least-cost decision over gRPC" \
      org.opencontainers.image.licenses="Apache-2.0"
COPY --from=build /opt/ordinal /opt/ordinal
ENV PATH=/opt/ordinal/bin:$PATH \
    PYTHONUNBUFFERED=1 \
    PYTHONDONTWRITEBYTECODE=1 \
    ORDINAL_HOST=0.0.0.0 \
    ORDINAL_DEVICE=cpu \
    ORDINAL_CACHE=/tmp/ordinal \
    DO_NOT_TRACK=true \
    MLFLOW_DISABLE_TELEMETRY=true
USER 65532:65532
WORKDIR /tmp
EXPOSE 50051
STOPSIGNAL SIGTERM
HEALTHCHECK --interval=10s --timeout=5s --start-period=30s --retries=3 \
  CMD ["ordinal-serving", "health"]
ENTRYPOINT ["ordinal-serving"]
CMD ["serve", "/models/model.onnx"]
