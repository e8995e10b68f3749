package doctor

import (
	"errors"
	"fmt"
	"net"
	"regexp"
	"slices"

	"github.com/s3-tls-injector/s3-tls-injector/pkg/endpoint"
)

// Names stand in commands that people paste.
var (
	validName  = regexp.MustCompile(`^(?:[A-Za-z0-9][A-Za-z0-9._:/-]*)?$`)
	validPlace = regexp.MustCompile(`^(?:--[a-z0-9.-]+|(?:Secret|ConfigMap) [a-z0-9][a-z0-9.-]*\[[A-Za-z0-9._-]+\])$`)
)

// Check tells what is wrong with a snapshot that comes from a file.
func (s *Snapshot) Check() error {
	var names []string
	for name, n := range s.Namespaces {
		if n == nil {
			return fmt.Errorf("namespace %q is null", name)
		}
		names = append(names, name)
	}
	if slices.Contains(s.Workloads, nil) || slices.Contains(s.Pods, nil) || slices.Contains(s.CAs, nil) {
		return errors.New("a workload, pod or CA is null")
	}
	names = append(names, s.Install.Namespace, s.Install.ServerName)
	for _, e := range s.Install.Entries {
		names = append(names, e.Configuration, e.Name)
	}
	if c := s.Install.Certificate; c != nil {
		names = append(names, c.Name)
	}
	if d := s.Install.Deployment; d != nil {
		names = append(names, d.Name)
	}
	for _, p := range s.Policies {
		names = append(names, p.Name)
	}
	for _, w := range s.Workloads {
		names = append(names, w.Namespace, w.Name, w.Owner)
	}
	for _, c := range s.CAs {
		names = append(append(names, c.Namespace, string(c.CA.Kind), c.CA.Name, c.CA.Key), c.Elsewhere...)
		for _, problem := range c.Judgement.Problems {
			if codeRank(caCode(problem.ID)) < 0 {
				return fmt.Errorf("%q is no problem of a CA", problem.ID)
			}
		}
	}
	for i := range s.Probes {
		p := &s.Probes[i]
		if _, known := failures[p.Failure]; !known && p.Failure != endpoint.NoFailure {
			return fmt.Errorf("%q is no failure of an endpoint", p.Failure)
		}
		names = append(names, p.Namespace)
		for _, address := range []string{p.Address, net.JoinHostPort(p.Name, "443")} {
			if _, err := endpoint.ParseAddress(address); err != nil {
				return err
			}
		}
	}
	for _, p := range s.Pods {
		podNames, err := p.names()
		if err != nil {
			return err
		}
		names = append(names, podNames...)
	}
	for _, name := range names {
		if !validName.MatchString(name) {
			return fmt.Errorf("%q is no name", name)
		}
	}
	return nil
}

// names returns the names of a pod that stand in commands.
func (p *Pod) names() ([]string, error) {
	names := []string{p.Namespace, p.Name, p.Workload}
	for i := range p.Clients {
		c := &p.Clients[i]
		names = append(names, c.Container)
		for _, config := range c.Configs {
			if !validPlace.MatchString(config.Place) {
				return nil, fmt.Errorf("%q is no place of a configuration", config.Place)
			}
		}
	}
	return names, nil
}
