package cawatch

import (
	"fmt"
	"runtime"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/s3-tls-injector/s3-tls-injector/pkg/settings"
)

var source = settings.CA{Kind: settings.Secret, Name: "s3-tls-cert", Key: "ca.crt"}

func TestWhatIsToldOfAnObject(t *testing.T) {
	const key = "-----BEGIN PRIVATE KEY-----\ncGxhbnRlZA==\n-----END PRIVATE KEY-----\n"
	for name, tt := range map[string]struct {
		object any
		source settings.CA
		want   []string
	}{
		"no object":  {nil, source, []string{`Secret s3-tls-cert: missing it is missing in namespace "shop"; create it there`}},
		"no key":     {&corev1.Secret{Data: map[string][]byte{"tls.crt": []byte("x")}}, source, []string{"Secret s3-tls-cert[ca.crt]: missing the key is missing; put the CA there"}},
		"no PEM":     {&corev1.Secret{Data: map[string][]byte{"ca.crt": []byte("planted")}}, source, []string{"Secret s3-tls-cert[ca.crt]: no-certificate it holds no PEM certificate"}},
		"binaryData": {&corev1.ConfigMap{BinaryData: map[string][]byte{"ca.crt": nil}}, settings.CA{Kind: settings.ConfigMap, Name: "ca", Key: "ca.crt"}, []string{"ConfigMap ca[ca.crt]: empty it is empty; put the CA there, as PEM"}},
		"a private key beside it": {
			&corev1.Secret{Data: map[string][]byte{"ca.crt": []byte("planted"), "tls.key": []byte(key)}},
			source,
			[]string{
				"Secret s3-tls-cert[ca.crt]: no-certificate it holds no PEM certificate",
				"Secret s3-tls-cert[ca.crt]: private-key the object holds a private key too, in tls.key; keep the CA in one of its own",
			},
		},
		"a private key in it": {
			&corev1.Secret{Data: map[string][]byte{"ca.crt": []byte(key)}}, source,
			[]string{"Secret s3-tls-cert[ca.crt]: private-key it holds a private key at line 1; keep certificates only, and replace that key"},
		},
	} {
		t.Run(name, func(t *testing.T) {
			var o *object
			if tt.object != nil {
				o, _ = (&bundles{}).reduce(tt.object)
			}
			judged := o.judge("shop", tt.source, time.Now())
			var got []string
			for _, p := range judged.Problems {
				got = append(got, fmt.Sprintf("%s: %s %s", judged.Place, p.ID, p.Text))
			}
			if diff := cmp.Diff(tt.want, got); diff != "" {
				t.Errorf("-want +got\n%s", diff)
			}
			if strings.Contains(fmt.Sprintf("%+v", judged), "planted") || strings.Contains(fmt.Sprintf("%+v", o), "planted") {
				t.Error("data of the Secret is kept")
			}
		})
	}
}

// The same CA in many namespaces is kept once, and not for longer than one of them has it.
func TestEqualFilesAreOne(t *testing.T) {
	b := &bundles{}
	first, second := b.of([]byte("the same")), b.of([]byte("the same"))
	if first != second {
		t.Error("two bundles of equal files")
	}
	if b.of([]byte("another")) == first {
		t.Error("one bundle of different files")
	}
	runtime.KeepAlive(first)
	runtime.KeepAlive(second)
	known := func() int {
		b.mu.Lock()
		defer b.mu.Unlock()
		return len(b.known)
	}
	for deadline := time.Now().Add(10 * time.Second); known() > 0; time.Sleep(10 * time.Millisecond) {
		if runtime.GC(); time.Now().After(deadline) {
			t.Fatalf("%d bundles are kept that nobody has", known())
		}
	}
}

// It is kept since when the data is the way it is.
func TestWhenDataChanged(t *testing.T) {
	changed := metav1.NewTime(time.Date(2026, 1, 1, 2, 0, 0, 0, time.UTC))
	managers := []metav1.ManagedFieldsEntry{{Time: &changed, FieldsV1: &metav1.FieldsV1{Raw: []byte(`{"f:data":{}}`)}}}
	for _, made := range []any{
		&corev1.Secret{ObjectMeta: metav1.ObjectMeta{ManagedFields: managers}},
		&corev1.ConfigMap{ObjectMeta: metav1.ObjectMeta{ManagedFields: managers}},
	} {
		if o, _ := new(bundles).reduce(made); !o.changed.Equal(changed.Time) {
			t.Errorf("%T: %s", made, o.changed)
		}
	}
}
