package rotation

import (
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/pem"
	"fmt"
	"math/big"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"

	"github.com/s3-tls-injector/s3-tls-injector/pkg/ca"
	"github.com/s3-tls-injector/s3-tls-injector/pkg/podinfo"
	"github.com/s3-tls-injector/s3-tls-injector/pkg/settings"
)

var (
	start  = time.Date(2026, 1, 1, 0, 0, 0, 0, time.UTC)
	source = settings.CA{Kind: settings.Secret, Name: "s3-tls-cert", Key: "ca.crt"}
)

// newCA returns a CA that is valid for a year, as PEM.
func newCA(t *testing.T, notAfter time.Time) string {
	t.Helper()
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	template := &x509.Certificate{
		SerialNumber: big.NewInt(1), Subject: pkix.Name{CommonName: "S3 CA"}, IsCA: true, BasicConstraintsValid: true,
		NotBefore: start.Add(-time.Hour), NotAfter: notAfter,
	}
	der, err := x509.CreateCertificate(rand.Reader, template, template, key.Public(), key)
	if err != nil {
		t.Fatal(err)
	}
	return string(pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: der}))
}

// world is a cluster whose controllers create each pod again at the next step, and
// whose pods are ready some steps later.
type world struct {
	t       *testing.T
	planner *Planner
	now     time.Time
	ca      string // the file in every namespace
	changed time.Time
	pods    []*Pod
	age     map[types.UID]int
	made    int

	// slow is how many steps a new pod needs to be ready; -1: it never is.
	slow int
	// absent is how many steps go by until a pod is created again.
	absent int
	// fixed: the template says the CA's SHA-256 itself.
	fixed bool
	// asks tells whether pods ask to be replaced.
	asks bool

	coming []coming
	log    []string
	stops  int
	// atOnce is the most pods that were not ready at one time, by workload and in all.
	atOnce map[string]int
}

func newWorld(t *testing.T) *world {
	t.Helper()
	w := &world{
		t: t, now: start, ca: newCA(t, start.AddDate(1, 0, 0)), asks: true, slow: 2, age: map[types.UID]int{}, atOnce: map[string]int{},
		planner: &Planner{Limits: Limits{Pods: 3, Ready: time.Minute, Settle: 10 * time.Second}},
	}
	return w
}

// coming is a pod that is created in some steps.
type coming struct {
	pod   *Pod
	steps int
}

// add adds ready pods of a workload: "StatefulSet/store".
func (w *world) add(name string, replicas int, tweak func(*Pod)) {
	for i := range replicas {
		p := w.newPod(name, fmt.Sprintf("%s-%d", name[strings.Index(name, "/")+1:], i))
		p.Ready = true
		if tweak != nil {
			tweak(p)
		}
		w.pods = append(w.pods, p)
	}
}

func (w *world) newPod(name, pod string) *Pod {
	w.made++
	kind, owner, _ := strings.Cut(name, "/")
	return &Pod{
		NamespacedName: types.NamespacedName{Namespace: "shop", Name: pod}, UID: types.UID(fmt.Sprint("uid-", w.made)),
		Owner: &metav1.OwnerReference{Kind: kind, Name: owner}, Workload: name, CA: source, Carried: podinfo.Carried{SHA256: ca.Parse([]byte(w.ca)).SHA256},
	}
}

// rotate puts another CA in place.
func (w *world) rotate(file string) { w.ca, w.changed = file, w.now }

