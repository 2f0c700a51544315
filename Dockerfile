# Bases are pinned by exact tags. Whoever builds for others pins digests too, which a tag alone does not promise:
# `docker buildx imagetools inspect IMAGE` tells them, `--build-arg RUST=rust@sha256:…` takes them.
ARG RUST=rust:1.95.0-slim-bookworm
ARG DEBIAN=debian:12.15-slim

FROM ${RUST} AS build
WORKDIR /src
COPY . .
# What was downloaded and compiled is kept from one build to the next; nothing but the registry of crates is asked.
# Each kind of machine has its own, and two builds do not write to one at a time.
ARG TARGETARCH
RUN --mount=type=cache,target=/usr/local/cargo/registry,sharing=locked \
    --mount=type=cache,target=/src/target,id=codex-agent-target-${TARGETARCH},sharing=locked \
    cargo build --release --locked --bin codex-agent && cp target/release/codex-agent /usr/local/bin/codex-agent

FROM ${DEBIAN}

# bash and git are for the commands of a task, ca-certificates for a brain behind https. Their versions are Debian's.
# hadolint ignore=DL3008
RUN apt-get update \
    && apt-get install --yes --no-install-recommends bash ca-certificates git \
    && rm -rf /var/lib/apt/lists/* \
    && groupadd --gid 65532 agent \
    && useradd --uid 65532 --gid 65532 --create-home --shell /usr/sbin/nologin agent \
    && install --directory --owner=agent --group=agent /app /app/code /app/output

COPY --from=build /usr/local/bin/codex-agent /usr/local/bin/codex-agent

# Last, for they change with every commit: `--build-arg VERSION=… --build-arg REVISION=$(git rev-parse HEAD)`.
ARG VERSION=0.1.0
ARG REVISION=unknown
ARG DEBIAN
LABEL org.opencontainers.image.title="codex-agent" \
      org.opencontainers.image.description="An HTTP service that accepts agent jobs, runs them with three tools, and records every step" \
      org.opencontainers.image.licenses="Apache-2.0" \
      org.opencontainers.image.version="${VERSION}" \
      org.opencontainers.image.revision="${REVISION}" \
      org.opencontainers.image.base.name="docker.io/library/${DEBIAN}"

# Beyond loopback the service does not start without API_TOKENS or API_TOKENS_FILE (or ALLOW_ANONYMOUS=true).
ENV LISTEN=0.0.0.0:8080 \
    CODE_DIR=/app/code \
    OUTPUT_DIR=/app/output
# By number: Kubernetes cannot see that a name is not root's.
USER 65532:65532
WORKDIR /app
VOLUME ["/app/code", "/app/output"]
EXPOSE 8080
# Also for `codex-agent brain` and for workers: it asks the port in LISTEN.
HEALTHCHECK --interval=5s --timeout=5s --start-period=30s --retries=3 \
    CMD ["codex-agent", "healthcheck"]
# As an array, so that SIGTERM reaches the program and no shell.
ENTRYPOINT ["codex-agent"]
CMD ["serve"]
