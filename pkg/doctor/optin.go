package doctor

import (
	"cmp"
	"fmt"
	"maps"
	"slices"
	"strings"

	"github.com/s3-tls-injector/s3-tls-injector/pkg/api/v1alpha1"
	"github.com/s3-tls-injector/s3-tls-injector/pkg/inject"
)

func checkOptIn(s *Snapshot) []Finding {
	var found []Finding
	for _, name := range slices.Sorted(maps.Keys(s.Namespaces)) {
		found = append(found, checkNamespace(name, s.Namespaces[name])...)
	}
	for _, w := range s.Workloads {
		found = append(found, w.checkOptIn(s)...)
	}
	for _, p := range s.Pods {
		found = append(found, p.checkOptIn(s)...)
	}
	return found
}

func checkNamespace(name string, n *Namespace) []Finding {
	if n.Exempt {
		return nil
	}
	at := Target{Object: "Namespace/" + name}
	fix := labelNamespace(name)
	var found []Finding
	misspelt := func(format string, args ...any) {
		found = append(found, newFinding(InjectMisspelt, at, fmt.Sprintf(format, args...), fix))
	}
	if value, ok := n.Labels[v1alpha1.Inject]; ok && value != "true" && value != "false" {
		misspelt("its label %s is %q, which is neither \"true\" nor \"false\"", v1alpha1.Inject, value)
	}
	for _, key := range Lookalikes(n.Labels) {
		misspelt("its label %s is nearly %s", key, v1alpha1.Inject)
	}
	if _, labelled := n.Labels[v1alpha1.Inject]; !labelled {
		if _, annotated := n.Annotations[v1alpha1.Inject]; annotated {
			misspelt("%s is an annotation of it; of a namespace only a label counts", v1alpha1.Inject)
		}
	}
	return found
}

func (w *Workload) checkOptIn(s *Snapshot) []Finding {
	var found []Finding
	_, onTemplate := w.TemplateAnnotations[v1alpha1.Inject]
	value, onWorkload := w.Annotations[v1alpha1.Inject]
	injected := w.Decision.Decision == inject.Injected // by its namespace or a policy: what was meant is done
	if meant := injected && value == "true"; onWorkload && !onTemplate && !meant {
		found = append(found, newFinding(InjectOnWorkload, w.target(),
			fmt.Sprintf("the annotation %s is on the %s instead of its pod template", v1alpha1.Inject, w.kind()), w.annotate(value)))
	}
	if value, ok := w.TemplateLabels[v1alpha1.Inject]; ok && !onTemplate && !injected {
		found = append(found, newFinding(InjectAsLabel, w.target(), v1alpha1.Inject+" is a label of its pods; only an annotation counts", w.annotate(value)))
	}
	if !onTemplate && !injected {
		for _, key := range Lookalikes(w.TemplateAnnotations) {
			found = append(found, newFinding(InjectMisspelt, w.target(), fmt.Sprintf("the annotation %s of its pods is nearly %s", key, v1alpha1.Inject), w.annotate("true")))
		}
	}
	switch {
	case w.Decision.Decision == inject.Refused:
		found = append(found, newFinding(PodRefused, w.target(), "its pods are refused: "+strings.Join(w.Decision.Mistakes, "; "),
			fmt.Sprintf("kubectl -n %s edit %s", w.Namespace, strings.ToLower(w.Name))))
	case w.CreateFailed != "" && !s.createdSince(w):
		found = append(found, newFinding(PodRefused, w.target(), "its pods are refused: "+w.CreateFailed,
			fmt.Sprintf("kubectl -n %s describe %s", w.Namespace, strings.ToLower(w.Name))))
	}
	return found
}

// createdSince tells whether a pod of a workload was created after one was refused.
func (s *Snapshot) createdSince(w *Workload) bool {
	return !w.CreateFailedAt.IsZero() && slices.ContainsFunc(s.Pods, func(p *Pod) bool {
		return p.Namespace == w.Namespace && p.Workload == w.Name && p.Created.After(w.CreateFailedAt)
	})
}

func (w *Workload) kind() string {
	kind, _, _ := strings.Cut(w.Name, "/")
	return kind
}

