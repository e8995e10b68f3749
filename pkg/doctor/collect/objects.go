package collect

import (
	"context"
	"crypto/x509"
	"encoding/pem"
	"maps"
	"slices"
	"time"

	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/fields"

	"github.com/s3-tls-injector/s3-tls-injector/pkg/ca"
	"github.com/s3-tls-injector/s3-tls-injector/pkg/doctor"
	"github.com/s3-tls-injector/s3-tls-injector/pkg/podinfo"
	"github.com/s3-tls-injector/s3-tls-injector/pkg/settings"
)

type objectKey struct{ kind, namespace, name string }

// object is a Secret or ConfigMap, as long as the snapshot is taken.
type object struct {
	data    map[string][]byte // nil where it is not there
	changed time.Time         // since when it has that data; zero where that is not known
	err     error
}

type caKey struct {
	namespace string
	of        settings.CA
}

// object reads a Secret or ConfigMap, once.
func (r *run) object(ctx context.Context, kind, namespace, name string) *object {
	key := objectKey{kind, namespace, name}
	if found := r.objects[key]; found != nil {
		return found
	}
	o := &object{}
	r.objects[key] = o
	if kind == settings.ConfigMap.ObjectKind() {
		found, err := r.Client.CoreV1().ConfigMaps(namespace).Get(ctx, name, metav1.GetOptions{})
		if o.err = err; err == nil {
			o.changed = podinfo.DataChanged(found.ManagedFields)
			o.data = found.BinaryData
			if o.data == nil {
				o.data = map[string][]byte{}
			}
			for key, text := range found.Data {
				o.data[key] = []byte(text)
			}
		}
	} else {
		found, err := r.Client.CoreV1().Secrets(namespace).Get(ctx, name, metav1.GetOptions{})
		if o.err = err; err == nil {
			o.changed = podinfo.DataChanged(found.ManagedFields)
			o.data = found.Data
			if o.data == nil {
				o.data = map[string][]byte{}
			}
		}
	}
	if apierrors.IsNotFound(o.err) {
		o.err = nil
	}
	if o.err != nil {
		r.gap(doctor.Target{Namespace: namespace, Object: kind + "/" + name}, "its data", o.err)
	}
	return o
}

// ca judges a CA in a namespace; nothing where it cannot be read.
func (r *run) ca(ctx context.Context, namespace string, of settings.CA) *doctor.CA {
	key := caKey{namespace, of}
	if found, ok := r.cas[key]; ok {
		return found
	}
	r.cas[key] = nil
	if of.Kind == settings.ClusterTrustBundle {
		r.gap(cluster("ClusterTrustBundle/"+of.Name), "its CA", errNotRead)
		return nil
	}
	o := r.object(ctx, of.Kind.ObjectKind(), namespace, of.Name)
	if o.err != nil {
		return nil
	}
	made := &doctor.CA{Namespace: namespace, CA: of}
	switch file, there := o.data[of.Key]; {
	case o.data == nil:
		made.Judgement = ca.AbsentObject(of.Object(), namespace)
	case !there:
		made.Judgement = ca.AbsentKey(of.Place())
	default:
		made.Judgement = ca.Parse(file).Judge(of.Place(), r.snapshot.Taken)
		made.Certificates = certificatesOf(file)
		for _, other := range slices.Sorted(maps.Keys(o.data)) {
			if other != of.Key && ca.Parse(o.data[other]).PrivateKey {
				made.Judgement.Problems = append(made.Judgement.Problems, ca.Beside(other))
			}
		}
	}
	r.cas[key] = made
	r.snapshot.CAs = append(r.snapshot.CAs, made)
	return made
}

// mostCertificates is how many certificates of a CA a snapshot holds: more are public roots, which the
// storage's chain is held against one by one.
const mostCertificates = 500

// certificatesOf returns the certificates of a file that Go's clients trust, and nothing else of it.
func certificatesOf(file []byte) string {
	var out []byte
	for n := 0; n < mostCertificates; {
		var block *pem.Block
		if block, file = pem.Decode(file); block == nil {
			break
		}
		if block.Type != "CERTIFICATE" || len(block.Headers) > 0 {
			continue
		}
		if _, err := x509.ParseCertificate(block.Bytes); err == nil {
			out = append(out, pem.EncodeToMemory(&pem.Block{Type: block.Type, Bytes: block.Bytes})...)
			n++
		}
	}
	return string(out)
}

// lookElsewhere finds the namespaces that hold a CA which is missing in another one.
func (r *run) lookElsewhere(ctx context.Context) {
	for _, c := range r.snapshot.CAs {
		if c.Judgement.Verdict != ca.Missing {
			continue
		}
		byName := metav1.ListOptions{FieldSelector: fields.OneTermEqualSelector(metav1.ObjectNameField, c.CA.Name).String()}
		if c.CA.Kind == settings.ConfigMap {
			list, err := r.Client.CoreV1().ConfigMaps("").List(ctx, byName)
			if err != nil {
				continue // it is a hint alone
			}
			for i := range list.Items {
				if _, ok := list.Items[i].Data[c.CA.Key]; ok {
					c.Elsewhere = append(c.Elsewhere, list.Items[i].Namespace)
				}
			}
			continue
		}
		list, err := r.Client.CoreV1().Secrets("").List(ctx, byName)
		if err != nil {
			continue
		}
		for i := range list.Items {
			if _, ok := list.Items[i].Data[c.CA.Key]; ok {
				c.Elsewhere = append(c.Elsewhere, list.Items[i].Namespace)
			}
		}
	}
}