// step lets a second go by.
func (w *world) step() {
	w.now = w.now.Add(time.Second)
	bundle := ca.Parse([]byte(w.ca))
	plan := w.planner.Plan(Cluster{
		Pods:     slices.Clone(w.pods),
		Bundle:   func(string, settings.CA) (*ca.Bundle, bool) { return bundle, true },
		Changed:  func(string, settings.CA) time.Time { return w.changed },
		Restarts: func(*Pod) bool { return w.asks },
	}, w.now)
	for _, n := range plan.Stopped {
		w.stops += n
	}
	for _, e := range plan.Events {
		w.log = append(w.log, e.Reason+": "+e.Note)
	}
	for _, evicted := range plan.Evict {
		w.log = append(w.log, "evict "+evicted.Name)
		at := slices.IndexFunc(w.pods, func(p *Pod) bool { return p.UID == evicted.UID })
		if at < 0 {
			w.t.Fatalf("pod %s is evicted twice", evicted.Name)
		}
		again := w.newPod(evicted.Workload, evicted.Name)
		if w.fixed {
			again.SHA256 = evicted.SHA256
		}
		w.pods = slices.Delete(w.pods, at, at+1)
		w.coming = append(w.coming, coming{again, w.absent})
	}
	var later []coming
	for _, c := range w.coming {
		if c.steps == 0 {
			w.pods = append(w.pods, c.pod)
		} else {
			later = append(later, coming{c.pod, c.steps - 1})
		}
	}
	w.coming = later
	unready := map[string]int{}
	for _, c := range w.coming {
		unready[c.pod.Workload]++
		unready["all"]++
	}
	for _, p := range w.pods {
		if w.age[p.UID]++; w.slow >= 0 && w.age[p.UID] > w.slow {
			p.Ready = true
		}
		if !p.Ready {
			unready[p.Workload]++
			unready["all"]++
		}
	}
	for name, n := range unready {
		w.atOnce[name] = max(w.atOnce[name], n)
	}
}

func (w *world) steps(n int) {
	for range n {
		w.step()
	}
}

func (w *world) stale() int {
	n := 0
	for _, p := range w.pods {
		if p.SHA256 != ca.Parse([]byte(w.ca)).SHA256 {
			n++
		}
	}
	return n
}

func (w *world) expect(want ...string) {
	w.t.Helper()
	if diff := cmp.Diff(want, w.log); diff != "" {
		w.t.Errorf("what happened (-want +got):\n%s", diff)
	}
}

// rotated returns a world with a workload, whose CA has just changed with an overlap.
func rotated(t *testing.T, name string, replicas int) *world {
	t.Helper()
	w := newWorld(t)
	w.add(name, replicas, nil)
	w.steps(20)
	w.rotate(renewed(t) + w.ca)
	return w
}

func renewed(t *testing.T) string { t.Helper(); return newCA(t, start.AddDate(2, 0, 0)) }

func TestOnePodAtATime(t *testing.T) {
	w := rotated(t, "StatefulSet/store", 3)
	w.steps(10)
	w.expect() // it settles first
	w.steps(40)
	w.expect("evict store-2", "evict store-1", "evict store-0")
	if w.stale() > 0 || w.atOnce["StatefulSet/store"] != 1 {
		t.Errorf("%d stale, %d at once", w.stale(), w.atOnce["StatefulSet/store"])
	}
	w.steps(100)
	w.expect("evict store-2", "evict store-1", "evict store-0")
}

func TestNothingHappensWithoutAChangeOrAWish(t *testing.T) {
	w := newWorld(t)
	w.add("StatefulSet/store", 2, nil)
	w.steps(100)
	w.asks = false
	w.rotate(renewed(t))
	w.steps(100)
	w.expect()
}

func TestLimitForTheCluster(t *testing.T) {
	w := newWorld(t)
	for i := range 10 {
		w.add(fmt.Sprintf("Deployment/app%d", i), 2, nil)
	}
	w.steps(20)
	w.rotate(renewed(t) + w.ca)
	w.steps(200)
	if w.stale() > 0 || w.atOnce["all"] != 3 {
		t.Errorf("%d stale, %d at once", w.stale(), w.atOnce["all"])
	}
}