// annotate is the command that puts the annotation where it counts.
func (w *Workload) annotate(value string) string {
	if value != "false" {
		value = "true"
	}
	if w.Owner != "" { // which would take the annotation away again
		return labelNamespace(w.Namespace)
	}
	template := fmt.Sprintf(`{"template":{"metadata":{"annotations":{%q:%q}}}}`, v1alpha1.Inject, value)
	if w.kind() == "CronJob" {
		template = fmt.Sprintf(`{"jobTemplate":{"spec":%s}}`, template)
	}
	return fmt.Sprintf(`kubectl -n %s patch %s --type merge -p '{"spec":%s}'`, w.Namespace, strings.ToLower(w.Name), template)
}

// checkSpelling tells of a pod without a workload what was meant to opt it in.
func (p *Pod) checkSpelling() []Finding {
	if _, annotated := p.Annotations[v1alpha1.Inject]; annotated {
		return nil
	}
	fix := fmt.Sprintf("kubectl -n %s annotate pod %s %s=true && %s", p.Namespace, p.Name, v1alpha1.Inject, p.restart())
	if value, ok := p.Labels[v1alpha1.Inject]; ok && value != "false" {
		return []Finding{newFinding(InjectAsLabel, p.target(), v1alpha1.Inject+" is a label of it; only an annotation counts", fix)}
	}
	var found []Finding
	for _, key := range Lookalikes(p.Annotations) {
		found = append(found, newFinding(InjectMisspelt, p.target(), fmt.Sprintf("its annotation %s is nearly %s", key, v1alpha1.Inject), fix))
	}
	return found
}

func (p *Pod) checkOptIn(s *Snapshot) []Finding {
	if found := p.checkSpelling(); len(found) > 0 && p.Workload == "Pod/"+p.Name {
		return found
	}
	d := &p.Decision
	optedIn := d.Source != "" && d.Reason != inject.OptedOut || p.Annotations[v1alpha1.Inject] == "true"
	switch {
	case p.InjectedBy != "" && (d.Decision == inject.Injected && d.Adds || p.CA != nil && p.Wanted != nil && *p.CA != *p.Wanted):
		return []Finding{newFinding(SettingsDiffer, p.target(), "it was injected otherwise than it would be now: settings or policies changed since", p.restart())}
	case p.InjectedBy != "":
		return nil
	case d.Decision == inject.Injected && d.Adds:
		return []Finding{newFinding(NotInjected, p.target(),
			fmt.Sprintf("it would be injected now (%s), and was created on %s without: before it opted in, or while the injector was down", d.Rule, p.Created.UTC().Format("2006-01-02 15:04 MST")),
			p.restart())}
	case d.Decision == inject.Refused:
		return []Finding{newFinding(PodRefused, p.target(), "it would be refused now: "+strings.Join(d.Mistakes, "; "), p.edit())}
	case d.Decision == inject.Skipped && optedIn && d.Reason != inject.AlreadyInjected && (d.Reason != inject.NoS3Client || d.Source == inject.SourcePod):
		return []Finding{newFinding(PodSkipped, p.target(),
			fmt.Sprintf("it opted in (%s) and is skipped, %s: %s", cmp.Or(d.Rule, "annotation "+v1alpha1.Inject), d.Reason, p.skipText()), p.correct())}
	case d.Reason == inject.NotOptedIn && s.unreadRules(p.Namespace):
		return nil // what opts it in may be what could not be read
	case d.Reason == inject.NotOptedIn && p.Named && len(d.Clients) == 0:
		return []Finding{newFinding(NotOptedIn, p.target(),
			"none of its containers is known as an S3 client, and neither it, its namespace nor a policy opts it in; name its clients by "+v1alpha1.Containers, s.optInFix(p))}
	case d.Reason == inject.NotOptedIn && len(d.Clients) > 0 && !p.wiredByHand() && !s.allTrusted(p):
		return []Finding{newFinding(NotOptedIn, p.target(),
			fmt.Sprintf("it holds an S3 client (container %s), and neither it, its namespace nor a policy opts it in", strings.Join(d.Clients, ", ")),
			s.optInFix(p))}
	}
	return nil
}

