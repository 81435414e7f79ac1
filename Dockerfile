# syntax=docker/dockerfile:1
# Build:  docker build -t gotoassist-grpc .
# Run:    docker run -p 50051:50051 gotoassist-grpc
# The result holds the binary, the CA certificates and the C library: no shell, no package manager.

FROM rust:1.95-slim-bookworm AS build
WORKDIR /src

# The dependencies in a layer of their own: it changes only with Cargo.lock.
COPY Cargo.toml Cargo.lock build.rs ./
COPY proto proto
COPY third_party third_party
RUN mkdir src \
    && echo '//! Empty.' > src/lib.rs \
    && echo 'fn main() {}' > src/main.rs \
    && cargo build --release --locked \
    && rm -r src

COPY src src
RUN touch src/lib.rs src/main.rs && cargo build --release --locked

FROM gcr.io/distroless/cc-debian12:nonroot
LABEL org.opencontainers.image.title="gotoassist-grpc" \
      org.opencontainers.image.description="A typed, streaming gRPC API in front of the GoToAssist Remote Support REST API" \
      org.opencontainers.image.licenses="MIT OR Apache-2.0"
COPY --from=build /src/target/release/gotoassist-grpc /usr/local/bin/gotoassist-grpc

# Within a container, loopback reaches nobody.
ENV GOTOASSIST_LISTEN=0.0.0.0:50051 \
    GOTOASSIST_ADMIN_LISTEN=0.0.0.0:9464
EXPOSE 50051 9464
USER nonroot
STOPSIGNAL SIGTERM
HEALTHCHECK --interval=10s --timeout=4s --start-period=5s \
    CMD ["gotoassist-grpc", "health"]
ENTRYPOINT ["gotoassist-grpc"]
CMD ["serve"]
