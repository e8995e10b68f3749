package rotation

import (
	"cmp"
	"fmt"
	"maps"
	"slices"
	"strings"
	"time"

	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/types"

	"github.com/s3-tls-injector/s3-tls-injector/pkg/ca"
	"github.com/s3-tls-injector/s3-tls-injector/pkg/settings"
)

// Limits bound what happens at once.
type Limits struct {
	// Pods is how many may be in replacement in the whole cluster: evicted, and the
	// new one not ready.
	Pods int
	// Ready is how long a new pod may take until its workload is given up on.
	Ready time.Duration
	// Settle is how long a CA must be unchanged, and the planner at work, before the
	// first pod goes.
	Settle time.Duration
}

// retry is how long to wait after an eviction that a PodDisruptionBudget, or an error, did not
// allow.
const retry = 10 * time.Second

// Cluster is what a plan is made from.
type Cluster struct {
	Pods []*Pod
	// Bundle returns the CA of a namespace; known is false where that cannot be told, and
	// the bundle nil where there is none.
	Bundle func(namespace string, what settings.CA) (bundle *ca.Bundle, known bool)
	// Changed returns when the object of a CA got the data that it has, zero where that cannot
	// be told.
	Changed func(namespace string, what settings.CA) time.Time
	// Restarts tells whether a pod asks to be replaced when its CA changes.
	Restarts func(p *Pod) bool
}

// Event is something to tell.
type Event struct {
	Regarding corev1.ObjectReference
	// Pod is the one that it is about where it regards the pod's owner, so that those of one
	// owner are told one by one.
	Pod    *corev1.ObjectReference
	Type   string
	Reason string
	Note   string
}

// Plan is what to do now.
type Plan struct {
	Evict  []*Pod
	Events []Event
	// Replaced and Stopped count, by namespace, what came of evictions since the last plan.
	Replaced, Stopped map[string]int
	// Busy: something is going on, so that the next plan should be made soon.
	Busy bool
}

// Planner makes plans. It does no input or output, and reads no clock.
type Planner struct {
	Limits Limits

	begun     time.Time // when it was first asked for a plan
	workloads map[workload]*replacement
	cas       map[place]*caState
	told      map[note]bool           // what is told once
	waiting   map[workload]time.Time  // since when it waits for a pod to be ready
	blocked   map[types.UID]time.Time // until when a pod is not tried again
}

// note is something that is told once of a pod or workload and a CA.
type note struct{ about, sha256 string }

type workload struct{ namespace, name string }

type place struct {
	namespace string
	settings.CA
}

// replacement is a pod that was evicted, and the wait for the one in its stead.
type replacement struct {
	evicted *Pod
	at      time.Time
	known   map[types.UID]bool // the pods of the workload before
	sha256  string             // of the CA that the new one is to carry
	gone    time.Time          // when the evicted one had ended
	stopped bool
}

// caState is a CA as it was last seen.
type caState struct {
	bundle *ca.Bundle
	since  time.Time
	old    *ca.Bundle // the one before it, where it was seen
	// What is told once of it.
	toldRefused, toldOverlap bool
}

// Stale tells whether a pod carries another CA than the one that is there now; known
// is false where that cannot be told. A pod that was created before its CA does not say which
// one it carries; it has the one that was there when it started.
func Stale(p *Pod, cluster *Cluster) (stale, known bool) {
	bundle, known := cluster.Bundle(p.Namespace, p.CA)
	if !known || bundle == nil {
		return false, false
	}
	return p.IsStale(bundle.SHA256, cluster.Changed(p.Namespace, p.CA))
}