func TestStopsWhereTheNewPodIsNotReady(t *testing.T) {
	w := rotated(t, "StatefulSet/store", 3)
	w.slow = -1
	w.steps(300)
	stopped := `RotationStopped: no new pod in place of "store-2" was ready within 1m0s; no other one is replaced until it is`
	w.expect("evict store-2", stopped)
	w.slow = 0
	w.steps(20)
	w.expect("evict store-2", stopped, "evict store-1", "evict store-0")
}

// The pod that does not become ready with a wrong CA is the first to be given the right one.
func TestAnotherChangeHealsAStoppedWorkload(t *testing.T) {
	w := rotated(t, "StatefulSet/store", 2)
	w.slow = -1
	w.steps(100)
	w.rotate(renewed(t) + w.ca)
	w.slow = 2
	for _, p := range w.pods {
		w.age[p.UID] = -1000 // the broken one stays so
	}
	w.steps(60)
	w.expect("evict store-1", `RotationStopped: no new pod in place of "store-1" was ready within 1m0s; no other one is replaced until it is`,
		"evict store-1", "evict store-0")
}

func TestResumesAfterItsOwnRestart(t *testing.T) {
	w := rotated(t, "StatefulSet/store", 3)
	w.slow = 30
	w.steps(12)
	w.expect("evict store-2")
	w.planner = &Planner{Limits: w.planner.Limits}
	w.steps(200)
	w.expect("evict store-2", "evict store-1", "evict store-0")
	if w.atOnce["StatefulSet/store"] != 1 {
		t.Errorf("%d at once", w.atOnce["StatefulSet/store"])
	}
}

func TestWaitsForAPodThatIsNotReadyAndTellsSo(t *testing.T) {
	w := rotated(t, "StatefulSet/store", 2)
	w.slow = -1
	w.pods[1] = w.newPod("StatefulSet/store", "store-1") // somebody deleted it
	w.steps(200)
	w.expect(`RotationStopped: "store-1" is not ready; no other pod is replaced until it is`)
	if w.stops != 1 {
		t.Errorf("%d stops are counted", w.stops)
	}
}

func TestWaitsForAPodThatSomebodyElseEndsAndTellsSo(t *testing.T) {
	w := rotated(t, "StatefulSet/store", 2)
	w.pods[1].Ending, w.pods[1].Ends = true, w.now.Add(100*time.Second)
	w.steps(150)
	w.expect()
	w.steps(50)
	w.expect(`RotationStopped: "store-1" does not end; no other pod is replaced until it has`)
}

// What the leader before has begun counts for the limit.
func TestANewLeaderCountsWhatIsInProgress(t *testing.T) {
	w := newWorld(t)
	for i := range 10 {
		w.add(fmt.Sprintf("Deployment/app%d", i), 3, nil)
	}
	w.steps(20)
	w.rotate(renewed(t) + w.ca)
	w.slow = 30
	for w.stale() > 0 {
		w.steps(15)
		w.planner = &Planner{Limits: w.planner.Limits}
		w.steps(40)
	}
	if w.atOnce["all"] != 3 {
		t.Errorf("%d at once", w.atOnce["all"])
	}
}

func TestTellsThoseThatWaitForStoppedOnes(t *testing.T) {
	w := newWorld(t)
	for i := range 4 {
		w.add(fmt.Sprintf("StatefulSet/app%d", i), 1, nil)
	}
	w.steps(20)
	w.rotate(renewed(t) + w.ca)
	w.slow = -1
	w.steps(300)
	if n := len(w.log); n != 7 || w.log[6] != "RotationWaiting: no pod is replaced: the replacements in shop/StatefulSet/app0, shop/StatefulSet/app1, shop/StatefulSet/app2 stopped, and no more are begun until one of them is mended" {
		t.Errorf("%q", w.log)
	}
}

// A pod that was created before its CA carries the one that was there when it started.
func TestAPodThatDoesNotSayItsCA(t *testing.T) {
	w := newWorld(t)
	w.add("StatefulSet/store", 1, func(p *Pod) { p.SHA256, p.Started = "", start.Add(time.Second) })
	w.add("StatefulSet/rule", 1, func(p *Pod) { p.SHA256 = "" }) // it has not started
	w.changed = start
	w.steps(50)
	w.expect()
	w.rotate(renewed(t) + w.ca)
	w.steps(50)
	w.expect("evict store-0")
}

