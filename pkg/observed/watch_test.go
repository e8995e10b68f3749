package observed_test

import (
	"context"
	"encoding/json"
	"net/http"
	"net/http/httptest"
	"sync/atomic"
	"testing"
	"time"

	"github.com/go-logr/logr"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/client-go/kubernetes"
	"k8s.io/client-go/rest"

	"github.com/s3-tls-injector/s3-tls-injector/pkg/observed"
)

// What is not allowed any more is forgotten, or kept where that is wanted.
func TestWatchThatIsNotAllowedAnyMore(t *testing.T) {
	for _, keep := range []bool{false, true} {
		var lists atomic.Int32
		server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
			w.Header().Set("Content-Type", "application/json")
			refuse := func(code int, reason metav1.StatusReason) {
				w.WriteHeader(code)
				_ = json.NewEncoder(w).Encode(metav1.Status{TypeMeta: metav1.TypeMeta{APIVersion: "v1", Kind: "Status"}, Status: metav1.StatusFailure, Reason: reason, Code: int32(code)})
			}
			if r.URL.Query().Get("sendInitialEvents") != "" {
				refuse(http.StatusUnprocessableEntity, metav1.StatusReasonInvalid) // it is an older one: it lists, and then watches
				return
			}
			if r.URL.Query().Get("watch") == "" && lists.Add(1) == 1 {
				_ = json.NewEncoder(w).Encode(corev1.NamespaceList{ // the client fails where that does
					TypeMeta: metav1.TypeMeta{APIVersion: "v1", Kind: "NamespaceList"}, ListMeta: metav1.ListMeta{ResourceVersion: "1"},
					Items: []corev1.Namespace{{ObjectMeta: metav1.ObjectMeta{Name: "shop"}}},
				})
				return
			}
			refuse(http.StatusForbidden, metav1.StatusReasonForbidden)
		}))
		client, err := kubernetes.NewForConfig(&rest.Config{Host: server.URL})
		if err != nil {
			t.Fatal(err)
		}
		store := observed.NewStore(func(any) (bool, bool) { return true, true })
		denied := make(chan struct{}, 100)
		ctx, stop := context.WithCancel(t.Context())
		ended := make(chan struct{})
		go func() {
			defer close(ended)
			store.Watch(ctx, observed.Objects{
				Client: client.CoreV1().RESTClient(), Resource: "namespaces", Example: &corev1.Namespace{}, Log: logr.Discard(), Keep: keep,
				Denied: func() { denied <- struct{}{} },
			})
		}()
		select {
		case <-denied:
		case <-time.After(30 * time.Second):
			t.Fatal("it is not told")
		}
		stop()
		<-ended
		_, known := store.Get(types.NamespacedName{Name: "shop"})
		if state := store.State(); known != keep || (state == observed.Synced) != keep {
			t.Errorf("keep %t: known %t, state %v", keep, known, state)
		}
		if more := len(denied); more > 0 {
			t.Errorf("keep %t: it is told %d times more", keep, more)
		}
		server.Close()
	}
}
