// Package inject is the core of the project: it decides whether a pod is given
// the CA of its S3 storage, and says what has to be added for that, as JSON
// Patch and warnings. It is a pure function of the pod, its namespace and the
// policies; the webhook and the command-line tool are thin around it, and so
// give the same answer.
//
// It only adds. It never removes, replaces or reorders what a pod has, but for its own annotation that
// says which CA the pod carries. What it is
// told of the CA changes a warning, an annotation and what a policy may refuse, never what
// is mounted.
package inject

import (
	"slices"

	"gomodules.xyz/jsonpatch/v2"

	"github.com/s3-tls-injector/s3-tls-injector/pkg/api/v1alpha1"
	"github.com/s3-tls-injector/s3-tls-injector/pkg/ca"
	"github.com/s3-tls-injector/s3-tls-injector/pkg/settings"
)

// Decision is the outcome for a pod.
type Decision string

// The decisions.
const (
	Injected Decision = "injected"
	Skipped  Decision = "skipped"
	Refused  Decision = "refused"
)

// Reason is the stable id of why a pod was skipped or refused.
type Reason string

// The reasons. InvalidSettings is a skip where the mistake is a namespace's or
// a policy's, and else a refusal, as are InvalidInject and those about a CA that a
// policy requires. PrivateKey is a skip: a CA file that holds one is given to nobody.
const (
	Exempt          Reason = "exempt"
	Windows         Reason = "windows"
	MirrorPod       Reason = "mirror-pod"
	OptedOut        Reason = "opted-out"
	NotOptedIn      Reason = "not-opted-in"
	NoS3Client      Reason = "no-s3-client"
	AlreadyInjected Reason = "already-injected"
	InvalidSettings Reason = "invalid-settings"
	InvalidInject   Reason = "invalid-inject"
	Conflict        Reason = "conflict"
	PrivateKey      Reason = "private-key"
	MissingCA       Reason = "missing-ca"
	InvalidCA       Reason = "invalid-ca"
	ExpiredCA       Reason = "expired-ca"
)

// Sources of a decision; a policy's is "policy/" and its name.
const (
	SourcePod       = "pod"
	SourceNamespace = "namespace"
	sourcePolicy    = "policy/"
)

// SourcePolicy returns the source of a policy's decisions.
func SourcePolicy(name string) string { return sourcePolicy + name }

// Input is everything that a decision depends on.
type Input struct {
	Pod       Pod
	Namespace Namespace
	// Policies are tried in the order of their names.
	Policies []Policy
	// ExemptNamespaces are never injected.
	ExemptNamespaces []string
	// ClaimTemplates are the names of a workload's volumeClaimTemplates, which
	// become volumes of its pods.
	ClaimTemplates []string
	// CA tells what is known of a CA that the pod would be given: nothing where it
	// may not be read. It is nil where no CA can be read.
	CA func(settings.CA) (ca.Judgement, bool)
}

// Message tells the user something about one place of the pod.
type Message struct {
	// Path is the place, from the pod's root: spec.containers[0].env. It is empty
	// where the message is about the namespace or a policy, and names it itself. Of a
	// CA it is where that is: Secret s3-tls-cert[ca.crt].
	Path string
	Text string
	// CA is the verdict on the CA that the message is about; empty where it is about
	// something else.
	CA ca.Verdict
}

// Result is the answer for a pod.
type Result struct {
	Decision Decision
	Reason   Reason
	// Source is who decided: "pod", "namespace", "policy/<name>", or nobody.
	Source string
	// Containers are the names of those that carry the CA afterwards.
	Containers []string
	// Mistakes are why the pod is refused: all of them.
	Mistakes []Message
	Warnings []Message
	// Patch holds RFC 6902 "add" operations with paths from the pod's root.
	Patch []jsonpatch.Operation
	// Rule says which rule decided, as a sentence, for people.
	Rule string
	// Settings are those that took effect; nil where the pod was not opted in.
	Settings *settings.Settings
	// ContainerRule says how the containers were chosen, for people.
	ContainerRule string
	// Chosen are the names of the containers that were chosen by it.
	Chosen []string
}

