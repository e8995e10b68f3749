package doctor

import (
	"crypto/x509"
	"errors"
	"fmt"
	"maps"
	"slices"
	"strings"
	"time"

	"github.com/s3-tls-injector/s3-tls-injector/pkg/endpoint"
)

// failures says of each failure which finding it is, and what to do. %s is the address.
//
//nolint:gochecknoglobals // a table
var failures = map[endpoint.Failure]struct {
	code Code
	fix  string
}{
	endpoint.UnknownDNS: {EndpointDNS, "correct the endpoint's host in the object store configuration"},
	endpoint.Refused:    {EndpointRefused, "correct the endpoint's port in the object store configuration, or start the storage"},
	endpoint.TimedOut:   {EndpointTimeout, "look at address, port, firewall and NetworkPolicies"},
	endpoint.PlainHTTP:  {EndpointPlainHTTP, "name the port for HTTPS, or give the storage a certificate"},
	endpoint.NoTLS:      {EndpointNoTLS, "name the port of the S3 API in the object store configuration"},
	endpoint.Handshake:  {EndpointHandshake, "look at the storage's log: it may ask for a client certificate, or for another name"},
	endpoint.Unreached:  {EndpointUnreached, "look at address, port and network"},
}

// checkEndpoints holds what each endpoint sent against the CA of each pod that uses it.
func checkEndpoints(s *Snapshot) []Finding {
	var found []Finding
	used := map[string]bool{}
	for _, p := range s.Pods {
		for i := range p.Clients {
			for _, address := range p.Clients[i].Addresses() {
				for j := range s.Probes {
					if probe := &s.Probes[j]; probe.Address == address && concerns(probe, p.Namespace) {
						used[probe.Address] = true
						found = append(found, checkProbe(probe, p.target(), s.CAOf(p), s.Taken)...)
					}
				}
			}
		}
	}
	for i := range s.Probes {
		if probe := &s.Probes[i]; !used[probe.Address] {
			found = append(found, s.checkNamed(probe)...)
		}
	}
	return found
}

// checkNamed checks an endpoint that the user names, and no configuration: against the CAs of all pods that are asked
// about.
func (s *Snapshot) checkNamed(probe *endpoint.Probe) []Finding {
	var found []Finding
	checked := false
	for _, p := range s.Pods {
		if of := s.CAOf(p); of != nil && of.Certificates != "" && len(p.Clients) > 0 {
			checked = true
			found = append(found, checkProbe(probe, p.target(), of, s.Taken)...)
		}
	}
	if !checked {
		found = checkProbe(probe, Target{Object: probe.Address}, nil, s.Taken)
	}
	return found
}

// concerns tells whether a probe says something of pods in a namespace: one from a pod of another one
// does not.
func concerns(p *endpoint.Probe, namespace string) bool {
	return p.Namespace == "" || p.Namespace == namespace
}

// Addresses are those of the storages that the client speaks TLS to.
func (c *Client) Addresses() []string {
	all := map[string]bool{}
	for _, config := range c.Configs {
		for i := range config.Storages {
			if address := config.Storages[i].Address(); address != "" && !config.Storages[i].Plain() {
				all[address] = true
			}
		}
	}
	return slices.Sorted(maps.Keys(all))
}

// checkProbe checks what an endpoint sent, for one who has a CA; of is nil where none is known.
func checkProbe(p *endpoint.Probe, at Target, of *CA, now time.Time) []Finding {
	where := p.Address
	if p.From != "" {
		where += " (asked from " + p.From + ")"
	}
	tell := func(code Code, fix, format string, args ...any) []Finding {
		return []Finding{newFinding(code, at, where+": "+fmt.Sprintf(format, args...), fix)}
	}
	if p.Failure != endpoint.NoFailure {
		f := failures[p.Failure]
		return tell(f.code, f.fix, "%s", p.Detail)
	}
	chain, err := p.Certificates()
	if err != nil || len(chain) == 0 {
		return tell(EndpointHandshake, failures[endpoint.Handshake].fix, "it sent no certificate that can be read")
	}
	var found []Finding
	if p.OldTLS {
		found = tell(EndpointTLSVersion, "let the storage speak TLS 1.2 at least", "it speaks %s", p.TLS)
	}
	if code, fix, text := judgeChain(chain, p, of, now); code != "" {
		found = append(found, tell(code, fix, "%s", text)...)
	}
	return found
}

