FROM --platform=$BUILDPLATFORM golang:1.26 AS build
WORKDIR /src
COPY go.mod go.sum ./
RUN go mod download
COPY . .
ARG TARGETOS TARGETARCH
RUN CGO_ENABLED=0 GOOS=$TARGETOS GOARCH=$TARGETARCH go build -trimpath -ldflags="-s -w" -o /out/s3-tls-injector ./cmd/s3-tls-injector

FROM scratch
COPY --from=build /out/s3-tls-injector /s3-tls-injector
USER 65532:65532
EXPOSE 9443 8081 8080
ENTRYPOINT ["/s3-tls-injector"]
