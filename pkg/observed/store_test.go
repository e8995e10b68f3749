package observed

import (
	"maps"
	"testing"

	"github.com/google/go-cmp/cmp"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/client-go/tools/cache"
)

// lengths keeps the length of a Secret's value, and nothing of one without it.
func lengths() *Store[int] {
	return NewStore(func(object any) (int, bool) {
		secret, ok := object.(*corev1.Secret)
		return len(secret.Data["a"]), ok && secret.Data["a"] != nil
	})
}

func secret(name, value string) *corev1.Secret {
	s := &corev1.Secret{ObjectMeta: metav1.ObjectMeta{Namespace: "shop", Name: name}}
	if value != "" {
		s.Data = map[string][]byte{"a": []byte(value)}
	}
	return s
}

func expect(t *testing.T, s *Store[int], want map[string]int) {
	t.Helper()
	got := map[string]int{}
	for key, value := range maps.Collect(s.All()) {
		got[key.Name] = value
	}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("kept (-want +got):\n%s", diff)
	}
}

func TestStoreKeepsWhatIsMadeOfObjects(t *testing.T) {
	s := lengths()
	if s.State() != Starting {
		t.Errorf("state %v", s.State())
	}
	steps := []struct {
		do   func() error
		want map[string]int
	}{
		{func() error {
			return s.Replace([]any{secret("one", "x"), secret("none", ""), secret("two", "xy")}, "1")
		}, map[string]int{"one": 1, "two": 2}},
		{func() error { return s.Add(secret("three", "xyz")) }, map[string]int{"one": 1, "two": 2, "three": 3}},
		{func() error { return s.Update(secret("three", "")) }, map[string]int{"one": 1, "two": 2}},
		{func() error { return s.Delete(secret("two", "xy")) }, map[string]int{"one": 1}},
		{func() error { return s.Replace([]any{secret("four", "four")}, "9") }, map[string]int{"four": 4}},
	}
	for _, step := range steps {
		if err := step.do(); err != nil {
			t.Fatal(err)
		}
		expect(t, s, step.want)
	}
	if _, ok := s.Get(types.NamespacedName{Namespace: "shop", Name: "four"}); !ok || s.State() != Synced {
		t.Errorf("found %v, state %v", ok, s.State())
	}
}

// Whoever waits is told of each change, and of none that is none.
func TestStoreTellsOfChanges(t *testing.T) {
	s := lengths()
	for what, tt := range map[string]struct {
		do   func() error
		want bool
	}{
		"an object that does not matter": {func() error { return s.Add(secret("none", "")) }, false},
		"a deletion of one unknown":      {func() error { return s.Delete(secret("unknown", "x")) }, false},
		"a new object":                   {func() error { return s.Add(secret("one", "x")) }, true},
	} {
		changed := s.Changed()
		if err := tt.do(); err != nil {
			t.Fatal(err)
		}
		select {
		case <-changed:
			if !tt.want {
				t.Errorf("%s is told", what)
			}
		default:
			if tt.want {
				t.Errorf("%s is not told", what)
			}
		}
	}
}

// What is not allowed any more is not known any more.
func TestStoreForgetsWhatItMayNotSee(t *testing.T) {
	s := lengths()
	if err := s.Replace([]any{secret("one", "x")}, "1"); err != nil {
		t.Fatal(err)
	}
	changed := s.Changed()
	s.deny()
	<-changed
	if expect(t, s, map[string]int{}); s.State() != Denied {
		t.Errorf("state %v", s.State())
	}
}

// While the first list comes in, its objects are not kept either.
func TestListIsReducedAsItComes(t *testing.T) {
	s := lengths()
	buffer := cache.NewStore(cache.MetaNamespaceKeyFunc, cache.WithTransformer(s.Transformer()))
	if err := buffer.Add(secret("one", "planted")); err != nil {
		t.Fatal(err)
	}
	if _, whole := buffer.List()[0].(*corev1.Secret); whole {
		t.Error("the object itself is kept")
	}
	if err := s.Replace(buffer.List(), "1"); err != nil {
		t.Fatal(err)
	}
	expect(t, s, map[string]int{"one": 7})
}
