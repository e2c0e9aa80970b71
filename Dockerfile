# Four images, each of its own lock:
#   serve, serve-gpu    the service alone: no TensorFlow, no training
#   train, train-gpu    the pipeline, and the servers of MLflow and Prefect
# Build: docker build --target serve -t ordinal-serve .
# Run:   docker run -p 50051:50051 -v ./digits.onnx:/models/model.onnx:ro ordinal-serve
ARG PYTHON_IMAGE=python:3.11-slim-bookworm
ARG VERSION=0.1.0
ARG REVISION=unknown

# What installs; none of it gets into an image that runs.
FROM ${PYTHON_IMAGE} AS tools
WORKDIR /src
RUN python -m venv /opt/ordinal

# The product apart from what it needs, so that a new version is a layer of less than 10 MB.
FROM tools AS product
COPY pyproject.toml README.md LICENSE ./
COPY serving serving
COPY pipeline pipeline
RUN /opt/ordinal/bin/pip install --no-cache-dir --no-deps --prefix /product .

FROM product AS product-serve
RUN rm -rf /product/lib/python3*/site-packages/pipeline /product/bin/ordinal-pipeline

# Each lock holds a hash for every file. A provider of onnxruntime whose libraries are not in the lock could
# not run: TensorRT's nowhere, CUDA's in serve-gpu alone (285 MB, for CUDA 13; TensorFlow's wheels are CUDA 12).
FROM tools AS packages-serve
COPY requirements-serve.lock ./
RUN /opt/ordinal/bin/pip install --no-cache-dir --no-deps --require-hashes -r requirements-serve.lock \
 && rm /opt/ordinal/lib/python3*/site-packages/onnxruntime/capi/libonnxruntime_providers_cuda.so \
       /opt/ordinal/lib/python3*/site-packages/onnxruntime/capi/libonnxruntime_providers_tensorrt.so \
 && /opt/ordinal/bin/pip uninstall --yes --quiet pip setuptools

FROM tools AS packages-serve-gpu
COPY requirements-serve-gpu.lock ./
RUN /opt/ordinal/bin/pip install --no-cache-dir --no-deps --require-hashes -r requirements-serve-gpu.lock \
 && rm /opt/ordinal/lib/python3*/site-packages/onnxruntime/capi/libonnxruntime_providers_tensorrt.so \
 && /opt/ordinal/bin/pip uninstall --yes --quiet pip setuptools

FROM tools AS packages-train
COPY requirements-train.lock ./
RUN /opt/ordinal/bin/pip install --no-cache-dir --no-deps --require-hashes -r requirements-train.lock \
 && rm /opt/ordinal/lib/python3*/site-packages/onnxruntime/capi/libonnxruntime_providers_cuda.so \
       /opt/ordinal/lib/python3*/site-packages/onnxruntime/capi/libonnxruntime_providers_tensorrt.so \
 && /opt/ordinal/bin/pip uninstall --yes --quiet pip

FROM tools AS packages-train-gpu
COPY requirements-train-gpu.lock ./
RUN /opt/ordinal/bin/pip install --no-cache-dir --no-deps --require-hashes -r requirements-train-gpu.lock \
 && rm /opt/ordinal/lib/python3*/site-packages/onnxruntime/capi/libonnxruntime_providers_cuda.so \
       /opt/ordinal/lib/python3*/site-packages/onnxruntime/capi/libonnxruntime_providers_tensorrt.so \
 && /opt/ordinal/bin/pip uninstall --yes --quiet pip

# What images that run have in common. Their user has no entry in /etc/passwd, hence USER and HOME.
FROM ${PYTHON_IMAGE} AS runs
LABEL org.opencontainers.image.licenses="Apache-2.0" \
      org.opencontainers.image.vendor="ordinal"
