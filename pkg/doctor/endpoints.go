package doctor

import (
	"cmp"
	"crypto/x509"
	"errors"
	"fmt"
	"iter"
	"slices"
	"strings"
	"time"

	"github.com/s3-tls-injector/s3-tls-injector/pkg/api/v1alpha1"
	"github.com/s3-tls-injector/s3-tls-injector/pkg/ca"
	"github.com/s3-tls-injector/s3-tls-injector/pkg/endpoint"
	"github.com/s3-tls-injector/s3-tls-injector/pkg/inject"
)

// failures says of each failure which finding it is, and what to do.
//
//nolint:gochecknoglobals // a table
var failures = map[endpoint.Failure]struct {
	code Code
	fix  string
	// edit: the configuration is what to look at first.
	edit bool
}{
	endpoint.UnknownDNS: {EndpointDNS, "correct the endpoint's host in the object store configuration", true},
	endpoint.Refused:    {EndpointRefused, "correct the endpoint's port in the object store configuration, or start the storage", true},
	endpoint.TimedOut:   {EndpointTimeout, "look at address, port, firewall and NetworkPolicies", false},
	endpoint.PlainHTTP:  {EndpointPlainHTTP, "name the port for HTTPS, or give the storage a certificate", true},
	endpoint.NoTLS:      {EndpointNoTLS, "name the port of the S3 API in the object store configuration", true},
	endpoint.Handshake:  {EndpointHandshake, "look at the storage's log: it may ask for a client certificate, or for another name", false},
	endpoint.Unreached:  {EndpointUnreached, "look at address, port and network", false},
}

// use is an endpoint that a client uses.
type use struct {
	probe *endpoint.Probe
	at    Target
	// pod is nil of an endpoint that nobody uses.
	pod *Pod
	// storage is nil of an endpoint that the user names; place is where it is configured.
	storage *Storage
	place   string
	trust   trust
	now     time.Time
}

// trust is what a client holds a certificate against.
type trust struct {
	// known is false where a CA cannot be read, or is told of already.
	known bool
	// cas are private ones, and public whether the public ones count too.
	cas    []*CA
	public bool
}

// trustOf finds what a client of a pod trusts; storage may be nil.
func (s *Snapshot) trustOf(p *Pod, c *Client, storage *Storage) trust {
	if storage != nil && storage.CAFile != "" && storage.CAFile != c.File {
		if storage.CA == nil {
			// The image's own bundle holds the public ones; what another file holds is not known.
			return trust{known: isSystemBundle(storage.CAFile) && !storage.CAFileMounted, public: true}
		}
		of := s.findCA(p.Namespace, *storage.CA)
		return trust{known: of != nil && of.Certificates != "", cas: []*CA{of}}
	}
	t := trust{known: !c.TrustsUnseen, public: true}
	add := func(of *CA) {
		if of == nil || of.Certificates == "" {
			t.known = false
		} else if !slices.Contains(t.cas, of) {
			t.cas = append(t.cas, of)
		}
	}
	for _, place := range c.Trusts {
		add(s.findCA(p.Namespace, place))
	}
	if p.CA != nil && (c.File != "" || p.InjectedBy == "") {
		add(s.CAOf(p)) // which it has, or would be given
	}
	return t
}

// isSystemBundle tells whether a file is one that images have their public CAs in.
func isSystemBundle(file string) bool {
	return strings.HasPrefix(file, "/etc/ssl/") || strings.HasPrefix(file, "/etc/pki/")
}

// uses returns the endpoints that pods use, and those that nobody uses.
func (s *Snapshot) uses() []use {
	var all []use
	for _, p := range s.Pods {
		all = append(all, s.usesOf(p)...)
	}
	used := map[*endpoint.Probe]bool{}
	for _, u := range all {
		used[u.probe] = true
	}
	for i := range s.Probes {
		if probe := &s.Probes[i]; !used[probe] {
			all = append(all, s.usesOfNamed(probe)...)
		}
	}
	return all
}

// usesOf returns the endpoints that the configurations of a pod name.
func (s *Snapshot) usesOf(p *Pod) []use {
	var all []use
	for q := range p.Questions() {
		for i := range s.Probes {
			if probe := &s.Probes[i]; probe.Address == q.Address && probe.Name == q.Name && concerns(probe, p.Namespace) {
				all = append(all, use{probe, p.target(), p, q.storage, q.place, s.trustOf(p, q.client, q.storage), s.Taken})
			}
		}
	}
	return all
}

// usesOfNamed are those of an endpoint that the user names, and no configuration: of all pods that
// are asked about.
func (s *Snapshot) usesOfNamed(probe *endpoint.Probe) []use {
	var all []use
	for _, p := range s.Pods {
		for i := range p.Clients {
			all = append(all, use{probe, p.target(), p, nil, "", s.trustOf(p, &p.Clients[i], nil), s.Taken})
		}
	}
	if len(all) == 0 {
		all = append(all, use{probe, Target{Object: probe.Address}, nil, nil, "", trust{known: true, public: true}, s.Taken})
	}
	return all
}

