# syntax=docker/dockerfile:1
# Build:  docker build -t gotoassist-grpc --build-arg REVISION=$(git rev-parse --short=12 HEAD) .
#         docker buildx build --platform linux/amd64,linux/arm64 -t gotoassist-grpc .
# Run:    docker run -p 50051:50051 gotoassist-grpc
#         docker run -p 8089:8089 gotoassist-grpc simulate
# The image has the binary, the CA certificates and the C library, but no shell and no package
# manager.

ARG RUST_IMAGE=docker.io/library/rust:1.95-slim-bookworm
ARG BASE_IMAGE=gcr.io/distroless/cc-debian12:nonroot

FROM ${RUST_IMAGE} AS build
WORKDIR /src

# The dependencies have their own layer, which changes only with the manifests and the protos.
COPY Cargo.toml Cargo.lock build.rs ./
COPY proto proto
COPY third_party third_party
# The manifest names these files, but this image does not build them.
COPY benches/steps benches/steps
RUN mkdir src \
    && echo '//! Empty.' > src/lib.rs \
    && echo 'fn main() {}' > src/main.rs \
    && cargo build --profile dist --locked \
    && rm -r src

# The commit for `--version`. The build context has no repository.
ARG REVISION=
COPY src src
# Makes the sources newer than the build of the empty files.
RUN touch src/lib.rs src/main.rs && REVISION=$REVISION cargo build --profile dist --locked

FROM ${BASE_IMAGE}
ARG VERSION=0.1.0
ARG REVISION=unknown
ARG SOURCE=unknown
LABEL org.opencontainers.image.title="gotoassist-grpc" \
      org.opencontainers.image.description="A typed, streaming gRPC API in front of the GoToAssist Remote Support REST API" \
      org.opencontainers.image.licenses="MIT OR Apache-2.0" \
      org.opencontainers.image.version="${VERSION}" \
      org.opencontainers.image.revision="${REVISION}" \
      org.opencontainers.image.source="${SOURCE}" \
      org.opencontainers.image.base.name="gcr.io/distroless/cc-debian12:nonroot"
COPY --from=build /src/target/dist/gotoassist-grpc /usr/local/bin/gotoassist-grpc

# In a container, other hosts cannot reach the loopback address.
ENV GOTOASSIST_LISTEN=0.0.0.0:50051 \
    GOTOASSIST_ADMIN_LISTEN=0.0.0.0:9464 \
    GOTOASSIST_SIMULATE_LISTEN=0.0.0.0:8089 \
    GOTOASSIST_DEMO_LISTEN=0.0.0.0:50051 \
    GOTOASSIST_DEMO_ADMIN_LISTEN=0.0.0.0:9464
EXPOSE 50051 9464 8089
# The user `nonroot` as a number, because Kubernetes' runAsNonRoot cannot check a name.
USER 65532:65532
STOPSIGNAL SIGTERM
# With TLS, set how the health check connects: GOTOASSIST_SERVER=https://…, GOTOASSIST_CA_FILE and
# so on.
HEALTHCHECK --interval=10s --timeout=4s --start-period=5s \
    CMD ["/usr/local/bin/gotoassist-grpc", "health"]
ENTRYPOINT ["/usr/local/bin/gotoassist-grpc"]
CMD ["serve"]