func TestAStalePodThatIsNotReadyGoesFirst(t *testing.T) {
	w := rotated(t, "StatefulSet/store", 3)
	w.pods[0].Ready, w.age[w.pods[0].UID] = false, -1000
	w.steps(60)
	w.expect("evict store-0", "evict store-2", "evict store-1")
}

// The only pod of a workload is replaced too, and waited for where it does not come again.
func TestTheOnlyPodIsWaitedFor(t *testing.T) {
	w := rotated(t, "StatefulSet/compact", 1)
	w.absent = 100
	w.steps(200)
	w.expect("evict compact-0", `RotationStopped: no new pod in place of "compact-0" was ready within 1m0s; no other one is replaced until it is`)
	if len(w.planner.workloads) != 0 {
		t.Error("the new pod came late, and is waited for still")
	}

	w = rotated(t, "StatefulSet/rule", 1)
	w.absent, w.slow = 20, -1
	w.steps(200)
	w.expect("evict rule-0", `RotationStopped: no new pod in place of "rule-0" was ready within 1m0s; no other one is replaced until it is`)
}

func TestPodsThatAreKept(t *testing.T) {
	for name, tt := range map[string]struct {
		tweak func(*Pod)
		want  string
	}{
		"nothing would create it":       {func(p *Pod) { p.Owner = nil }, "RotationSkipped: the CA has changed: nothing would create the pod again; delete and create it to give it the new CA"},
		"a Job's":                       {func(p *Pod) { p.Owner.Kind = "Job" }, "RotationSkipped: the CA has changed: a Job counts an evicted pod as a failure; its next pod has the new CA"},
		"a compactor of a ReplicaSet":   {func(p *Pod) { p.Owner.Kind, p.Alone = "ReplicationController", true }, "RotationSkipped: the CA has changed: two Thanos compactors would run for a moment; run it as a StatefulSet, or scale it to 0 and back"},
		"a compactor of a StatefulSet":  {func(p *Pod) { p.Alone = true }, "evict x-0"},
		"one that runs once":            {func(p *Pod) { p.Owner.Kind, p.Once = "Workflow", true }, "RotationSkipped: the CA has changed: the pod runs once, and its owner would count it as a failure"},
		"one of an operator's own kind": {func(p *Pod) { p.Owner.Kind = "ThanosStore" }, "evict x-0"},
	} {
		t.Run(name, func(t *testing.T) {
			w := newWorld(t)
			w.add("StatefulSet/x", 1, tt.tweak)
			w.steps(20)
			w.rotate(renewed(t) + w.ca)
			w.steps(50)
			w.expect(tt.want)
		})
	}
}

func TestABadCAReplacesNothing(t *testing.T) {
	for name, tt := range map[string]struct{ file, want string }{
		"no certificate": {"hello", "it holds no PEM certificate"},
		"expired":        {newCA(t, start.Add(-time.Minute)), "certificate 1 (S3 CA) expired on 2025-12-31"},
	} {
		t.Run(name, func(t *testing.T) {
			w := newWorld(t)
			w.add("StatefulSet/store", 2, nil)
			w.steps(20)
			good := w.ca
			w.rotate(tt.file)
			w.steps(100)
			refused := "RotationRefused: the new CA is of no use, so no pod is replaced: " + tt.want
			w.expect(refused)
			w.rotate(good)
			w.steps(100)
			w.expect(refused)
		})
	}
}

func TestTellsOfANewCAThatDoesNotHoldTheOldOne(t *testing.T) {
	w := newWorld(t)
	w.add("StatefulSet/store", 1, nil)
	w.steps(20)
	w.rotate(renewed(t))
	w.steps(50)
	w.expect("RotationWithoutOverlap: the new CA does not hold the old one: until all pods are replaced, some trust only one of them. Keep both in the file while you change the CA", "evict store-0")
}