// Plan says what to do now.
func (pl *Planner) Plan(cluster Cluster, now time.Time) Plan {
	plan := Plan{Replaced: map[string]int{}, Stopped: map[string]int{}}
	if pl.workloads == nil {
		pl.workloads, pl.cas, pl.told = map[workload]*replacement{}, map[place]*caState{}, map[note]bool{}
		pl.begun = now
		pl.waiting, pl.blocked = map[workload]time.Time{}, map[types.UID]time.Time{}
	}
	cluster.Bundle = once(cluster.Bundle)
	pl.observe(&cluster, now)
	pl.forget(&cluster)
	groups := map[workload][]*Pod{}
	for _, p := range cluster.Pods {
		if !p.Finished {
			key := workload{p.Namespace, p.Workload}
			groups[key] = append(groups[key], p)
		}
	}
	for key := range pl.workloads {
		pl.follow(&plan, key, groups[key], now)
	}
	var next []candidate
	others := 0 // workloads in which another one replaces a pod, such as the leader before this one
	for _, key := range slices.SortedFunc(maps.Keys(groups), workload.compare) {
		if pl.workloads[key] != nil {
			continue
		}
		c := pl.survey(&plan, &cluster, key, groups[key], now)
		switch waits, late := pl.waits(&plan, &c, now); {
		case len(c.stale) == 0 && c.pending != nil && now.Sub(pl.begun) < pl.Limits.Ready && cluster.Restarts(c.pending):
			others++ // the last one of its workload, maybe
		case len(c.stale) == 0:
		case !waits:
			next = append(next, c)
		case !late:
			others++
		}
	}
	for i := range next {
		if len(pl.workloads)+others >= pl.Limits.Pods {
			pl.tellHeld(&plan, &next[i])
			continue
		}
		pl.begin(&plan, &next[i], now)
	}
	plan.Busy = plan.Busy || len(pl.workloads) > 0 || len(next) > 0 || others > 0
	return plan
}

// once asks about each CA once, so that a plan is made from one state of it though CAs change
// meanwhile.
func once(ask func(string, settings.CA) (*ca.Bundle, bool)) func(string, settings.CA) (*ca.Bundle, bool) {
	type answer struct {
		bundle *ca.Bundle
		known  bool
	}
	answers := map[place]answer{}
	return func(namespace string, what settings.CA) (*ca.Bundle, bool) {
		at := place{namespace, what}
		if _, asked := answers[at]; !asked {
			bundle, known := ask(namespace, what)
			answers[at] = answer{bundle, known}
		}
		return answers[at].bundle, answers[at].known
	}
}

// observe notes the CAs that pods carry, and since when they are as they are.
func (pl *Planner) observe(cluster *Cluster, now time.Time) {
	used := map[place]bool{}
	pods := slices.Clone(cluster.Pods)
	for _, r := range pl.workloads {
		pods = append(pods, r.evicted) // there may be no other one of its workload
	}
	for _, p := range pods {
		at := place{p.Namespace, p.CA}
		if used[at] {
			continue
		}
		used[at] = true
		bundle, known := cluster.Bundle(p.Namespace, p.CA)
		if !known || bundle == nil {
			continue
		}
		switch seen := pl.cas[at]; {
		case seen == nil:
			pl.cas[at] = &caState{bundle: bundle, since: now}
		case seen.bundle.SHA256 != bundle.SHA256:
			pl.cas[at] = &caState{bundle: bundle, since: now, old: seen.bundle}
		}
	}
	maps.DeleteFunc(pl.cas, func(at place, _ *caState) bool { return !used[at] })
}

// forget drops notes about pods that are gone.
func (pl *Planner) forget(cluster *Cluster) {
	there, names := map[types.UID]bool{}, map[string]bool{}
	for key := range pl.workloads {
		names[key.String()] = true // its only pod may be gone for a moment
	}
	for _, p := range cluster.Pods {
		there[p.UID] = true
		names[string(p.UID)], names[workload{p.Namespace, p.Workload}.String()] = true, true
	}
	maps.DeleteFunc(pl.blocked, func(uid types.UID, _ time.Time) bool { return !there[uid] })
	maps.DeleteFunc(pl.told, func(n note, _ bool) bool { return !names[n.about] })
	maps.DeleteFunc(pl.waiting, func(w workload, _ time.Time) bool { return !names[w.String()] })
}

func (w workload) String() string { return w.namespace + "/" + w.name }

func (w workload) compare(o workload) int {
	return cmp.Or(cmp.Compare(w.namespace, o.namespace), cmp.Compare(w.name, o.name))
}

// follow looks how a replacement is getting on.
func (pl *Planner) follow(plan *Plan, key workload, pods []*Pod, now time.Time) {
	r := pl.workloads[key]
	state := pl.cas[place{key.namespace, r.evicted.CA}]
	if state != nil && state.bundle.SHA256 != r.sha256 {
		delete(pl.workloads, key) // the CA has changed once more
		return
	}
	old, fresh := r.find(pods)
	if old == nil && r.gone.IsZero() {
		r.gone = now
	}
	late := now.Sub(r.begun(old)) >= pl.Limits.Ready
	switch {
	case old == nil && fresh != nil && fresh.Ready:
		delete(pl.workloads, key)
		plan.Replaced[key.namespace]++
		if fresh.SHA256 == r.evicted.SHA256 {
			pl.same(plan, key, r, fresh)
		}
	case r.stopped && old == nil && len(pods) >= len(r.known) && allReady(pods):
		delete(pl.workloads, key) // somebody has mended it
	case late && !r.stopped && old != nil:
		pl.stop(plan, r, fmt.Sprintf("%q was evicted and does not end; no other pod is replaced until it has", old.Name))
	case late && !r.stopped:
		pl.stop(plan, r, fmt.Sprintf("no new pod in place of %q was ready within %s; no other one is replaced until it is", r.evicted.Name, pl.Limits.Ready))
	}
}

