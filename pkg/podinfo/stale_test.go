package podinfo

import (
	"testing"
	"time"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
)

func at(hour int) time.Time { return time.Date(2026, 1, 1, hour, 0, 0, 0, time.UTC) }

// The data changed when a manager of data says so; labels do not count.
func TestDataChanged(t *testing.T) {
	when := func(hour int) *metav1.Time { return new(metav1.NewTime(at(hour))) }
	managers := []metav1.ManagedFieldsEntry{
		{Manager: "cert-manager", Time: when(1), FieldsV1: &metav1.FieldsV1{Raw: []byte(`{"f:data":{".":{},"f:ca.crt":{}}}`)}},
		{Manager: "shop", Time: when(2), FieldsV1: &metav1.FieldsV1{Raw: []byte(`{"f:binaryData":{"f:x":{}}}`)}},
		{Manager: "kubectl", Time: when(3), FieldsV1: &metav1.FieldsV1{Raw: []byte(`{"f:metadata":{"f:labels":{"f:a":{}}}}`)}},
		{Manager: "old"},
	}
	if got := DataChanged(managers); !got.Equal(at(2)) {
		t.Errorf("it changed at %s", got)
	}
	if got := DataChanged(managers[2:]); !got.IsZero() {
		t.Errorf("without a manager of data: %s", got)
	}
}

func TestIsStale(t *testing.T) {
	for name, tt := range map[string]struct {
		carried      Carried
		sha256       string
		changed      time.Time
		stale, known bool
	}{
		"the same":                    {Carried{SHA256: "a"}, "a", at(5), false, true},
		"another":                     {Carried{SHA256: "a"}, "b", at(5), true, true},
		"none there":                  {Carried{SHA256: "a"}, "", at(5), false, false},
		"unsaid, started before":      {Carried{Started: at(4)}, "b", at(5), true, true},
		"unsaid, started after":       {Carried{Started: at(6)}, "b", at(5), false, true},
		"unsaid, not started":         {Carried{}, "b", at(5), false, false},
		"unsaid, the change not said": {Carried{Started: at(6)}, "b", time.Time{}, false, false},
	} {
		if stale, known := tt.carried.IsStale(tt.sha256, tt.changed); stale != tt.stale || known != tt.known {
			t.Errorf("%s: stale %t, known %t", name, stale, known)
		}
	}
}
