// Command probe is an HTTPS client, and a host that a public CA vouches for.
//
// Its image holds a root certificate in its own bundle, as a distribution's
// image holds the public ones, and the root's key. A pod that serves signs its
// certificate with that key, so a client of the same image trusts it by its
// system roots and by nothing else.
package main

import (
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"os"
	"time"
)

const usage = `Usage: probe get URL... | probe serve NAME

  get URL...   fetch each URL; fail where one does not answer 200. A host that
               cannot be reached yet is tried again, one that is not trusted is not
  serve NAME   answer HTTPS on port 8443, with a certificate for NAME
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
	}
	fmt.Fprint(os.Stderr, usage)
	return errors.New("a command is missing: get or serve")
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
