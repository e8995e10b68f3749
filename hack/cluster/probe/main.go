// Command probe is an HTTPS client, and a host that a public CA vouches for.
//
// Its image holds a root certificate in its own bundle, as a distribution's
// image holds the public ones, and the root's key. A pod that serves signs its
// certificate with that key, so a client of the same image trusts it by its
// system roots and by nothing else.
package main

import (
	"bytes"
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"net"
	"net/http"
	"os"
	"path/filepath"
	"time"
)

const usage = `Usage: probe get URL... | probe serve NAME | probe keys

  get URL...   fetch each URL; fail where one does not answer 200. A host that
               cannot be reached yet is tried again, one that is not trusted is not
  serve NAME   answer HTTPS on port 8443, with a certificate for NAME
  keys         fail where a file of the container holds a private key
`

func main() {
	if err := run(os.Args[1:]); err != nil {
		fmt.Fprintln(os.Stderr, "probe:", err)
		os.Exit(1)
	}
}

func run(args []string) error {
	switch {
	case len(args) >= 2 && args[0] == "get":
		var errs []error
		for _, url := range args[1:] {
			errs = append(errs, getReachable(url))
		}
		return errors.Join(errs...)
	case len(args) == 2 && args[0] == "serve":
		return serve(args[1])
	case len(args) == 1 && args[0] == "keys":
		return findKeys()
	}
	fmt.Fprint(os.Stderr, usage)
	return errors.New("a command is missing: get, serve or keys")
}

// getReachable fetches a URL. A new Service is led to its pods a moment after
// they are ready, so a connection that is not made is tried again for a minute.
func getReachable(url string) error {
	for deadline := time.Now().Add(time.Minute); ; time.Sleep(500 * time.Millisecond) {
		err := get(url)
		var network *net.OpError
		if !errors.As(err, &network) || network.Op != "dial" || time.Now().After(deadline) {
			return err
		}
	}
}

func get(url string) error {
	ctx, cancel := context.WithTimeout(context.Background(), 10*time.Second)
	defer cancel()
	request, err := http.NewRequestWithContext(ctx, http.MethodGet, url, nil)
	if err != nil {
		return err
	}
	response, err := http.DefaultClient.Do(request)
	if err != nil {
		return err
	}
	defer response.Body.Close()
	if response.StatusCode != http.StatusOK {
		return fmt.Errorf("get %s: %s", url, response.Status)
	}
	fmt.Println("trusted:", url)
	return nil
}

func serve(name string) error {
	certificate, err := newLeaf("/etc/ssl/certs/ca-certificates.crt", "/root.key", name)
	if err != nil {
		return err
	}
	server := &http.Server{
		Addr:              ":8443",
		ReadHeaderTimeout: 10 * time.Second,
		TLSConfig:         &tls.Config{Certificates: []tls.Certificate{certificate}, MinVersion: tls.VersionTLS12},
		Handler: http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
			_, _ = io.WriteString(w, "hello\n") // the client may be gone
		}),
	}
	return server.ListenAndServeTLS("", "")
}

// findKeys looks into every file but the image's own key and what the kernel makes.
func findKeys() error {
	var found []string
	files := 0
	err := filepath.WalkDir("/", func(path string, entry fs.DirEntry, err error) error {
		switch {
		case path == "/proc", path == "/sys", path == "/dev":
			return fs.SkipDir
		case err != nil:
			return err
		case !entry.Type().IsRegular(), path == "/root.key", path == "/bin/probe":
			return nil
		}
		content, err := os.ReadFile(path)
		if err != nil {
			return err
		}
		files++
		if bytes.Contains(content, []byte("PRIVATE KEY-----")) {
			found = append(found, path)
		}
		fmt.Println("looked into", path)
		return nil
	})
	if err == nil && len(found) > 0 {
		err = fmt.Errorf("private keys in %v", found)
	}
	fmt.Println("looked into", files, "files")
	return err
}