// same notes that a new pod says the CA of the one before. Once that can be a replica of the
// injector that was told late of the new CA; twice it is the template, and would go on for ever.
func (pl *Planner) same(plan *Plan, key workload, r *replacement, fresh *Pod) {
	if once := (note{key.String(), "same " + r.sha256}); !pl.told[once] {
		pl.told[once] = true
		return
	}
	pl.told[note{key.String(), r.sha256}] = true
	pl.stop(plan, r, fmt.Sprintf("the new pod %q says the same CA as before: its template sets s3-tls/ca-sha256; remove it there", fresh.Name))
}

// find returns the evicted pod while it is there, and a new one, one that is ready before
// one that is not.
func (r *replacement) find(pods []*Pod) (old, fresh *Pod) {
	for _, p := range pods {
		switch {
		case p.UID == r.evicted.UID:
			old = p
		case !r.known[p.UID] && (fresh == nil || p.Ready):
			fresh = p
		}
	}
	return old, fresh
}

// begun returns when the wait began: a pod may take its time to end.
func (r *replacement) begun(old *Pod) time.Time {
	switch {
	case old == nil:
		return r.gone
	case old.Ends.After(r.at):
		return old.Ends
	default:
		return r.at
	}
}

func (pl *Planner) stop(plan *Plan, r *replacement, note string) {
	r.stopped = true
	plan.Stopped[r.evicted.Namespace]++
	plan.Events = append(plan.Events, r.evicted.event(corev1.EventTypeWarning, "RotationStopped", note))
}

func allReady(pods []*Pod) bool {
	return !slices.ContainsFunc(pods, func(p *Pod) bool { return !p.Ready })
}

// candidate is a workload of which a pod may be replaced.
type candidate struct {
	key  workload
	pods []*Pod
	// stale are those that are to be replaced.
	stale []*Pod
	// pending is one that is about to be there, or about to be gone.
	pending *Pod
}

// survey looks which pods of a workload are to be replaced.
func (pl *Planner) survey(plan *Plan, cluster *Cluster, key workload, pods []*Pod, now time.Time) candidate {
	c := candidate{key: key, pods: pods}
	for _, p := range pods {
		isStale, _ := Stale(p, cluster)
		switch {
		case p.Ending, !isStale && !p.Ready:
			c.pending = p
		case isStale && cluster.Restarts(p) && pl.mayGo(plan, p, now):
			c.stale = append(c.stale, p)
		}
	}
	return c
}

// waits tells whether a workload has to wait for a pod to be ready or gone, and where that
// takes too long, tells of it.
func (pl *Planner) waits(plan *Plan, c *candidate, now time.Time) (waits, late bool) {
	if len(c.stale) == 0 || c.pending == nil {
		delete(pl.waiting, c.key)
		return false, false
	}
	if _, ok := pl.waiting[c.key]; !ok {
		pl.waiting[c.key] = now
	}
	since, note := pl.waiting[c.key], fmt.Sprintf("%q is not ready; no other pod is replaced until it is", c.pending.Name)
	if c.pending.Ending {
		since, note = later(since, c.pending.Ends), fmt.Sprintf("%q does not end; no other pod is replaced until it has", c.pending.Name)
	}
	late = now.Sub(since) >= pl.Limits.Ready
	if late && pl.tellOnce(plan, string(c.pending.UID), "waiting", c.stale[0].event(corev1.EventTypeWarning, "RotationStopped", note)) {
		plan.Stopped[c.key.namespace]++
	}
	return true, late
}

func later(a, b time.Time) time.Time {
	if a.After(b) {
		return a
	}
	return b
}

// tellHeld tells a workload once that it waits for others that stopped, where nothing but those
// is in its way.
func (pl *Planner) tellHeld(plan *Plan, c *candidate) {
	var stopped []string
	for key, r := range pl.workloads {
		if r.stopped {
			stopped = append(stopped, key.String())
		}
	}
	if len(stopped) < pl.Limits.Pods {
		return
	}
	slices.Sort(stopped)
	pl.tellOnce(plan, c.key.String(), "held", c.stale[0].event(corev1.EventTypeWarning, "RotationWaiting",
		fmt.Sprintf("no pod is replaced: the replacements in %s stopped, and no more are begun until one of them is mended", strings.Join(stopped, ", "))))
}

