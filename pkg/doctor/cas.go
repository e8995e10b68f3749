package doctor

import (
	"fmt"
	"slices"
	"strings"

	"github.com/s3-tls-injector/s3-tls-injector/pkg/api/v1alpha1"
	"github.com/s3-tls-injector/s3-tls-injector/pkg/ca"
	"github.com/s3-tls-injector/s3-tls-injector/pkg/endpoint"
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
	f := newFinding(caCode(problem.ID), p.target(), fmt.Sprintf("%s: %s", c.Judgement.Place, problem.Text), c.fix(p, problem.ID))
	if problem.ID == ca.PrivateKey && c.Judgement.PrivateKey {
		f.Severity = Error
	}
	if f.Severity == Error && c.Judgement.Verdict.Trusted() {
		f.Severity = Warning // another certificate of the file is good
		f.Fix = c.edit()
	}
	return f
}

func (c *CA) fix(p *Pod, problem ca.ID) string {
	switch {
	case problem == ca.PrivateKey || problem == ca.Duplicate || problem == ca.OtherBlock:
		return c.edit()
	case problem == ca.NotCA || problem == ca.SoonExpired || problem == ca.HasExpired || problem == ca.WeakKey || problem == ca.WeakSignature:
		return c.put("") // the endpoint would give the same one again
	case len(c.Elsewhere) > 0 && problem == ca.Absence:
		return c.copied(slices.Min(c.Elsewhere))
	}
	for q := range p.Questions() {
		return c.put(fetched(q.Address, q.Name))
	}
	return c.put("HOST:PORT")
}

// kind is the object's, as kubectl names it.
func (c *CA) kind() string {
	if c.CA.Kind == settings.ConfigMap {
		return "configmap"
	}
	return "secret"
}

func (c *CA) edit() string {
	return fmt.Sprintf("kubectl -n %s edit %s %s", c.Namespace, c.kind(), c.CA.Name)
}

// fetched is what fetch-ca is told of an endpoint: its address, and the name of its certificate where
// that is another one.
func fetched(address, name string) string {
	if parsed, err := endpoint.ParseAddress(address); err != nil || parsed.Name == name {
		return address
	}
	return address + " --server-name " + name
}

// put is the command that puts a storage's CA in the place of this one, from its endpoint, or, where
// there is none, from a file that the storage's owner gives. To several certificates it adds one.
func (c *CA) put(from string) string {
	switch several := strings.Count(c.Certificates, "-----BEGIN") > 1; {
	case from == "" && several:
		return fmt.Sprintf("{ %s; echo; cat s3-ca.crt; } | %s%s=/dev/stdin%s", c.read(c.Namespace), c.create(), c.CA.Key, apply)
	case from == "":
		return c.create() + c.CA.Key + "=s3-ca.crt" + apply
	case several:
		return fmt.Sprintf("{ %s; echo; kubectl s3-tls fetch-ca %s; } | %s%s=/dev/stdin%s", c.read(c.Namespace), from, c.create(), c.CA.Key, apply)
	}
	key := ""
	if c.CA.Key != v1alpha1.DefaultKey {
		key = " --key " + c.CA.Key
	}
	return fmt.Sprintf("kubectl s3-tls fetch-ca %s --%s %s%s -n %s | kubectl apply -f -", from, c.kind(), c.CA.Name, key, c.Namespace)
}

// copied is the command that takes it from another namespace: the CA alone, and no key beside it.
func (c *CA) copied(from string) string {
	return c.read(from) + " | " + c.create() + c.CA.Key + "=/dev/stdin" + apply
}

const apply = " --dry-run=client -o yaml | kubectl apply -f -"

func (c *CA) create() string {
	kind := c.kind()
	if kind == "secret" {
		kind = "secret generic"
	}
	return fmt.Sprintf("kubectl -n %s create %s %s --from-file=", c.Namespace, kind, c.CA.Name)
}

func (c *CA) read(namespace string) string {
	command := fmt.Sprintf(`kubectl -n %s get %s %s -o jsonpath='{.data.%s}'`, namespace, c.kind(), c.CA.Name, strings.ReplaceAll(c.CA.Key, ".", `\.`))
	if c.kind() == "secret" {
		command += " | base64 -d"
	}
	return command
}
