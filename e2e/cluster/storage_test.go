package cluster

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"os"
	"path"
	"path/filepath"
	"testing"

	"github.com/minio/minio-go/v7"
	"github.com/minio/minio-go/v7/pkg/credentials"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
)

// untrusted is what every S3 client that is written in Go says of a CA that it
// does not know.
const untrusted = "x509: certificate signed by unknown authority"

// storageCA returns the CA of the storage's certificate, as PEM.
func storageCA(t *testing.T) []byte { t.Helper(); return storageCAIn(t, "storage") }

func storageCAIn(t *testing.T, storage string) []byte {
	t.Helper()
	secret, err := client.CoreV1().Secrets(storage).Get(t.Context(), "minio-tls", metav1.GetOptions{})
	if err != nil {
		t.Fatal(err)
	}
	return secret.Data["ca.crt"]
}

// giveCA creates a Secret or ConfigMap with the storage's CA as ca.crt.
func giveCA(t *testing.T, namespace string, kind ...string) {
	t.Helper()
	file := filepath.Join(t.TempDir(), "s3-ca.crt")
	if err := os.WriteFile(file, storageCA(t), 0o600); err != nil {
		t.Fatal(err)
	}
	kubectl(t, append([]string{"-n", namespace, "create", "--from-file=ca.crt=" + file}, kind...)...)
}

// bucket is one of the storage's.
type bucket struct {
	name string
	s3   *minio.Client
}

// newBucket makes an empty bucket, over HTTPS and with no other trust than in
// the storage's CA.
func newBucket(t *testing.T, name string) bucket { t.Helper(); return newBucketIn(t, "storage", name) }

func newBucketIn(t *testing.T, storage, name string) bucket {
	t.Helper()
	b := openBucket(t, storage, name)
	exists, err := b.s3.BucketExists(t.Context(), name)
	if err != nil {
		t.Fatal(err)
	}
	if exists {
		if err := b.s3.RemoveBucketWithOptions(t.Context(), name, minio.RemoveBucketOptions{ForceDelete: true}); err != nil {
			t.Fatal(err)
		}
	}
	if err := b.s3.MakeBucket(t.Context(), name, minio.MakeBucketOptions{}); err != nil {
		t.Fatal(err)
	}
	return b
}

// openBucket connects to a bucket, with trust in the storage's present CA alone.
func openBucket(t *testing.T, storage, name string) bucket {
	t.Helper()
	roots := x509.NewCertPool()
	if !roots.AppendCertsFromPEM(storageCAIn(t, storage)) {
		t.Fatal("the storage's CA is no PEM")
	}
	s3, err := minio.New(portForward(t, storage, "service/minio", "9000"), &minio.Options{
		Creds:     credentials.NewStaticV4("e2e-access", "e2e-secret", ""),
		Secure:    true,
		Transport: &http.Transport{TLSClientConfig: &tls.Config{RootCAs: roots, MinVersion: tls.VersionTLS12}},
	})
	if err != nil {
		t.Fatal(err)
	}
	return bucket{name: name, s3: s3}
}

// keys returns the keys of the bucket that match a pattern of path.Match, by
// their last elements.
func (b bucket) keys(ctx context.Context, pattern string) ([]string, error) {
	var keys []string
	for object := range b.s3.ListObjects(ctx, b.name, minio.ListObjectsOptions{Recursive: true}) {
		if object.Err != nil {
			return nil, object.Err
		}
		matched, err := path.Match(pattern, path.Base(object.Key))
		if err != nil {
			return nil, err
		}
		if matched {
			keys = append(keys, object.Key)
		}
	}
	return keys, nil
}

// has returns an error unless the bucket has an object of that name.
func (b bucket) has(pattern string) func(context.Context) error {
	return func(ctx context.Context) error {
		keys, err := b.keys(ctx, pattern)
		if err == nil && len(keys) == 0 {
			err = fmt.Errorf("bucket %s holds no %s", b.name, pattern)
		}
		return err
	}
}

// readJSON reads an object.
func (b bucket) readJSON(ctx context.Context, key string, into any) error {
	object, err := b.s3.GetObject(ctx, b.name, key, minio.GetObjectOptions{})
	if err != nil {
		return err
	}
	defer func() { _ = object.Close() }() // it is only read
	text, err := io.ReadAll(object)
	if err != nil {
		return err
	}
	return json.Unmarshal(text, into)
}