// begin begins with the next pod of a workload.
func (pl *Planner) begin(plan *Plan, c *candidate, now time.Time) {
	// A pod that is not ready serves nobody. Of the others the last goes first, as StatefulSets do it.
	next := slices.MinFunc(c.stale, func(a, b *Pod) int {
		last := cmp.Or(-cmp.Compare(len(a.Name), len(b.Name)), -cmp.Compare(a.Name, b.Name))
		if !a.Ready && !b.Ready {
			last = -last // a StatefulSet creates a pod when those before it are ready
		}
		return cmp.Or(compareReady(a, b), last)
	})
	sha256 := pl.cas[place{next.Namespace, next.CA}].bundle.SHA256
	if now.Before(pl.blocked[next.UID]) || pl.told[note{c.key.String(), sha256}] {
		return
	}
	known := map[types.UID]bool{}
	for _, p := range c.pods {
		known[p.UID] = true
	}
	pl.workloads[c.key] = &replacement{evicted: next, at: now, known: known, sha256: sha256}
	plan.Evict = append(plan.Evict, next)
}

func compareReady(a, b *Pod) int {
	switch {
	case a.Ready == b.Ready:
		return 0
	case b.Ready:
		return -1
	default:
		return 1
	}
}

// mayGo tells whether a stale pod may be replaced by now, and tells once why not.
func (pl *Planner) mayGo(plan *Plan, p *Pod, now time.Time) bool {
	state := pl.cas[place{p.Namespace, p.CA}]
	if why := p.kept(); why != "" {
		pl.tellOnce(plan, string(p.UID), state.bundle.SHA256, Event{Regarding: p.reference(), Type: corev1.EventTypeNormal, Reason: "RotationSkipped", Note: "the CA has changed: " + why})
		return false
	}
	if judgement := state.bundle.Judge("", now); !judgement.Verdict.Trusted() {
		if !state.toldRefused {
			state.toldRefused = true
			plan.Events = append(plan.Events, p.caEvent("RotationRefused", "the new CA is of no use, so no pod is replaced: "+judgement.Cause()))
		}
		return false
	}
	if now.Sub(state.since) < pl.Limits.Settle {
		plan.Busy = true
		return false
	}
	if state.old != nil && !state.toldOverlap && state.bundle.Replaces(state.old, now) {
		state.toldOverlap = true
		plan.Events = append(plan.Events, p.caEvent("RotationWithoutOverlap",
			"the new CA does not hold the old one: until all pods are replaced, some trust only one of them. Keep both in the file while you change the CA"))
	}
	return true
}

// tellOnce tells what was not told yet, and whether that was so.
func (pl *Planner) tellOnce(plan *Plan, about, sha256 string, event Event) bool {
	key := note{about, sha256}
	if pl.told[key] {
		return false
	}
	pl.told[key] = true
	plan.Events = append(plan.Events, event)
	return true
}

// Blocked notes that an eviction was not allowed, for now.
func (pl *Planner) Blocked(p *Pod, now time.Time) (first bool) {
	delete(pl.workloads, workload{p.Namespace, p.Workload})
	_, before := pl.blocked[p.UID]
	pl.blocked[p.UID] = now.Add(retry)
	return !before
}

func (p *Pod) reference() corev1.ObjectReference {
	return corev1.ObjectReference{APIVersion: "v1", Kind: "Pod", Namespace: p.Namespace, Name: p.Name, UID: p.UID}
}

// event is one about a pod that regards its owner.
func (p *Pod) event(kind, reason, note string) Event {
	owner := corev1.ObjectReference{APIVersion: p.Owner.APIVersion, Kind: p.Owner.Kind, Namespace: p.Namespace, Name: p.Owner.Name, UID: p.Owner.UID}
	pod := p.reference()
	return Event{Regarding: owner, Pod: &pod, Type: kind, Reason: reason, Note: note}
}

// caEvent is a warning about the object that holds a pod's CA.
func (p *Pod) caEvent(reason, note string) Event {
	return Event{
		Regarding: corev1.ObjectReference{APIVersion: "v1", Kind: p.CA.Kind.ObjectKind(), Namespace: p.Namespace, Name: p.CA.Name},
		Type:      corev1.EventTypeWarning, Reason: reason, Note: note,
	}
}
