FROM rust:1.95-slim-bookworm AS build
WORKDIR /src
COPY . .
RUN --mount=type=cache,target=/usr/local/cargo/registry \
    --mount=type=cache,target=/src/target \
    cargo build --release --locked --bin codex-agent && cp target/release/codex-agent /usr/local/bin/codex-agent

FROM debian:bookworm-slim
LABEL org.opencontainers.image.title="codex-agent" \
      org.opencontainers.image.description="An HTTP service that accepts agent jobs, runs them with three tools, and records every step" \
      org.opencontainers.image.licenses="Apache-2.0"

# bash and git are for the commands of a task, ca-certificates for a brain behind https. Their versions are Debian's.
# hadolint ignore=DL3008
RUN apt-get update \
    && apt-get install --yes --no-install-recommends bash ca-certificates git \
    && rm -rf /var/lib/apt/lists/* \
    && groupadd --gid 65532 agent \
    && useradd --uid 65532 --gid 65532 --create-home --shell /usr/sbin/nologin agent \
    && install --directory --owner=agent --group=agent /app /app/code /app/output

COPY --from=build /usr/local/bin/codex-agent /usr/local/bin/codex-agent

# Beyond loopback the service does not start without API_TOKENS or API_TOKENS_FILE (or ALLOW_ANONYMOUS=true).
ENV LISTEN=0.0.0.0:8080 \
    CODE_DIR=/app/code \
    OUTPUT_DIR=/app/output
USER 65532:65532
WORKDIR /app
VOLUME ["/app/code", "/app/output"]
EXPOSE 8080
HEALTHCHECK --interval=5s --timeout=5s --start-period=30s --retries=3 \
    CMD ["codex-agent", "healthcheck"]
ENTRYPOINT ["codex-agent"]
CMD ["serve"]
