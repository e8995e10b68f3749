package doctor

import (
	"fmt"
	"net"
	"strings"
)

func checkConfigs(s *Snapshot) []Finding {
	var found []Finding
	for _, p := range s.Pods {
		for i := range p.Clients {
			c := &p.Clients[i]
			for j := range c.Configs {
				found = append(found, c.check(p, &c.Configs[j])...)
			}
		}
	}
	return found
}

func (c *Client) check(p *Pod, config *Config) []Finding {
	edit := editPlace(p, config.Place)
	tell := func(code Code, format string, args ...any) Finding {
		return newFinding(code, p.target(), fmt.Sprintf("%s, %s: ", c.Container, config.Place)+fmt.Sprintf(format, args...), edit)
	}
	switch {
	case config.Missing:
		f := tell(ConfigMissing, "it is not there")
		f.Fix = fmt.Sprintf("kubectl -n %s get secrets,configmaps", p.Namespace)
		return []Finding{f}
	case config.Invalid:
		return []Finding{tell(ConfigInvalid, "it is no YAML mapping")}
	}
	var found []Finding
	for i := range config.Storages {
		st := &config.Storages[i]
		at := func(setting string) string { return st.Path + "." + setting }
		if config.Complete && st.Bucket == "" {
			found = append(found, tell(ConfigNoBucket, "%s names no bucket", st.Path))
		}
		if config.Complete && st.Endpoint == "" && !st.TakesScheme {
			found = append(found, tell(ConfigNoEndpoint, "%s names no endpoint", st.Path))
		}
		if strings.Contains(st.Endpoint, "://") && !st.TakesScheme {
			found = append(found, tell(ConfigScheme, "%s is %q; write it as HOST:PORT, without a scheme", at("endpoint"), st.Endpoint))
		}
		if st.Plain() {
			found = append(found, tell(ConfigInsecure, "%s speaks plain HTTP, to which no CA matters; set %s to false, and name the port for HTTPS", st.Path, at("insecure")))
		}
		if _, port, err := net.SplitHostPort(st.Address()); err == nil && (port == "80" && !st.Plain() || port == "443" && st.Plain()) {
			found = append(found, tell(ConfigPort, "%s has port %s, and insecure is %v", at("endpoint"), port, st.Plain()))
		}
		found = append(found, c.checkCAFile(st, at, tell)...)
		switch {
		case st.SkipVerify:
			found = append(found, tell(ConfigSkipVerify, "%s is on: whoever answers is trusted; remove it", at(st.SkipVerifyPath)))
		case st.DeadSkipVerify:
			found = append(found, tell(ConfigSkipVerifyDead, "http_config.tls_config.insecure_skip_verify has no effect, because http_config.insecure_skip_verify is false; remove it"))
		}
	}
	return found
}

// checkCAFile tells of a CA file that takes the place of the one that is injected.
func (c *Client) checkCAFile(st *Storage, at func(string) string, tell func(Code, string, ...any) Finding) []Finding {
	switch {
	case st.CAFile == "" || st.CAFile == c.File || st.Plain() || st.HasVariable():
		return nil
	case !st.CAFileMounted && !isSystemBundle(st.CAFile):
		return []Finding{tell(ConfigCAFile, "%s is %q, where nothing is mounted; remove it, or name %s", at(st.CAFilePath), st.CAFile, c.fileOr())}
	case c.File == "":
		return nil // wired by hand, and not injected
	}
	f := tell(ConfigCAFile, "%s is %q, which takes the place of the injected %s; remove it", at(st.CAFilePath), st.CAFile, c.File)
	f.Severity = Warning
	return []Finding{f}
}

func (c *Client) fileOr() string {
	if c.File != "" {
		return c.File
	}
	return "the file that is injected"
}

// editPlace is the command that edits a configuration.
func editPlace(p *Pod, place string) string {
	if kind, rest, ok := strings.Cut(place, " "); ok && (kind == "Secret" || kind == "ConfigMap") {
		name, _, _ := strings.Cut(rest, "[")
		return fmt.Sprintf("kubectl -n %s edit %s %s", p.Namespace, strings.ToLower(kind), name)
	}
	return p.edit()
}