// A CA that comes while the plan is made counts in the next one.
func TestACAThatChangesWhileThePlanIsMade(t *testing.T) {
	w := newWorld(t)
	w.add("StatefulSet/store", 1, nil)
	appeared := ca.Parse([]byte(renewed(t)))
	asked := 0
	plan := w.planner.Plan(Cluster{
		Pods: w.pods,
		Bundle: func(string, settings.CA) (*ca.Bundle, bool) {
			if asked++; asked == 1 {
				return nil, true
			}
			return appeared, true
		},
		Changed:  func(string, settings.CA) time.Time { return w.changed },
		Restarts: func(*Pod) bool { return true },
	}, w.now)
	if len(plan.Evict) > 0 || asked != 1 {
		t.Errorf("asked %d times, evicted %v", asked, plan.Evict)
	}
}

// A template that says the CA's SHA-256 itself makes pods that seem stale for ever.
func TestATemplateThatFixesTheSHA256IsNotReplacedForEver(t *testing.T) {
	w := rotated(t, "StatefulSet/store", 3)
	w.fixed = true
	w.steps(500)
	w.expect("evict store-2", "evict store-2", `RotationStopped: the new pod "store-2" says the same CA as before: its template sets s3-tls/ca-sha256; remove it there`)
}

func TestABlockedEvictionIsTriedAgainLater(t *testing.T) {
	w := rotated(t, "StatefulSet/store", 1)
	var tries []time.Duration
	pod, rotated := w.pods[0], w.now
	for range 60 {
		before := len(w.log)
		w.step()
		if len(w.log) > before {
			if first := w.planner.Blocked(pod, w.now); first != (len(tries) == 0) {
				t.Errorf("try %d: first %v", len(tries), first)
			}
			w.pods[0] = pod
			tries = append(tries, w.now.Sub(rotated))
		}
	}
	if diff := cmp.Diff([]time.Duration{11 * time.Second, 21 * time.Second, 31 * time.Second, 41 * time.Second, 51 * time.Second}, tries); diff != "" {
		t.Error(diff)
	}
}

// A pod that takes long to end, as a Thanos receive does, is waited for.
func TestAPodMayTakeItsTimeToEnd(t *testing.T) {
	w := rotated(t, "StatefulSet/receive", 2)
	w.steps(11)
	w.expect("evict receive-1")
	fresh := w.pods[1]
	old := w.newPod("StatefulSet/receive", "receive-1")
	old.UID, old.SHA256, old.Ending, old.Ends = w.planner.workloads[workload{"shop", "StatefulSet/receive"}].evicted.UID, "old", true, w.now.Add(5*time.Minute)
	w.pods[1] = old
	w.steps(300)
	w.expect("evict receive-1")
	w.pods[1] = fresh
	w.steps(20)
	w.expect("evict receive-1", "evict receive-0")
}

// Nobody knows whether a pod that does not come again was refused or is not wanted any more: the
// others stay.
func TestAWorkloadThatLosesPodsIsLeftAlone(t *testing.T) {
	w := newWorld(t)
	w.add("StatefulSet/store", 2, nil)
	w.add("StatefulSet/rule", 1, nil)
	w.steps(20)
	w.rotate(renewed(t) + w.ca)
	w.steps(11)
	w.expect("evict rule-0", "evict store-1")
	w.pods = w.pods[:1] // rule has none left, store one
	w.steps(100)
	stopped := "RotationStopped: no new pod in place of %q was ready within 1m0s; no other one is replaced until it is"
	if len(w.log) != 4 || !slices.Contains(w.log, fmt.Sprintf(stopped, "store-1")) || w.pods[0].Name != "store-0" {
		t.Errorf("%q", w.log)
	}
}
