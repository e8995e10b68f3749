package doctor

import (
	"cmp"
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/s3-tls-injector/s3-tls-injector/pkg/endpoint"
	"github.com/s3-tls-injector/s3-tls-injector/pkg/entry"
)

// renewalDue is how long before its expiry the server's certificate should have been renewed.
const renewalDue = 7 * 24 * time.Hour

func checkInstall(s *Snapshot) []Finding {
	in := &s.Install
	if s.unseen(EntriesSubject) {
		return slices.Concat(in.checkTrial(), s.checkPolicies())
	}
	if len(in.Entries) == 0 {
		f := newFinding(NotInstalled, Target{Object: "s3-tls-injector"},
			"no webhook entry of s3-tls-injector is there: nothing is injected", "kubectl apply --server-side -f deploy/install.yaml")
		if slices.ContainsFunc(s.Pods, func(p *Pod) bool { return p.InjectedBy != "" }) {
			f.Severity = Warning // the manifests are injected, or a MutatingAdmissionPolicy does it
			f.Text = "no webhook entry of s3-tls-injector is there: pods are injected only where their manifests are, or a MutatingAdmissionPolicy does it"
		}
		return []Finding{f}
	}
	return slices.Concat(in.checkEntries(s.Taken), in.checkServer(s.Taken), in.checkTrial(), s.checkPolicies())
}

func (in *Install) checkEntries(now time.Time) []Finding {
	var found []Finding
	there := map[string]bool{}
	for i := range in.Entries {
		e := &in.Entries[i]
		there[e.Name] = true
		at := Target{Object: "MutatingWebhookConfiguration/" + e.Configuration}
		if e.CABundle == "" {
			found = append(found, newFinding(CABundleEmpty, at, fmt.Sprintf("entry %s has no CA bundle: the API server cannot verify the injector", e.Name),
				"kubectl -n cert-manager logs deployment/cert-manager-cainjector --tail=50"))
		} else if why := in.mismatch(e, now); why != "" {
			found = append(found, newFinding(CABundleMismatch, at, fmt.Sprintf("the CA bundle of entry %s does not verify the injector's certificate: %s", e.Name, why),
				"kubectl -n cert-manager rollout restart deployment/cert-manager-cainjector"))
		}
		if len(e.Changed) > 0 {
			found = append(found, newFinding(EntryChanged, at,
				fmt.Sprintf("%s of entry %s differ from what is installed; some clouds rewrite selectors", strings.Join(e.Changed, ", "), e.Name),
				"kubectl apply --server-side --force-conflicts -f deploy/install.yaml"))
		}
	}
	for _, name := range []string{entry.Pod, entry.Namespace} {
		if !there[name] {
			found = append(found, newFinding(EntryMissing, Target{Object: "MutatingWebhookConfiguration/s3-tls-injector"},
				fmt.Sprintf("entry %s is not there", name), "kubectl apply --server-side -f deploy/install.yaml"))
		}
	}
	return found
}

// mismatch says why an entry's CA bundle does not verify the server; nothing where it does, or
// where that is not known.
func (in *Install) mismatch(e *Entry, now time.Time) string {
	chain, err := endpoint.ParseChain([]byte(in.Serving))
	if err != nil || len(chain) == 0 {
		return ""
	}
	roots, err := endpoint.ParseChain([]byte(e.CABundle))
	if err != nil {
		return err.Error()
	}
	if now.After(chain[0].NotAfter) {
		return "" // which is told of the certificate
	}
	if err := chain.TrustBy(roots, in.ServerName, now); err != nil {
		return err.Error()
	}
	return ""
}

func (in *Install) checkServer(now time.Time) []Finding {
	var found []Finding
	if c := in.Certificate; c != nil && !c.Ready {
		found = append(found, newFinding(CertificateNotReady, Target{Namespace: in.Namespace, Object: "Certificate/" + c.Name},
			"cert-manager has not issued the injector's certificate: "+cmp.Or(c.Message, "it has not looked at it; is it running?"),
			fmt.Sprintf("kubectl -n %s describe certificate %s", in.Namespace, c.Name)))
	}
	if chain, err := endpoint.ParseChain([]byte(in.Serving)); err == nil && len(chain) > 0 {
		at := Target{Namespace: in.Namespace, Object: "Certificate/s3-tls-injector"}
		fix := "cmctl renew s3-tls-injector -n " + in.Namespace
		switch until := chain[0].NotAfter; {
		case now.After(until):
			found = append(found, newFinding(CertificateExpired, at, "the injector's certificate expired on "+date(until), fix))
		case now.Add(renewalDue).After(until):
			found = append(found, newFinding(CertificateExpires, at, "the injector's certificate expires on "+date(until)+", and was not renewed in time", fix))
		}
	}
	if d := in.Deployment; d != nil {
		at := Target{Namespace: in.Namespace, Object: "Deployment/" + d.Name}
		fix := fmt.Sprintf("kubectl -n %s get pods -l app.kubernetes.io/name=s3-tls-injector", in.Namespace)
		switch {
		case d.Ready == 0:
			found = append(found, newFinding(InjectorNotReady, at, fmt.Sprintf("none of %d replicas is ready: pods that opted in are refused", d.Replicas), fix))
		case d.Ready < d.Replicas:
			found = append(found, newFinding(InjectorDegraded, at, fmt.Sprintf("%d of %d replicas are ready", d.Ready, d.Replicas), fix))
		}
	}
	return found
}

func (in *Install) checkTrial() []Finding {
	t := in.Trial
	if t == nil || t.Injected {
		return nil
	}
	at := Target{Object: "MutatingWebhookConfiguration/s3-tls-injector"}
	if t.Error != "" {
		return []Finding{newFinding(WebhookUnreachable, at, "the API server cannot call the injector: "+t.Error,
			fmt.Sprintf("kubectl -n %s get pods,endpoints,networkpolicies", in.Namespace))}
	}
	return []Finding{newFinding(WebhookNotCalled, at,
		fmt.Sprintf("a pod that opts in is created in namespace %q without being injected (dry run)", t.Namespace),
		"kubectl get mutatingwebhookconfiguration s3-tls-injector -o yaml")}
}

func (s *Snapshot) checkPolicies() []Finding {
	var found []Finding
	for _, p := range s.Policies {
		why := p.ReadyMessage
		switch p.Ready {
		case "True", "Unknown":
			continue
		case "":
			why = "no replica of the injector has looked at it"
		}
		found = append(found, newFinding(PolicyNotReady, Target{Object: "InjectionPolicy/" + p.Name}, "it is not in effect: "+why,
			"kubectl describe injectionpolicy "+p.Name))
	}
	return found
}

func date(t time.Time) string { return t.UTC().Format(time.DateOnly) }