ENV PATH=/opt/ordinal/bin:$PATH \
    PYTHONUNBUFFERED=1 \
    PYTHONDONTWRITEBYTECODE=1 \
    USER=ordinal \
    DO_NOT_TRACK=true \
    ORT_DISABLE_TELEMETRY=1 \
    MLFLOW_DISABLE_TELEMETRY=true \
    PREFECT_SERVER_ANALYTICS_ENABLED=false \
    RAY_USAGE_STATS_ENABLED=0
STOPSIGNAL SIGTERM

FROM runs AS serves
ENV HOME=/tmp \
    ORDINAL_HOST=0.0.0.0 \
    ORDINAL_CACHE=/tmp/ordinal
USER 65532:65532
WORKDIR /tmp
EXPOSE 50051
HEALTHCHECK --interval=10s --timeout=5s --start-period=30s --retries=3 \
  CMD ["ordinal-serving", "health"]
ENTRYPOINT ["ordinal-serving"]
CMD ["serve", "/models/model.onnx"]

# What a run has reached, Prefect's home and locks are in /work, the folder of its user; caches are not worth keeping.
# Prefect's server writes its page before it serves it, by default among the packages.
FROM runs AS trains
RUN install -d -o 65532 -g 65532 -m 0755 /work
ENV HOME=/work \
    PREFECT_UI_STATIC_DIRECTORY=/tmp/prefect-ui \
    MPLCONFIGDIR=/tmp/matplotlib \
    KERAS_HOME=/tmp/keras \
    ORDINAL_DEVICE=cpu
USER 65532:65532
WORKDIR /work
VOLUME /work
# A command that ends, or a server whose port this file does not know: who starts one knows how to ask it.
HEALTHCHECK NONE
ENTRYPOINT ["ordinal-pipeline"]
CMD ["--help"]

FROM serves AS serve
ENV ORDINAL_DEVICE=cpu
COPY --from=packages-serve /opt/ordinal /opt/ordinal
COPY --from=product-serve /product /opt/ordinal
ARG VERSION
ARG REVISION
LABEL org.opencontainers.image.title="ordinal-serve" \
      org.opencontainers.image.description="Class probabilities, expected ordinal value and least-cost decision over gRPC" \
      org.opencontainers.image.version="${VERSION}" \
      org.opencontainers.image.revision="${REVISION}"

FROM serves AS serve-gpu
ENV ORDINAL_DEVICE=cuda \
    NVIDIA_VISIBLE_DEVICES=all \
    NVIDIA_DRIVER_CAPABILITIES=compute,utility
COPY --from=packages-serve-gpu /opt/ordinal /opt/ordinal
COPY --from=product-serve /product /opt/ordinal
ARG VERSION
ARG REVISION
LABEL org.opencontainers.image.title="ordinal-serve-gpu" \
      org.opencontainers.image.description="The service on a GPU, by CUDA 13" \
      org.opencontainers.image.version="${VERSION}" \
      org.opencontainers.image.revision="${REVISION}"

FROM trains AS train
COPY --from=packages-train /opt/ordinal /opt/ordinal
COPY --from=product /product /opt/ordinal
ARG VERSION
ARG REVISION
LABEL org.opencontainers.image.title="ordinal-train" \
      org.opencontainers.image.description="Training, tuning and promotion, with the servers of MLflow and Prefect" \
      org.opencontainers.image.version="${VERSION}" \
      org.opencontainers.image.revision="${REVISION}"

FROM trains AS train-gpu
ENV NVIDIA_VISIBLE_DEVICES=all \
    NVIDIA_DRIVER_CAPABILITIES=compute,utility
COPY --from=packages-train-gpu /opt/ordinal /opt/ordinal
COPY --from=product /product /opt/ordinal
ARG VERSION
ARG REVISION
LABEL org.opencontainers.image.title="ordinal-train-gpu" \
      org.opencontainers.image.description="Training on a GPU, by CUDA 12; the service in it runs on the CPU" \
      org.opencontainers.image.version="${VERSION}" \
      org.opencontainers.image.revision="${REVISION}"
