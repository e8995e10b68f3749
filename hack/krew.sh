#!/usr/bin/env bash
# Builds the tool for every platform, and its manifest for krew.
#   hack/krew.sh FOLDER [VERSION]
# PLATFORMS chooses among them: PLATFORMS=linux/amd64.
# The archives are the same bytes whenever they are made from the same sources.
set -euo pipefail
cd "$(dirname "$0")/.."

if [ $# -lt 1 ]; then
  echo "usage: hack/krew.sh FOLDER [VERSION]" >&2
  exit 2
fi
mkdir -p "$1"
out=$(cd "$1" && pwd)
version=${2:-$(git describe --tags --always 2>/dev/null || echo v0.0.0)}
case $version in v[0-9]*) ;; *) version=v0.0.0-$version ;; esac
releases=https://github.com/s3-tls-injector/s3-tls-injector/releases/download/$version

work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
manifest=$out/s3-tls.yaml
cat >"$work/s3-tls.yaml" <<END
apiVersion: krew.googlecontainertools.github.com/v1alpha2
kind: Plugin
metadata:
  name: s3-tls
spec:
  version: $version
  homepage: https://github.com/s3-tls-injector/s3-tls-injector
  shortDescription: Give pods the CA of their S3 storage
  description: |
    Gives pods of Thanos, Tempo, Loki, Mimir and others the CA of their S3 storage, as the
    s3-tls-injector webhook does, and finds out why TLS to the storage fails: doctor looks at
    the injector, the pods, their CA, their configuration and the storage itself.
  platforms:
END
for platform in ${PLATFORMS:-linux/amd64 linux/arm64 darwin/amd64 darwin/arm64 windows/amd64}; do
  os=${platform%/*} arch=${platform#*/}
  program=kubectl-s3_tls
  [ "$os" = windows ] && program=kubectl-s3_tls.exe
  folder=$work/$os-$arch
  mkdir "$folder"
  echo "krew: $platform" >&2
  CGO_ENABLED=0 GOOS=$os GOARCH=$arch go build -trimpath -buildvcs=false -ldflags="-s -w -X github.com/s3-tls-injector/s3-tls-injector/pkg/cli.Version=$version" -o "$folder/$program" ./cmd/kubectl-s3_tls
  cp LICENSE "$folder/"
  archive=kubectl-s3_tls_${os}_$arch.tar.gz
  tar --sort=name --mtime=@0 --owner=0 --group=0 --numeric-owner --mode=u=rwX,go=rX -C "$folder" -cf - LICENSE "$program" | gzip -n -9 >"$out/$archive"
  sha256=$(sha256sum "$out/$archive" | cut -d' ' -f1)
  cat >>"$work/s3-tls.yaml" <<END
  - selector: {matchLabels: {os: $os, arch: $arch}}
    uri: $releases/$archive
    sha256: $sha256
    bin: $program
END
done
mv "$work/s3-tls.yaml" "$manifest"
echo "$manifest"
