package cli

import (
	"cmp"
	"context"
	"crypto/x509"
	"encoding/pem"
	"errors"
	"fmt"
	"io"
	"strings"
	"text/tabwriter"
	"time"

	"github.com/spf13/cobra"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/util/validation"
	"sigs.k8s.io/yaml"

	"github.com/s3-tls-injector/s3-tls-injector/pkg/api/v1alpha1"
	"github.com/s3-tls-injector/s3-tls-injector/pkg/endpoint"
)

// fetch holds the flags of fetch-ca.
type fetch struct {
	serverName, fingerprint string
	secret, configMap, key  string
	namespace               string
	timeout                 time.Duration
}

func newFetchCA(streams Streams) *cobra.Command {
	f := &fetch{}
	cmd := &cobra.Command{
		Use:   "fetch-ca HOST:PORT",
		Short: "Take the CA from an S3 endpoint's certificate chain",
		Long: `Take the CA from the certificates that an S3 endpoint sends, and print it as PEM, or as a
Secret or ConfigMap. What it is, for whom and until when is told on standard error.

Who answers is not known yet: compare the fingerprint with what the storage's owner says,
or give it by --fingerprint.

Exit status: 0 fine, 1 the endpoint sends no CA, another one than asked for, or one by which
it is not trusted, 2 wrong usage or no connection. Then nothing is printed.`,
		Example: `  # Look at it, and write it to a file
  kubectl s3-tls fetch-ca minio.example.com:9000 > s3-ca.crt

  # Make the Secret that the injector takes by default
  kubectl s3-tls fetch-ca minio.example.com:9000 --fingerprint sha256:6b86… --secret s3-tls-cert -n monitoring | kubectl apply -f -`,
		Args: func(_ *cobra.Command, args []string) error {
			if len(args) != 1 {
				return errors.New("name one endpoint, as HOST:PORT")
			}
			return nil
		},
		RunE: func(cmd *cobra.Command, args []string) error {
			return f.run(cmd.Context(), args[0], cmd.Flags().Changed("fingerprint"), streams)
		},
	}
	flags := cmd.Flags()
	flags.StringVar(&f.fingerprint, "fingerprint", "", "take a CA with this SHA-256 fingerprint only, sha256:…")
	flags.StringVar(&f.secret, "secret", "", "print a Secret of this name, with the CA")
	flags.StringVar(&f.configMap, "configmap", "", "print a ConfigMap of this name, with the CA")
	flags.StringVar(&f.key, "key", v1alpha1.DefaultKey, "key of the CA in the Secret or ConfigMap")
	flags.StringVarP(&f.namespace, "namespace", "n", "", "namespace of the Secret or ConfigMap")
	flags.StringVar(&f.serverName, "server-name", "", "name that the certificate has to have, where it is not the host's")
	flags.DurationVar(&f.timeout, "timeout", 10*time.Second, "how long to wait for the endpoint")
	return cmd
}

func (f *fetch) validate(pinned bool) (fingerprint string, err error) {
	switch name := cmp.Or(f.secret, f.configMap); {
	case f.secret != "" && f.configMap != "":
		return "", errors.New("--secret and --configmap: give one of them")
	case name != "" && len(validation.IsDNS1123Subdomain(name)) > 0:
		return "", fmt.Errorf("%q is no valid name of an object", name)
	case name == "" && f.namespace != "":
		return "", errors.New("-n is for --secret and --configmap")
	case f.namespace != "" && len(validation.IsDNS1123Label(f.namespace)) > 0:
		return "", fmt.Errorf("%q is no valid name of a namespace", f.namespace)
	case name == "" && f.key != v1alpha1.DefaultKey:
		return "", errors.New("--key is for --secret and --configmap")
	case len(validation.IsConfigMapKey(f.key)) > 0:
		return "", fmt.Errorf("%q is no valid key of a Secret or ConfigMap", f.key)
	case f.timeout <= 0:
		return "", fmt.Errorf("--timeout %s: an endpoint needs some time to answer", f.timeout)
	case !pinned:
		return "", nil
	}
	return endpoint.ParseFingerprint(f.fingerprint)
}

