# n2a_bids as an image. CPU (default):
#   docker build -t n2a .
# CUDA 12.6 (torch from the matching wheels, everything else the same):
#   docker build -t n2a:cuda --build-arg TORCH_INDEX_URL=https://download.pytorch.org/whl/cu126 .
# Tests inside the image that users get:
#   docker build -t n2a:test --target test . && docker run --rm n2a:test

ARG BASE_IMAGE=python:3.11-slim-bookworm

FROM ${BASE_IMAGE} AS requirements
COPY setup.cfg .
# Only the list of requirements, so that an edit elsewhere in the metadata reinstalls nothing.
RUN python3 -c "import configparser; c = configparser.ConfigParser(); c.read('setup.cfg'); \
print(c['options']['install_requires'])" > /requirements.txt

FROM ${BASE_IMAGE} AS dependencies
ARG TORCH_INDEX_URL=https://download.pytorch.org/whl/cpu
ENV PIP_NO_CACHE_DIR=1 PIP_DISABLE_PIP_VERSION_CHECK=1
RUN python3 -m venv /opt/n2a
COPY constraints.txt /src/
# torch by itself, for it is most of the image and changes least. Its "+cpu" and "+cu126" wheels satisfy
# the pinned version and are preferred to the plain one of the default index. Headers, static libraries
# and self-tests serve those who compile against these packages.
RUN /opt/n2a/bin/pip install --extra-index-url "${TORCH_INDEX_URL}" --constraint /src/constraints.txt torch \
    && cd /opt/n2a/lib/python3*/site-packages \
    && rm -rf torch/include torch/test torch/bin/*_test torch/bin/test_* && find . -name '*.a' -delete
COPY --from=requirements /requirements.txt /src/
RUN /opt/n2a/bin/pip install --extra-index-url "${TORCH_INDEX_URL}" --constraint /src/constraints.txt \
        --requirement /src/requirements.txt \
    && cd /opt/n2a/lib/python3*/site-packages \
    && rm -rf pandas/tests statsmodels/*/tests sklearn/*/tests && find . -name '*.a' -delete

FROM dependencies AS package
WORKDIR /src
COPY setup.cfg pyproject.toml LICENSE README.md ./
COPY n2a_bids ./n2a_bids
RUN /opt/n2a/bin/pip install --no-deps --prefix /opt/package . \
    # The console scripts must start the interpreter of the environment they are merged into.
    && sed -i '1s|^#!.*|#!/opt/n2a/bin/python3|' /opt/package/bin/* \
    && chmod -R a+rX /opt/package

FROM ${BASE_IMAGE} AS runtime
COPY --from=dependencies /opt/n2a /opt/n2a
# Templates for --mask-template are mounted at /opt/templateflow; none is needed otherwise.
ENV PATH=/opt/n2a/bin:/usr/local/bin:/usr/local/sbin:/usr/sbin:/usr/bin:/sbin:/bin \
    TEMPLATEFLOW_HOME=/opt/templateflow \
    TEMPLATEFLOW_AUTOUPDATE=0 \
    NO_ET=1 \
    NIPYPE_NO_ET=1 \
    PYTHONNOUSERSITE=1 \
    PYTHONDONTWRITEBYTECODE=1 \
    PYTHONUNBUFFERED=1 \
    IS_DOCKER_8395080871=1
COPY --from=package /opt/package /opt/n2a
ENTRYPOINT ["n2a"]

FROM runtime AS test
COPY constraints.txt setup.cfg pyproject.toml /src/
RUN pip install --no-cache-dir --constraint /src/constraints.txt pytest niworkflows
COPY tests /src/tests
WORKDIR /src
ENTRYPOINT ["python3", "-m", "pytest", "-p", "no:cacheprovider"]
# The pages that its tests read are no part of an image.
CMD ["-q", "tests/unit", "tests/interfaces", "tests/workflows", "--ignore=tests/unit/test_documentation.py", \
     "--ignore=tests/unit/test_readme.py", "--ignore=tests/unit/test_site.py", "--ignore=tests/unit/test_publishing.py"]

FROM runtime AS n2a
# Last, so that a new version or date invalidates no layer with content.
ARG VERSION=dev
ARG REVISION=unknown
ARG CREATED=unknown
ENV N2A_DOCKER_TAG=${VERSION}
LABEL org.opencontainers.image.title="n2a_bids" \
      org.opencontainers.image.description="BIDS-App that denoises repeated MRI" \
      org.opencontainers.image.licenses="Apache-2.0" \
      org.opencontainers.image.base.name="docker.io/library/python:3.11-slim-bookworm" \
      org.opencontainers.image.version="${VERSION}" \
      org.opencontainers.image.revision="${REVISION}" \
      org.opencontainers.image.created="${CREATED}"
