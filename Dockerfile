# syntax=docker/dockerfile:1
# posttrain in a container, as a user without rights. docs/containers.md says how to build and run it.
#
#   docker build --build-arg VARIANT=cpu  --tag posttrain:cpu .
#   docker build --build-arg VARIANT=cuda --tag posttrain:cuda .
#   docker build --target dev             --tag posttrain:dev .
#
# Secrets come in when it runs (--env-file), never when it is built. A pip configuration of yours, with the mirror or the
# CPU build of torch that it names, is lent to the build and leaves no trace in the image:
#   docker build --secret id=pip,src=$HOME/.config/pip/pip.conf …
#
# Pin harder by digest: --build-arg PYTHON_IMAGE=python@sha256:…
ARG VARIANT=cpu
ARG PYTHON_IMAGE=python:3.12.11-slim-bookworm
ARG CUDA_IMAGE=nvidia/cuda:13.0.1-devel-ubuntu24.04

# The wheel: the image that runs has no sources of ours and nothing that builds.
FROM ${PYTHON_IMAGE} AS wheel
WORKDIR /src
COPY pyproject.toml README.md LICENSE ./
COPY recipes recipes
COPY src src
RUN --mount=type=secret,id=pip,target=/etc/pip.conf \
    pip wheel --no-cache-dir --no-deps --wheel-dir /wheels .

# A C compiler is for the kernels that triton and posttrain compile when they first run.
FROM ${PYTHON_IMAGE} AS base-cpu
# hadolint ignore=DL3008
RUN apt-get update \
    && apt-get install --yes --no-install-recommends gcc libc6-dev git \
    && rm -rf /var/lib/apt/lists/*

# torch brings CUDA's libraries; the image brings nvcc, for DeepSpeed's operators, and the driver comes from the host.
FROM ${CUDA_IMAGE} AS base-cuda
ENV DEBIAN_FRONTEND=noninteractive \
    NVIDIA_VISIBLE_DEVICES=all \
    NVIDIA_DRIVER_CAPABILITIES=compute,utility
# The image's own user has the number that ours gets.
# hadolint ignore=DL3008
RUN apt-get update \
    && apt-get install --yes --no-install-recommends gcc g++ git ninja-build python3 python3-dev python3-venv \
    && rm -rf /var/lib/apt/lists/* \
    && if id ubuntu >/dev/null 2>&1; then userdel --remove ubuntu; fi

# hadolint ignore=DL3006
FROM base-${VARIANT} AS user
ARG UID=1000
RUN useradd --create-home --uid "${UID}" --shell /bin/bash posttrain \
    && mkdir -p /lab /cache /mirror \
    && chown posttrain:posttrain /lab /cache /mirror
ENV PATH=/opt/venv/bin:$PATH \
    PYTHONUNBUFFERED=1 \
    HF_HOME=/cache/huggingface \
    XDG_CACHE_HOME=/cache

# What people develop in: the tools of `make`, and the checkout mounted where they work.
FROM user AS dev
ARG UID=1000
# hadolint ignore=DL3008
RUN apt-get update \
    && apt-get install --yes --no-install-recommends g++ make ninja-build \
    && rm -rf /var/lib/apt/lists/*
USER ${UID}
WORKDIR /lab
CMD ["bash"]

# What runs. torch first, so that nothing replaces it later.
FROM user AS run
ARG UID=1000
ARG TORCH=torch==2.13.0
ARG EXTRAS=hub,lora,qlora,distributed,explore,serve,wandb,tensorboard
RUN --mount=type=secret,id=pip,target=/etc/pip.conf \
    --mount=type=bind,from=wheel,source=/wheels,target=/wheels \
    python3 -m venv /opt/venv \
    && /opt/venv/bin/pip install --no-cache-dir "${TORCH}" \
    && /opt/venv/bin/pip install --no-cache-dir "$(echo /wheels/posttrain-*.whl)[${EXTRAS}]" "${TORCH}"
USER ${UID}
WORKDIR /lab
# A build that can't look around or plan is no image.
RUN posttrain doctor && posttrain plan quickstart --smoke && rm -rf /cache/*
VOLUME ["/lab", "/cache"]
HEALTHCHECK --interval=5m --timeout=60s CMD ["posttrain", "doctor"]
ENTRYPOINT ["posttrain"]
CMD ["--help"]
