package localcluster

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"time"

	cmapiutil "github.com/cert-manager/cert-manager/pkg/api/util"
	cmapi "github.com/cert-manager/cert-manager/pkg/apis/certmanager/v1"
	cmmeta "github.com/cert-manager/cert-manager/pkg/apis/meta/v1"
	cmclient "github.com/cert-manager/cert-manager/pkg/client/clientset/versioned"
	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/client-go/kubernetes"
	"k8s.io/client-go/tools/clientcmd"
	clientcmdapi "k8s.io/client-go/tools/clientcmd/api"
)

const (
	// Name is that of the injector's namespace and of its objects.
	Name = "s3-tls-injector"
	// ServingSecret holds the serving certificate.
	ServingSecret = "s3-tls-injector-tls"
)

// Install applies deploy/install.yaml as it is. Then it lets the Service lead
// to a port on loopback: there is no node to run the Deployment.
func (c *Cluster) Install(ctx context.Context, port string) error {
	c.Progress("installing s3-tls-injector from deploy/install.yaml")
	if err := c.must(ctx, "apply", "-f", filepath.Join(c.Source, "deploy", "install.yaml")); err != nil {
		return err
	}
	service := fmt.Sprintf(`{"spec":{"type":"ExternalName","externalName":"localhost","selector":null,"ports":[{"name":"https","port":%s}]}}`, port)
	if err := c.must(ctx, "-n", Name, "patch", "service", Name, "--type=merge", "-p", service); err != nil {
		return err
	}
	set := fmt.Sprintf(`[{"op":"replace","path":"/webhooks/0/clientConfig/service/port","value":%[1]s},{"op":"replace","path":"/webhooks/1/clientConfig/service/port","value":%[1]s}]`, port)
	if err := c.must(ctx, "patch", "mutatingwebhookconfiguration", Name, "--type=json", "-p", set); err != nil {
		return err
	}
	c.Progress("waiting for cert-manager to issue the serving certificate and fill the CA bundle")
	if err := c.must(ctx, "-n", Name, "wait", "--for=condition=Ready", "--timeout=60s", "certificate", "--all"); err != nil {
		return err
	}
	return eventually(ctx, "cainjector to fill the CA bundle of both entries", func(ctx context.Context) (bool, error) {
		bundles, stderr, err := c.Kubectl(ctx, "", "get", "mutatingwebhookconfiguration", Name,
			"-o", "jsonpath={range .webhooks[*]}{.clientConfig.caBundle}{\"\\n\"}{end}")
		if err != nil {
			return false, fmt.Errorf("%w: %s", err, stderr)
		}
		return len(strings.Fields(bundles)) == 2, nil
	})
}

// Injector is a running server.
type Injector struct {
	*Process

	// Port takes reviews.
	Port string
	// Took is how long it was from its start until it was ready.
	Took time.Duration

	health, metrics string
}

// StartInjector starts the server with the rights of its ServiceAccount and the
// certificate of its Secret, as the Deployment would, and waits until it is ready.
func (c *Cluster) StartInjector(ctx context.Context, program, port string, args ...string) (*Injector, error) {
	return c.StartInjectorVia(ctx, c.Config.Host, program, port, args...)
}

// StartInjectorVia starts a server that reaches the API server at another address.
func (c *Cluster) StartInjectorVia(ctx context.Context, apiServer, program, port string, args ...string) (*Injector, error) {
	c.Progress("starting s3-tls-injector")
	kubeconfig, err := c.serviceAccountKubeconfig(ctx, apiServer, port)
	if err != nil {
		return nil, err
	}
	certs := filepath.Join(c.Dir, "certs-"+port)
	if err := c.syncCertificate(certs); err != nil { //nolint:contextcheck // it goes on until the cluster stops
		return nil, err
	}
	i := &Injector{Port: port}
	if i.health, err = FreePort(ctx); err != nil {
		return nil, err
	}
	if i.metrics, err = FreePort(ctx); err != nil {
		return nil, err
	}
	args = append([]string{
		"--host=127.0.0.1", "--port=" + port, "--cert-dir=" + certs, "--kubeconfig=" + kubeconfig,
		"--health-address=127.0.0.1:" + i.health, "--metrics-address=127.0.0.1:" + i.metrics, "--log-level=debug",
		"--policies", "--rotation", "--service-port=" + port,
	}, args...)
	started := time.Now()
	if i.Process, err = c.run("injector-"+port, program, []string{"POD_NAMESPACE=" + Name}, args...); err != nil {
		return nil, err
	}
	return i, eventually(ctx, "the injector to be ready", func(ctx context.Context) (bool, error) {
		text, err := get(ctx, "http://127.0.0.1:"+i.health+"/readyz")
		i.Took = time.Since(started)
		return text == "ok", err
	})
}

// Ready returns an error that says why the server is not ready.
func (i *Injector) Ready(ctx context.Context) error {
	_, err := get(ctx, "http://127.0.0.1:"+i.health+"/readyz")
	return err
}