// Question is what is asked about a storage.
type Question struct {
	// Address is HOST:PORT, and Name what its certificate has to be for.
	Address, Name string

	client  *Client
	storage *Storage
	place   string
}

// Questions are those about the storages that a pod speaks TLS to.
func (p *Pod) Questions() iter.Seq[Question] {
	return func(yield func(Question) bool) {
		for i := range p.Clients {
			c := &p.Clients[i]
			for _, config := range c.Configs {
				for j := range config.Storages {
					st := &config.Storages[j]
					if address, name := st.question(); address != "" && !yield(Question{address, name, c, st, config.Place}) {
						return
					}
				}
			}
		}
	}
}

// question returns the endpoint that is asked about a storage, and the name that its certificate has
// to have; nothing where the client does not speak TLS to it, or that is not known.
func (st *Storage) question() (address, name string) {
	if address = st.Address(); address == "" || st.Plain() || st.HasVariable() {
		return "", ""
	}
	parsed, err := endpoint.ParseAddress(address)
	if err != nil {
		return "", ""
	}
	return address, cmp.Or(st.ServerName, parsed.Name)
}

// concerns tells whether a probe says something of pods in a namespace: one from a pod of another one
// does not.
func concerns(p *endpoint.Probe, namespace string) bool {
	return p.Namespace == "" || p.Namespace == namespace
}

// checkEndpoints holds what each endpoint sent against what each pod that uses it trusts.
func checkEndpoints(s *Snapshot) []Finding {
	var found []Finding
	for _, u := range s.uses() {
		found = append(found, u.check(s)...)
	}
	return found
}

// trusts tells whether an endpoint was asked and is trusted.
func (u *use) trusts(s *Snapshot) bool { return len(u.check(s)) == 0 }

// check checks what an endpoint sent.
func (u *use) check(s *Snapshot) []Finding {
	p := u.probe
	where := p.Address
	if p.From != "" {
		where += " (asked from " + p.From + ")"
	}
	tell := func(code Code, fix, format string, args ...any) []Finding {
		return []Finding{newFinding(code, u.at, where+": "+fmt.Sprintf(format, args...), fix)}
	}
	chain, err := p.Certificates()
	refused := p.Failure == endpoint.Handshake && len(chain) > 0 && p.AsksClient && u.storage != nil && u.storage.ClientCertificate
	switch {
	case p.Failure != endpoint.NoFailure && !refused: // without the client's certificate it says what is asked for
		f := failures[p.Failure]
		fix := f.fix
		if f.edit && u.pod != nil && u.place != "" {
			fix = editPlace(u.pod, u.place)
		}
		if p.Namespace == "" && (p.Failure == endpoint.TimedOut || p.Failure == endpoint.Unreached) && u.pod != nil {
			fix = fmt.Sprintf("kubectl s3-tls doctor -n %s %s --in-cluster", u.pod.Namespace, u.pod.Name)
		}
		return tell(f.code, fix, "%s", p.Detail)
	case err != nil || len(chain) == 0:
		return tell(EndpointHandshake, failures[endpoint.Handshake].fix, "it sent no certificate that can be read")
	}
	var found []Finding
	if p.OldTLS {
		found = tell(EndpointTLSVersion, "let the storage speak TLS 1.2 at least", "it speaks %s", p.TLS)
	}
	if code, fix, text := u.judge(s, chain); code != "" {
		found = append(found, tell(code, fix, "%s", text)...)
	}
	return found
}

// judge says why the chain is not trusted; nothing where it is, or where that cannot be told.
func (u *use) judge(s *Snapshot, chain endpoint.Chain) (code Code, fix, text string) {
	own, name := chain[0], u.probe.Name
	switch {
	case u.now.After(own.NotAfter):
		return EndpointExpired, "renew the storage's certificate", fmt.Sprintf("its certificate %q expired on %s", own.Subject.CommonName, date(own.NotAfter))
	case u.now.Before(own.NotBefore):
		return EndpointNotYetValid, "look at the clocks; or wait", fmt.Sprintf("its certificate %q is not valid before %s", own.Subject.CommonName, date(own.NotBefore))
	}
	if own.VerifyHostname(name) != nil {
		names := endpoint.Names(own)
		if len(names) == 0 {
			return EndpointName, "issue the storage's certificate with the name " + name, "its certificate is for no name, and not for " + name
		}
		return EndpointName, fmt.Sprintf("issue the storage's certificate for %s too, or reach it as %s", name, names[0]),
			fmt.Sprintf("its certificate is for %s, and not for %s", strings.Join(names, ", "), name)
	}
	if !u.trust.known {
		return "", "", ""
	}
	var roots []*x509.Certificate
	for _, of := range u.trust.cas {
		parsed, err := endpoint.ParseChain([]byte(of.Certificates))
		if err != nil {
			return "", "", ""
		}
		roots = append(roots, parsed...)
	}
	err := u.verify(chain, roots, u.now)
	if err == nil {
		return "", "", ""
	}
	for _, c := range chain[1:] {
		if u.now.After(c.NotAfter) && u.verify(chain, roots, c.NotAfter) == nil {
			return EndpointExpired, "renew the storage's certificates", fmt.Sprintf("the certificate %q that it sends expired on %s", c.Subject.CommonName, date(c.NotAfter))
		}
	}
	var unknown x509.UnknownAuthorityError
	var invalid x509.CertificateInvalidError
	switch {
	case errors.As(err, &invalid) && invalid.Reason == x509.Expired && slices.ContainsFunc(u.trust.cas, func(of *CA) bool { return of.Judgement.Verdict == ca.Expired }):
		return "", "", "" // which is told of the CA
	case !errors.As(err, &unknown):
		return EndpointUnknown, u.fix(s, chain), err.Error()
	}
	return u.unknownAuthority(s, chain, roots)
}