func (f *fetch) run(ctx context.Context, text string, pinned bool, streams Streams) error {
	wanted, err := f.validate(pinned)
	if err != nil {
		return err
	}
	address, err := endpoint.ParseAddress(text)
	if err != nil {
		return err
	}
	address.Name = cmp.Or(f.serverName, address.Name)
	ctx, cancel := context.WithTimeout(ctx, f.timeout)
	defer cancel()
	chain, err := endpoint.Fetch(ctx, address)
	if err != nil {
		return err
	}
	ca, kind := chain.Top()
	refuse := func(format string, args ...any) error {
		printError(streams.Err, fmt.Errorf(format, args...))
		return errRefused
	}
	if kind == endpoint.Leaf {
		return refuse("%s sends its own certificate alone, for %s; ask its owner for the CA certificate %q, or to have the server send its chain",
			address.HostPort, names(chain[0]), endpoint.Printable(chain[0].Issuer.String()))
	}
	if err := describe(streams.Err, chain, ca, kind); err != nil {
		return err
	}
	if got := endpoint.Fingerprint(ca); wanted != "" && got != wanted {
		return refuse("the fingerprint is %s, not %s: it is another CA, or somebody else answers", got, wanted)
	}
	if err := chain.Trust(ca, address.Name, streams.Now()); err != nil {
		return refuse("%s is not trusted by it: %s", address.HostPort, untrusted(err, chain, address.Name))
	}
	if wanted == "" {
		fmt.Fprintln(streams.Err, "note: whoever answered has sent this; compare the fingerprint with what the owner of the storage says")
	}
	return f.print(streams.Out, ca)
}

// untrusted says why, and what to do where it is known.
func untrusted(err error, chain endpoint.Chain, name string) string {
	var host x509.HostnameError
	if errors.As(err, &host) {
		return fmt.Sprintf("its certificate is for %s, not for %s; reach it by such a name, or give one by --server-name", names(chain[0]), name)
	}
	return err.Error()
}

func names(c *x509.Certificate) string {
	if all := endpoint.Names(c); len(all) > 0 {
		return strings.Join(all, ", ")
	}
	return "no name"
}

// kindText says what a CA is, for people.
func kindText(kind endpoint.Kind) string {
	switch kind {
	case endpoint.Intermediate:
		return "intermediate CA; its root is not sent. Go trusts by it, OpenSSL asks for the root"
	case endpoint.SelfSigned:
		return "the server's own certificate, which signed itself, and no CA; have one issued by a CA, else it has to be fetched again after each renewal"
	case endpoint.Root, endpoint.Leaf:
	}
	return "root CA"
}

func describe(w io.Writer, chain endpoint.Chain, ca *x509.Certificate, kind endpoint.Kind) error {
	table := tabwriter.NewWriter(w, 0, 0, 2, ' ', 0)
	row := func(key, value string) { fmt.Fprintf(table, "%s\t%s\n", key, endpoint.Printable(value)) }
	row("subject", ca.Subject.String())
	row("kind", kindText(kind))
	row("valid", ca.NotBefore.UTC().Format(time.DateOnly)+" to "+ca.NotAfter.UTC().Format(time.DateOnly))
	row("fingerprint", endpoint.Fingerprint(ca))
	row("endpoint", fmt.Sprintf("for %s, until %s", names(chain[0]), chain[0].NotAfter.UTC().Format(time.DateOnly)))
	return table.Flush()
}

func (f *fetch) print(w io.Writer, ca *x509.Certificate) error {
	file := pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: ca.Raw})
	meta := metav1.ObjectMeta{Name: cmp.Or(f.secret, f.configMap), Namespace: f.namespace}
	var object any
	switch {
	case f.secret != "":
		object = &corev1.Secret{
			TypeMeta: metav1.TypeMeta{APIVersion: "v1", Kind: "Secret"}, ObjectMeta: meta,
			StringData: map[string]string{f.key: string(file)},
		}
	case f.configMap != "":
		object = &corev1.ConfigMap{
			TypeMeta: metav1.TypeMeta{APIVersion: "v1", Kind: "ConfigMap"}, ObjectMeta: meta,
			Data: map[string]string{f.key: string(file)},
		}
	default:
		_, err := w.Write(file)
		return err
	}
	text, err := yaml.Marshal(object)
	if err != nil {
		return err
	}
	_, err = w.Write(text)
	return err
}