func (p *Pod) skipText() string {
	if len(p.Decision.Warnings) > 0 {
		return strings.Join(p.Decision.Warnings, "; ")
	}
	switch p.Decision.Reason { //nolint:exhaustive // the others warn, or are not opted in
	case inject.NoS3Client:
		return "none of its containers is known as an S3 client; name them by " + v1alpha1.Containers
	case inject.Conflict:
		return "its own mounts or variables stand in the way"
	case inject.Exempt:
		return "pods of this namespace are never injected"
	case inject.Windows:
		return "it is for Windows"
	default:
		return "see kubectl s3-tls explain " + p.Name
	}
}

// wiredByHand tells whether every client is told of a CA file that is mounted.
func (p *Pod) wiredByHand() bool {
	for i := range p.Clients {
		if p.Clients[i].File != "" {
			continue
		}
		for _, config := range p.Clients[i].Configs {
			for j := range config.Storages {
				if st := &config.Storages[j]; st.Plain() || st.CAFileMounted {
					continue
				}
				return false
			}
		}
		if len(p.Clients[i].Configs) == 0 {
			return false
		}
	}
	return len(p.Clients) > 0
}

// allTrusted tells whether all that a pod speaks TLS to was asked, and is trusted: public storage, or
// a CA of the image.
func (s *Snapshot) allTrusted(p *Pod) bool {
	if slices.ContainsFunc(p.Clients, func(c Client) bool { return len(c.Configs) == 0 }) {
		return false
	}
	uses := s.usesOf(p)
	for i := range uses {
		if u := &uses[i]; !u.trust.known || !u.trusts(s) {
			return false
		}
	}
	speaks := 0
	for range p.Questions() {
		speaks++
	}
	return speaks > 0 && len(uses) >= speaks
}

// restart is the command that creates the pod anew.
func (p *Pod) restart() string {
	kind, name, _ := strings.Cut(p.Workload, "/")
	switch kind {
	case "Deployment", "StatefulSet", "DaemonSet":
		return fmt.Sprintf("kubectl -n %s rollout restart %s/%s", p.Namespace, strings.ToLower(kind), name)
	case "Pod":
		return fmt.Sprintf("kubectl -n %s get pod %s -o yaml | kubectl replace --force -f -", p.Namespace, p.Name)
	}
	return deletePod + p.Namespace + " " + p.Name
}

// correct is the command that corrects what stands in the way of the injection.
func (p *Pod) correct() string {
	if p.Decision.Reason == inject.InvalidSettings && p.Decision.Source == inject.SourceNamespace {
		return "kubectl edit namespace " + p.Namespace
	}
	return p.edit()
}

// labelNamespace is the command that opts a namespace in.
func labelNamespace(namespace string) string {
	return fmt.Sprintf("kubectl label namespace %s --overwrite %s=true", namespace, v1alpha1.Inject)
}

func (p *Pod) edit() string {
	return fmt.Sprintf("kubectl -n %s edit %s", p.Namespace, strings.ToLower(p.Workload))
}

func (s *Snapshot) optInFix(p *Pod) string {
	for _, w := range s.Workloads {
		if w.Namespace == p.Namespace && w.Name == p.Workload && w.kind() != "Job" {
			return w.annotate("true")
		}
	}
	return labelNamespace(p.Namespace)
}

// Lookalikes returns the keys that somebody may have meant to be s3-tls/inject.
func Lookalikes(values map[string]string) []string {
	var found []string
	for _, key := range slices.Sorted(maps.Keys(values)) {
		if key != v1alpha1.Inject && distance(strings.ToLower(key), v1alpha1.Inject) <= 2 && values[key] != "false" {
			found = append(found, key)
		}
	}
	return found
}

// distance is the Levenshtein distance of two words.
func distance(a, b string) int {
	row := make([]int, len(b)+1)
	for j := range row {
		row[j] = j
	}
	for i := range len(a) {
		diagonal := row[0]
		row[0] = i + 1
		for j := range len(b) {
			change := diagonal
			if a[i] != b[j] {
				change++
			}
			diagonal = row[j+1]
			row[j+1] = min(change, row[j]+1, row[j+1]+1)
		}
	}
	return row[len(b)]
}

// Ours returns the labels or annotations that are the project's, or may have been meant to be.
func Ours(values map[string]string) map[string]string {
	ours := map[string]string{}
	for key, value := range values {
		if strings.HasPrefix(key, v1alpha1.Prefix) || distance(strings.ToLower(key), v1alpha1.Inject) <= 2 {
			ours[key] = value
		}
	}
	if len(ours) == 0 {
		return nil
	}
	return ours
}