// verify returns why what is trusted does not lead to the chain.
func (u *use) verify(chain endpoint.Chain, roots []*x509.Certificate, at time.Time) error {
	err := chain.TrustBy(roots, u.probe.Name, at)
	if err != nil && u.trust.public && chain.TrustIn(publicRoots(), u.probe.Name, at) == nil {
		return nil
	}
	return err
}

// unknownAuthority says by whom the chain is signed, and whom the pod trusts.
func (u *use) unknownAuthority(s *Snapshot, chain endpoint.Chain, roots []*x509.Certificate) (code Code, fix, text string) {
	top, kind := chain.Top()
	var trusted []string
	for _, of := range u.trust.cas {
		held, _ := endpoint.ParseChain([]byte(of.Certificates)) // it was read before
		trusted = append(trusted, of.Judgement.Place+" holds "+describe(held))
	}
	given := strings.Join(trusted, ", ")
	if given == "" {
		given = "no CA is given to trust it by"
	}
	if kind != endpoint.Root && kind != endpoint.SelfSigned && slices.ContainsFunc(chain[1:], func(c *x509.Certificate) bool { return slices.ContainsFunc(roots, c.Equal) }) {
		return EndpointIntermediate, fmt.Sprintf("let the storage send the intermediate certificate %q behind its own", top.Issuer.CommonName),
			fmt.Sprintf("it sends the CA, and not the intermediate certificate %q, which signed %q", top.Issuer.CommonName, top.Subject.CommonName)
	}
	sameName := slices.ContainsFunc(roots, func(c *x509.Certificate) bool { return string(c.RawSubject) == string(top.RawIssuer) })
	switch {
	case kind == endpoint.SelfSigned:
		text = fmt.Sprintf("its certificate signed itself, %s; %s", endpoint.Fingerprint(top), given)
	case kind == endpoint.Leaf && sameName:
		text = fmt.Sprintf("its certificate is signed by another key of %q, as after a renewal of the CA; %s", top.Issuer.CommonName, given)
	case kind == endpoint.Leaf && len(roots) > 0:
		text = fmt.Sprintf("its certificate %s is signed by %q, which it does not send; %s. Either that is the wrong CA, or the storage has to send %q as its intermediate certificate",
			endpoint.Fingerprint(top), top.Issuer.CommonName, given, top.Issuer.CommonName)
	case kind == endpoint.Leaf:
		text = fmt.Sprintf("its certificate %s is signed by %q, which it does not send; %s", endpoint.Fingerprint(top), top.Issuer.CommonName, given)
	default:
		text = fmt.Sprintf("its certificate is signed by %q, %s; %s", top.Subject.CommonName, endpoint.Fingerprint(top), given)
	}
	return EndpointUnknown, u.fix(s, chain), text
}

// fix gives the pod the CA of the storage.
func (u *use) fix(s *Snapshot, chain endpoint.Chain) string {
	from := fetched(u.probe.Address, u.probe.Name)
	if _, kind := chain.Top(); kind == endpoint.Leaf || u.probe.Namespace != "" {
		from = "" // it is not to be had there, or not from here
	}
	p := u.pod
	switch {
	case len(u.trust.cas) > 0:
		return u.trust.cas[0].put(from)
	case p == nil && from != "":
		return "kubectl s3-tls fetch-ca " + from
	case p == nil:
		return "ask the owner of the storage for its CA"
	case p.Decision.Reason == inject.OptedOut && p.Decision.Source == inject.SourcePod:
		return fmt.Sprintf("kubectl -n %s edit %s", p.Namespace, strings.ToLower(p.Workload)) + " and remove " + v1alpha1.Inject
	}
	return s.optInFix(p)
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
