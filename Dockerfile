# Not built where it was written: there is no container engine. hadolint 2.15.1 finds nothing to say of it.
#
#   docker build -t distillkit .                                                               torch brings CUDA along
#   docker build -t distillkit:cpu --build-arg TORCH_INDEX=URL .                               torch's index of CPU builds
#   docker build -t distillkit:ngc --build-arg BASE=nvidia/cuda:13.0.1-runtime-ubuntu24.04 .   on a base of NVIDIA's
#
#   docker run --rm -v "$PWD:/work" distillkit:cpu sample digits/sid2a_el
#   docker run --rm --gpus all -v "$PWD:/work" distillkit run digits_sid
#
# The host needs NVIDIA's driver and its container toolkit for --gpus, and nothing else of CUDA. `run.compile` needs a C
# compiler, which is not in here.
ARG BASE=python:3.12-slim-bookworm

FROM ${BASE} AS build
ARG TORCH_INDEX=
SHELL ["/bin/sh", "-eu", "-c"]
# Bases without Python, such as NVIDIA's on Ubuntu, get that of their distribution.
# hadolint ignore=DL3008
RUN if ! command -v python3 || ! python3 -c 'import ensurepip'; then \
        apt-get update; \
        apt-get install --yes --no-install-recommends python3 python3-venv; \
        rm -rf /var/lib/apt/lists/*; \
    fi
RUN python3 -m venv /opt/distillkit
ENV PATH=/opt/distillkit/bin:$PATH
WORKDIR /source
# torch first, in a layer of its own: it is gigabytes, and changes less often than we do.
COPY constraints.txt ./
RUN pip install --no-cache-dir --constraint constraints.txt ${TORCH_INDEX:+--index-url "$TORCH_INDEX"} torch
COPY . .
RUN pip install --no-cache-dir --constraint constraints.txt . ./plugins/*/

FROM ${BASE}
SHELL ["/bin/sh", "-eu", "-c"]
# hadolint ignore=DL3008
RUN if ! command -v python3; then \
        apt-get update; \
        apt-get install --yes --no-install-recommends python3; \
        rm -rf /var/lib/apt/lists/*; \
    fi; \
    useradd --create-home --uid 10001 distillkit; \
    mkdir /work; \
    chown distillkit /work
COPY --from=build /opt/distillkit /opt/distillkit
ENV PATH=/opt/distillkit/bin:$PATH
USER 10001
WORKDIR /work
ENTRYPOINT ["distillkit"]
CMD ["--help"]