// judgeChain says why the chain is not trusted; nothing where it is.
func judgeChain(chain endpoint.Chain, p *endpoint.Probe, of *CA, now time.Time) (code Code, fix, text string) {
	own := chain[0]
	for _, c := range chain {
		switch {
		case now.After(c.NotAfter):
			return EndpointExpired, "renew the storage's certificate", fmt.Sprintf("its certificate %q expired on %s", c.Subject.CommonName, date(c.NotAfter))
		case now.Before(c.NotBefore):
			return EndpointNotYetValid, "look at the clocks; or wait", fmt.Sprintf("its certificate %q is not valid before %s", c.Subject.CommonName, date(c.NotBefore))
		}
	}
	if own.VerifyHostname(p.Name) != nil {
		names := endpoint.Names(own)
		if len(names) == 0 {
			return EndpointName, "issue the storage's certificate with the name " + p.Name, "its certificate is for no name, and not for " + p.Name
		}
		return EndpointName, fmt.Sprintf("issue the storage's certificate for %s too, or reach it as %s", p.Name, names[0]),
			fmt.Sprintf("its certificate is for %s, and not for %s", strings.Join(names, ", "), p.Name)
	}
	if of == nil || of.Certificates == "" {
		return "", "", "" // there is nothing to hold it against
	}
	roots, err := endpoint.ParseChain([]byte(of.Certificates))
	if err != nil {
		return "", "", ""
	}
	err = chain.TrustBy(roots, p.Name, now)
	var unknown x509.UnknownAuthorityError
	switch {
	case err == nil, p.SystemTrust:
		return "", "", ""
	case errors.As(err, &unknown):
		return unknownAuthority(chain, roots, p, of)
	}
	return EndpointUnknown, fetch(p, of), err.Error()
}

// unknownAuthority says by whom the chain is signed, and whom the pod trusts.
func unknownAuthority(chain endpoint.Chain, roots []*x509.Certificate, p *endpoint.Probe, of *CA) (code Code, fix, text string) {
	top, kind := chain.Top()
	trusted := fmt.Sprintf("%s holds %s", of.Judgement.Place, describe(roots))
	if kind != endpoint.Root && kind != endpoint.SelfSigned && slices.ContainsFunc(chain[1:], func(c *x509.Certificate) bool { return slices.ContainsFunc(roots, c.Equal) }) {
		return EndpointIntermediate, fmt.Sprintf("let the storage send the intermediate certificate %q behind its own", top.Issuer.CommonName),
			fmt.Sprintf("it sends the CA, and not the intermediate certificate %q, which signed %q", top.Issuer.CommonName, top.Subject.CommonName)
	}
	sameName := slices.ContainsFunc(roots, func(c *x509.Certificate) bool { return string(c.RawSubject) == string(top.RawIssuer) })
	switch {
	case kind == endpoint.SelfSigned:
		text = fmt.Sprintf("its certificate signed itself, %s; %s", endpoint.Fingerprint(top), trusted)
	case kind == endpoint.Leaf && sameName:
		text = fmt.Sprintf("its certificate is signed by another key of %q, as after a renewal of the CA; %s", top.Issuer.CommonName, trusted)
	case kind == endpoint.Leaf:
		text = fmt.Sprintf("its certificate %s is signed by %q, which it does not send; %s. Either that is the wrong CA, or the storage has to send %q as its intermediate certificate",
			endpoint.Fingerprint(top), top.Issuer.CommonName, trusted, top.Issuer.CommonName)
	default:
		text = fmt.Sprintf("its certificate is signed by %q, %s; %s", top.Subject.CommonName, endpoint.Fingerprint(top), trusted)
	}
	return EndpointUnknown, fetch(p, of), text
}

// describe names the certificates of a CA: "S3 CA", sha256:…. Of many it says how many they are.
func describe(roots []*x509.Certificate) string {
	if len(roots) > 3 {
		return fmt.Sprintf("%d certificates, none of which signed it", len(roots))
	}
	var all []string
	for _, c := range roots {
		all = append(all, fmt.Sprintf("%q, %s", c.Subject.CommonName, endpoint.Fingerprint(c)))
	}
	return strings.Join(all, " and ")
}

func fetch(p *endpoint.Probe, of *CA) string {
	return strings.Replace(of.fix(""), "HOST:PORT", p.Address, 1)
}