// Decide answers for one pod. The same input always gives the same bytes.
func Decide(in Input) Result {
	policy := firstSelecting(in.Policies, &in)
	result := optIn(&in, policy)
	if result.Decision == Skipped {
		return result
	}
	merged, own, others := mergeSettings(&in, policy)
	if result.Decision == Refused {
		result.Mistakes = append(result.Mistakes, own...)
		return result
	}
	result.Settings = &merged
	chosen, rule := choose(&in, &merged, policy, result.Source)
	result.ContainerRule, result.Chosen = rule, names(chosen)
	switch {
	case len(chosen) == 0 && (len(own) == 0 || !asksItself(&in, result.Source)):
		return result.skip(NoS3Client)
	case len(own) > 0:
		return result.refuse(InvalidSettings, own...)
	case len(others) > 0:
		result.Warnings = others
		return result.skip(InvalidSettings)
	}
	judged := judge(&in, &merged)
	switch {
	case policy != nil && policy.requireCA && judged.unusable():
		return result.refuse(reasonOf(judged.Verdict), judged.required(policy.name)...)
	case judged.PrivateKey:
		result.Warnings = judged.messages()
		return result.skip(PrivateKey)
	}
	plan := newPlan(&in, &merged, judged.SHA256)
	for _, ref := range chosen {
		plan.add(ref)
	}
	if result = plan.finish(result); result.Decision == Injected {
		result.Warnings = append(result.Warnings, judged.messages()...)
	}
	return result
}

// mergeSettings returns what takes effect for the pod, and the mistakes in it:
// its own, and those of its namespace and policy.
func mergeSettings(in *Input, policy *Policy) (merged settings.Settings, own, others []Message) {
	levels := []settings.Level{
		settings.OfPod(in.Pod.annotations(), names(in.Pod.allContainers())),
		settings.OfNamespace(in.Namespace.Name, in.Namespace.Annotations),
	}
	if policy != nil {
		levels = append(levels, policy.level)
	}
	merged, mistakes := settings.Merge(levels...)
	for _, m := range mistakes {
		if message := (Message{Path: m.Path, Text: m.Text}); m.Path != "" {
			own = append(own, message)
		} else {
			others = append(others, message)
		}
	}
	return merged, own, others
}

// asksItself tells whether the pod itself, and not only its namespace or a
// policy, asks for the injection or names the containers.
func asksItself(in *Input, source string) bool {
	_, names := in.Pod.annotations()[v1alpha1.Containers]
	return source == SourcePod || names
}

func (r Result) skip(reason Reason) Result {
	r.Decision, r.Reason = Skipped, reason
	return r
}

func (r Result) refuse(reason Reason, mistakes ...Message) Result {
	r.Decision, r.Reason, r.Mistakes = Refused, reason, mistakes
	return r
}

// optIn answers rows 1 to 8: Injected where the pod is opted in, else the
// final decision.
func optIn(in *Input, policy *Policy) Result {
	pod, namespace := in.Pod.annotations(), in.Namespace
	own, hasOwn := pod[v1alpha1.Inject]
	_, mirror := pod["kubernetes.io/config.mirror"]
	switch label := namespace.Labels[v1alpha1.Inject]; {
	case in.Pod.isWindows():
		return Result{Rule: ruleWindows}.skip(Windows)
	case mirror:
		return Result{Rule: ruleMirrorPod}.skip(MirrorPod)
	case slices.Contains(in.ExemptNamespaces, namespace.Name):
		return Result{Rule: ruleExempt(namespace.Name)}.skip(Exempt)
	case own == "false":
		return Result{Source: SourcePod, Rule: rulePod(own)}.skip(OptedOut)
	case own == "true":
		return Result{Decision: Injected, Source: SourcePod, Rule: rulePod(own)}
	case hasOwn:
		return Result{Source: SourcePod, Rule: rulePod(own)}.refuse(InvalidInject, invalidInject(own))
	case label == "false":
		return Result{Source: SourceNamespace, Rule: ruleNamespace(namespace.Name, label)}.skip(OptedOut)
	case label == "true":
		return Result{Decision: Injected, Source: SourceNamespace, Rule: ruleNamespace(namespace.Name, label)}
	case policy != nil:
		return Result{Decision: Injected, Source: policy.source(), Rule: rulePolicy(policy.name)}
	default:
		return Result{Rule: ruleNotOptedIn}.skip(NotOptedIn)
	}
}

func (p *Pod) isWindows() bool {
	const osLabel = "kubernetes.io/os"
	return p.Spec.OS != nil && p.Spec.OS.Name == "windows" || p.Spec.NodeSelector[osLabel] == "windows"
}