// Metrics returns the server's metrics as text.
func (i *Injector) Metrics(ctx context.Context) (string, error) {
	return get(ctx, "http://127.0.0.1:"+i.metrics+"/metrics")
}

func get(ctx context.Context, url string) (string, error) {
	request, err := http.NewRequestWithContext(ctx, http.MethodGet, url, nil)
	if err != nil {
		return "", err
	}
	response, err := http.DefaultClient.Do(request)
	if err != nil {
		return "", err
	}
	defer response.Body.Close()
	body, err := io.ReadAll(response.Body)
	if err == nil && response.StatusCode != http.StatusOK {
		err = fmt.Errorf("%s: %s", response.Status, body)
	}
	return string(body), err
}

// serviceAccountKubeconfig writes a kubeconfig with a token of the injector's
// ServiceAccount, so that a right that is missing in deploy is missed here too.
func (c *Cluster) serviceAccountKubeconfig(ctx context.Context, apiServer, port string) (string, error) {
	token, stderr, err := c.Kubectl(ctx, "", "-n", Name, "create", "token", Name, "--duration=24h")
	if err != nil {
		return "", fmt.Errorf("%w: %s", err, stderr)
	}
	config := clientcmdapi.NewConfig()
	config.Clusters["local"] = &clientcmdapi.Cluster{Server: apiServer, CertificateAuthorityData: c.Config.CAData}
	config.AuthInfos["injector"] = &clientcmdapi.AuthInfo{Token: strings.TrimSpace(token)}
	config.Contexts["local"] = &clientcmdapi.Context{Cluster: "local", AuthInfo: "injector"}
	config.CurrentContext = "local"
	path := filepath.Join(c.Dir, "injector-kubeconfig-"+port)
	return path, clientcmd.WriteToFile(*config, path)
}

// syncCertificate does the kubelet's part: it writes the Secret's files, and
// swaps them by one rename whenever the Secret changes, until the cluster stops.
func (c *Cluster) syncCertificate(dir string) error {
	client, err := kubernetes.NewForConfig(c.Config)
	if err != nil {
		return err
	}
	ctx, version := c.running, ""
	sync := func() error {
		secret, err := client.CoreV1().Secrets(Name).Get(ctx, ServingSecret, metav1.GetOptions{})
		if apierrors.IsNotFound(err) || (err == nil && secret.ResourceVersion == version) {
			return nil
		}
		if err != nil {
			return err
		}
		version = secret.ResourceVersion
		return writeVersion(dir, version, secret)
	}
	if err := sync(); err != nil {
		return err
	}
	go func() {
		for ctx.Err() == nil {
			time.Sleep(200 * time.Millisecond)
			if err := sync(); err != nil && ctx.Err() == nil {
				c.Progress("copying the serving certificate: " + err.Error())
			}
		}
	}()
	return nil
}

// writeVersion lays files out as the kubelet does: tls.crt → ..data/tls.crt,
// ..data → ..<version>.
func writeVersion(dir, version string, secret *corev1.Secret) error {
	folder := filepath.Join(dir, ".."+version)
	if err := os.MkdirAll(folder, 0o700); err != nil {
		return err
	}
	for _, key := range []string{corev1.TLSCertKey, corev1.TLSPrivateKeyKey, cmmeta.TLSCAKey} {
		if err := os.WriteFile(filepath.Join(folder, key), bytes.Clone(secret.Data[key]), 0o600); err != nil {
			return err
		}
		if err := os.Symlink(filepath.Join("..data", key), filepath.Join(dir, key)); err != nil && !errors.Is(err, os.ErrExist) {
			return err
		}
	}
	next := filepath.Join(dir, "..data_tmp")
	if err := os.Symlink(".."+version, next); err != nil {
		return err
	}
	return os.Rename(next, filepath.Join(dir, "..data"))
}

// Renew makes cert-manager issue the serving certificate again.
func (c *Cluster) Renew(ctx context.Context) error {
	client, err := cmclient.NewForConfig(c.Config)
	if err != nil {
		return err
	}
	return eventually(ctx, "the renewal to be taken", func(ctx context.Context) (bool, error) {
		err := RequestRenewal(ctx, client, Name, Name)
		return err == nil, err
	})
}

// RequestRenewal asks cert-manager to issue a certificate again, as `cmctl renew`
// does. It may conflict with cert-manager's own update; try again then.
func RequestRenewal(ctx context.Context, client cmclient.Interface, namespace, name string) error {
	certificates := client.CertmanagerV1().Certificates(namespace)
	certificate, err := certificates.Get(ctx, name, metav1.GetOptions{})
	if err != nil {
		return err
	}
	cmapiutil.SetCertificateCondition(certificate, certificate.Generation,
		cmapi.CertificateConditionIssuing, cmmeta.ConditionTrue, "ManuallyTriggered", "renewed by a test")
	_, err = certificates.UpdateStatus(ctx, certificate, metav1.UpdateOptions{})
	return err
}
