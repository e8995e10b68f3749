package apiserver

import (
	"fmt"
	"io"
	"net"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/s3-tls-injector/s3-tls-injector/e2e/localcluster"
)

// proxy leads connections to addresses in turns. While it is held, nothing that
// an address sends comes through.
type proxy struct {
	listener  net.Listener
	addresses []string
	next      atomic.Int64
	hold      sync.RWMutex
}

func newProxy(t *testing.T, addresses ...string) *proxy {
	t.Helper()
	listener, err := (&net.ListenConfig{}).Listen(t.Context(), "tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	p := &proxy{listener: listener, addresses: addresses}
	t.Cleanup(func() { _ = listener.Close() })
	go func() {
		for {
			conn, err := listener.Accept()
			if err != nil {
				return
			}
			go p.lead(conn)
		}
	}()
	return p
}

func (p *proxy) port() string {
	_, port, _ := net.SplitHostPort(p.listener.Addr().String())
	return port
}

func (p *proxy) lead(from net.Conn) {
	defer from.Close()
	address := p.addresses[int(p.next.Add(1))%len(p.addresses)]
	to, err := net.Dial("tcp", address)
	if err != nil {
		return
	}
	defer to.Close()
	go func() {
		_, _ = io.Copy(to, from)
		_ = to.Close()
	}()
	buffer := make([]byte, 32<<10)
	for {
		n, err := to.Read(buffer)
		p.hold.RLock()
		_, writeErr := from.Write(buffer[:n])
		p.hold.RUnlock()
		if err != nil || writeErr != nil {
			return
		}
	}
}

// A replica that has not been told of a policy yet, and is sent a pod for it,
// answers when it has been told: no pod is refused, and none is missed.
func TestReplicaThatLagsBehindWaits(t *testing.T) {
	own := ownCluster(t)
	var ports [2]string
	for i := range ports {
		port, err := localcluster.FreePort(t.Context())
		if err != nil {
			t.Fatal(err)
		}
		ports[i] = port
	}
	service := newProxy(t, "127.0.0.1:"+ports[0], "127.0.0.1:"+ports[1])
	if err := own.Install(t.Context(), service.port()); err != nil {
		t.Fatal(err)
	}
	leader, err := own.StartInjector(t.Context(), program, ports[0], "--service-port="+service.port(), "--drain=0s")
	if err != nil {
		t.Fatal(err)
	}
	api := newProxy(t, strings.Trim(strings.TrimPrefix(own.Config.Host, "https:"), "/"))
	lagging, err := own.StartInjectorVia(t.Context(), "https://127.0.0.1:"+api.port(), program, ports[1], "--service-port="+service.port(), "--drain=0s")
	if err != nil {
		t.Fatal(err)
	}
	c, err := client.New(own.Config, client.Options{})
	if err != nil {
		t.Fatal(err)
	}
	namespace := newNamespace(t, c, map[string]string{"lag": "true"}, nil)
	within(t, 30*time.Second, "both replicas to answer", func() error { // the second knows the namespace then, too
		var creating sync.WaitGroup
		for range 10 { // at once, or one connection leads all of them to one replica
			creating.Go(func() {
				if err := c.Create(t.Context(), newPod(namespace, optIn), client.DryRunAll); err != nil {
					t.Error(err)
				}
			})
		}
		creating.Wait()
		if reviewsOf(t, leader) == 0 || reviewsOf(t, lagging) == 0 {
			return fmt.Errorf("the leader has answered %d, the other %d", reviewsOf(t, leader), reviewsOf(t, lagging))
		}
		return nil
	})

	api.hold.Lock()
	const policy = "apiVersion: policy.s3-tls/v1alpha1\nkind: InjectionPolicy\nmetadata: {name: lag}\n" +
		"spec: {namespaceSelector: {matchLabels: {lag: 'true'}}, ca: {secret: {name: s3-tls-cert}}}"
	if _, stderr, err := own.Kubectl(t.Context(), policy, "apply", "-f", "-"); err != nil {
		t.Fatalf("%v: %s", err, stderr)
	}
	if _, stderr, err := own.Kubectl(t.Context(), "", "wait", "--for=condition=Ready", "--timeout=20s", "injectionpolicy/lag"); err != nil {
		t.Fatalf("%v: %s", err, stderr)
	}
	before := reviewsOf(t, lagging)
	var creating sync.WaitGroup
	for i := range 20 {
		creating.Go(func() {
			pod := newPod(namespace, nil)
			pod.Name = fmt.Sprintf("lag-%d", i)
			if err := c.Create(t.Context(), pod); err != nil {
				t.Errorf("%s is refused: %v", pod.Name, err)
			} else if !carriesCA(&pod.Spec.Containers[0]) {
				t.Errorf("%s is missed", pod.Name)
			}
		})
	}
	time.Sleep(time.Second)
	api.hold.Unlock()
	creating.Wait()
	if reviewsOf(t, lagging) == before {
		t.Error("the replica that lags behind was sent no pod, so nothing is shown")
	}
}
