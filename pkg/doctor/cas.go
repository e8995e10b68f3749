package doctor

import (
	"fmt"
	"slices"
	"strings"

	"github.com/s3-tls-injector/s3-tls-injector/pkg/ca"
	"github.com/s3-tls-injector/s3-tls-injector/pkg/inject"
	"github.com/s3-tls-injector/s3-tls-injector/pkg/settings"
)

// checkCAs tells what is wrong with the CAs of pods, of each pod that is given it.
func checkCAs(s *Snapshot) []Finding {
	var found []Finding
	for _, p := range s.Pods {
		if p.InjectedBy == "" && p.Decision.Decision != inject.Injected && p.Decision.Reason != inject.AlreadyInjected && p.Decision.Reason != inject.PrivateKey {
			continue
		}
		if of := s.CAOf(p); of != nil {
			for _, problem := range of.Judgement.Problems {
				found = append(found, of.finding(p, problem))
			}
		}
		if p.Stale {
			found = append(found, newFinding(CAStale, p.target(), "the CA changed after it was created, and it runs with the one before", p.restart()))
		}
	}
	return found
}

func (c *CA) finding(p *Pod, problem ca.Problem) Finding {
	place := c.Judgement.Place
	fix := c.fix(problem.ID)
	for i := range p.Clients {
		if addresses := p.Clients[i].Addresses(); len(addresses) > 0 {
			fix = strings.Replace(fix, "HOST:PORT", addresses[0], 1)
		}
	}
	f := newFinding(caCode(problem.ID), p.target(), fmt.Sprintf("%s: %s", place, problem.Text), fix)
	if problem.ID == ca.PrivateKey && c.Judgement.PrivateKey {
		f.Severity = Error
	}
	if f.Severity == Error && c.Judgement.Verdict.Trusted() {
		f.Severity = Warning // another certificate of the file is good
	}
	return f
}

func (c *CA) fix(problem ca.ID) string {
	object, flag := "secret", "--secret"
	if c.CA.Kind == settings.ConfigMap {
		object, flag = "configmap", "--configmap"
	}
	switch {
	case problem == ca.PrivateKey || problem == ca.Duplicate || problem == ca.OtherBlock:
		return fmt.Sprintf("kubectl -n %s edit %s %s", c.Namespace, object, c.CA.Name)
	case len(c.Elsewhere) > 0 && problem == ca.Absence:
		return fmt.Sprintf("kubectl -n %s get %s %s -o yaml | sed 's/^  namespace: .*/  namespace: %s/' | kubectl create -f -", slices.Min(c.Elsewhere), object, c.CA.Name, c.Namespace)
	}
	return fmt.Sprintf("kubectl s3-tls fetch-ca HOST:PORT %s %s -n %s | kubectl apply -f -", flag, c.CA.Name, c.Namespace)
}
