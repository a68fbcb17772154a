# Coffre in a container: a locked Python environment, a user without rights, no compiler, nothing writable but the data volume.
#   docker build -t coffre .
#   docker run --read-only --tmpfs /tmp --cap-drop ALL --security-opt no-new-privileges -v coffre:/var/lib/coffre -p 8443:8443 coffre
# The first run needs a settings file (where to listen, certificate) and a token: docs/operations.md, "In a container".

FROM python:3.11-slim-bookworm AS build
WORKDIR /source
RUN python -m venv /opt/coffre
COPY requirements.txt requirements-demo.txt ./
# setuptools builds the wheel below; its hash is in the lock of the demo, and it does not stay.
RUN sed -n '/^setuptools==/,/[^\\]$/p' requirements-demo.txt > build.txt \
    && python -m venv /opt/build \
    && /opt/build/bin/pip install --no-cache-dir --quiet --require-hashes --requirement build.txt \
    && /opt/coffre/bin/pip install --no-cache-dir --quiet --require-hashes --only-binary :all: --requirement requirements.txt
COPY pyproject.toml README.md LICENSE ./
COPY kms kms
COPY vault vault
COPY web web
RUN /opt/build/bin/pip wheel --quiet --no-deps --no-build-isolation --wheel-dir /wheels . \
    && /opt/coffre/bin/pip install --no-cache-dir --quiet --no-deps --no-index /wheels/*.whl \
    && /opt/coffre/bin/pip uninstall --quiet --yes pip setuptools \
    && /opt/coffre/bin/python -m compileall -q /opt/coffre/lib

FROM python:3.11-slim-bookworm
# SoftHSM2 for trying it out, p11-kit to reach a token that another host or user keeps. A real HSM's module is mounted.
RUN apt-get update -q \
    && apt-get install -q -y --no-install-recommends p11-kit-modules softhsm2 \
    && rm -rf /var/lib/apt/lists/* \
    && groupadd --system --gid 10001 coffre \
    && useradd --system --uid 10001 --gid coffre --home-dir /var/lib/coffre --shell /usr/sbin/nologin coffre \
    && install -d -m 0700 -o coffre -g coffre /var/lib/coffre
COPY --from=build /opt/coffre /opt/coffre
COPY softhsm /opt/coffre/softhsm
ENV PATH=/opt/coffre/bin:$PATH \
    PYTHONDONTWRITEBYTECODE=1 \
    PYTHONUNBUFFERED=1 \
    COFFRE_CONFIG=/var/lib/coffre/coffre.toml
USER coffre
WORKDIR /var/lib/coffre
VOLUME /var/lib/coffre
EXPOSE 8443
HEALTHCHECK --interval=30s --timeout=5s --start-period=15s --retries=3 CMD ["python", "-m", "web.probe"]
STOPSIGNAL SIGTERM
ENTRYPOINT ["coffre"]
CMD ["serve"]
