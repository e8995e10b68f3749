package doctor

import (
	"slices"

	"github.com/s3-tls-injector/s3-tls-injector/pkg/ca"
)

// Code is the stable name of a kind of finding.
type Code string

// The codes. Those of CAs are "ca-" and the kind of problem of pkg/ca.
const (
	NotInstalled        Code = "not-installed"
	EntryMissing        Code = "entry-missing"
	EntryChanged        Code = "entry-changed"
	CABundleEmpty       Code = "ca-bundle-empty"
	CABundleMismatch    Code = "ca-bundle-mismatch"
	CertificateNotReady Code = "certificate-not-ready"
	CertificateExpired  Code = "certificate-expired"
	CertificateExpires  Code = "certificate-expires"
	InjectorNotReady    Code = "injector-not-ready"
	InjectorDegraded    Code = "injector-degraded"
	WebhookUnreachable  Code = "webhook-unreachable"
	WebhookNotCalled    Code = "webhook-not-called"
	PolicyNotReady      Code = "policy-not-ready"

	InjectOnWorkload Code = "inject-on-workload"
	InjectAsLabel    Code = "inject-as-label"
	InjectMisspelt   Code = "inject-misspelt"
	PodRefused       Code = "pod-refused"
	NotInjected      Code = "not-injected"
	PodSkipped       Code = "pod-skipped"
	NotOptedIn       Code = "not-opted-in"
	SettingsDiffer   Code = "settings-differ"

	CAStale Code = "ca-stale"

	ConfigMissing        Code = "config-missing"
	ConfigInvalid        Code = "config-invalid"
	ConfigNoBucket       Code = "config-no-bucket"
	ConfigNoEndpoint     Code = "config-no-endpoint"
	ConfigScheme         Code = "config-scheme"
	ConfigInsecure       Code = "config-insecure"
	ConfigPort           Code = "config-port"
	ConfigCAFile         Code = "config-ca-file"
	ConfigSkipVerify     Code = "config-skip-verify"
	ConfigSkipVerifyDead Code = "config-skip-verify-dead"

	EndpointDNS          Code = "endpoint-dns"
	EndpointRefused      Code = "endpoint-refused"
	EndpointTimeout      Code = "endpoint-timeout"
	EndpointPlainHTTP    Code = "endpoint-plain-http"
	EndpointNoTLS        Code = "endpoint-no-tls"
	EndpointHandshake    Code = "endpoint-handshake"
	EndpointUnreached    Code = "endpoint-unreached"
	EndpointTLSVersion   Code = "endpoint-tls-version"
	EndpointExpired      Code = "endpoint-expired"
	EndpointNotYetValid  Code = "endpoint-not-yet-valid"
	EndpointName         Code = "endpoint-name"
	EndpointIntermediate Code = "endpoint-missing-intermediate"
	EndpointUnknown      Code = "endpoint-unknown-authority"

	LogErrors  Code = "log-errors"
	NotChecked Code = "not-checked"
)

// CodeInfo documents a code.
type CodeInfo struct {
	Code     Code
	Severity Severity
	// Meaning completes "it is found that …".
	Meaning string
}

// Codes returns all codes, the most telling first: of what is found in one pod, the cause stands
// above its effects.
func Codes() []CodeInfo { return slices.Clone(codes) }

//nolint:gochecknoglobals // a table
var codes = []CodeInfo{
	{NotInstalled, Error, "the webhook entries are not there"},
	{EntryMissing, Error, "one of the two entries is not there"},
	{CABundleEmpty, Error, "an entry has no CA bundle, so that the API server cannot call the injector"},
	{CABundleMismatch, Error, "the CA bundle of an entry does not verify the injector's certificate"},
	{CertificateNotReady, Error, "cert-manager did not issue the injector's certificate"},
	{CertificateExpired, Error, "the injector's certificate has expired"},
	{InjectorNotReady, Error, "no replica of the injector is ready"},
	{WebhookUnreachable, Error, "the API server cannot call the injector"},
	{WebhookNotCalled, Error, "a pod that opts in is created without being injected"},
	{PolicyNotReady, Error, "an InjectionPolicy is not in effect"},
	{PodRefused, Error, "pods of a workload are refused"},
	{InjectOnWorkload, Error, "`s3-tls/inject` is on the workload instead of its pod template"},
	{InjectAsLabel, Error, "`s3-tls/inject` is a label of the pod; only an annotation counts"},
	{InjectMisspelt, Error, "a namespace, workload or pod has a key or value that is nearly `s3-tls/inject: \"true\"`"},
	{NotInjected, Error, "a pod was created before it opted in, or while the injector was down"},
	{PodSkipped, Error, "a pod opted in and is not injected"},
	{"ca-missing", Error, "the object or key of the CA is not in the pod's namespace"},
	{"ca-expired", Error, "a certificate of the CA has expired; a warning where another one is valid"},
	{"ca-not-a-ca", Error, "the certificate is a server's, not a CA's"},
	{"ca-key-usage", Error, "the CA may not sign certificates of servers"},
	{"ca-not-yet-valid", Error, "the CA is not valid yet"},
	{"ca-empty", Error, "the key of the CA is empty"},
	{"ca-not-pem", Error, "the CA is DER, UTF-16, indented, or has a byte order mark"},
	{"ca-no-certificate", Error, "there is no PEM certificate in it"},
	{"ca-malformed", Error, "a PEM block or certificate cannot be read; a warning where another one is valid"},
	{"ca-pem-headers", Error, "a PEM block has headers, for which Go passes it over"},
	{ConfigMissing, Error, "the configuration that a flag names is not there"},
	{ConfigInvalid, Error, "the configuration is no YAML"},
	{ConfigNoBucket, Error, "it names no bucket"},
	{ConfigNoEndpoint, Error, "it names no endpoint"},
	{ConfigScheme, Error, "the endpoint has a scheme, which the product refuses"},
	{ConfigInsecure, Error, "it sets plain HTTP (`insecure: true`)"},
	{ConfigCAFile, Error, "`ca_file` or `tls_ca_path` names another file, which takes the place of the injected one; a warning where the file is mounted"},
	{EndpointDNS, Error, "the endpoint's name is not known"},
	{EndpointRefused, Error, "nothing listens on the port"},
	{EndpointTimeout, Error, "the endpoint does not answer"},
	{EndpointPlainHTTP, Error, "the port speaks plain HTTP"},
	{EndpointNoTLS, Error, "the port speaks something else than TLS"},
	{EndpointExpired, Error, "the endpoint's certificate, or one that it sends, has expired"},
	{EndpointNotYetValid, Error, "the endpoint's certificate is not valid yet"},
	{EndpointName, Error, "the endpoint's certificate is for other names"},
	{EndpointIntermediate, Error, "the endpoint does not send an intermediate certificate"},
	{EndpointUnknown, Error, "the endpoint's certificate is of a CA that the pod does not trust"},
	{EndpointTLSVersion, Error, "the endpoint speaks a version of TLS that clients refuse"},
	{EndpointHandshake, Error, "the endpoint ends the handshake"},
	{EndpointUnreached, Error, "the endpoint cannot be reached for another reason"},
	{EntryChanged, Warning, "somebody changed an entry: its failurePolicy, selectors, conditions or rules"},
	{CertificateExpires, Warning, "the injector's certificate expires within a week, and is not renewed"},
	{InjectorDegraded, Warning, "a replica of the injector is not ready"},
	{SettingsDiffer, Warning, "a pod was injected otherwise than it would be now"},
	{CAStale, Warning, "a pod runs with a CA of before"},
	{"ca-expires-soon", Warning, "a certificate of the CA expires within 30 days"},
	{"ca-private-key", Warning, "there is a private key in the object of the CA; an error where it is in the CA itself"},
	{"ca-weak-key", Warning, "the CA has a weak key"},
	{"ca-weak-signature", Warning, "the CA is signed with SHA-1 or MD5"},
	{"ca-other-block", Warning, "there is another PEM block in it"},
	{"ca-duplicate", Warning, "a certificate is in it twice"},
	{ConfigPort, Warning, "scheme and port contradict each other"},
	{ConfigSkipVerify, Warning, "`insecure_skip_verify` is on: everybody is trusted"},
	{ConfigSkipVerifyDead, Warning, "`insecure_skip_verify` is where the product does not read it"},
	{NotOptedIn, Warning, "a pod holds an S3 client, and nothing opts it in"},
	{LogErrors, Warning, "the log of an S3 client tells of TLS errors"},
	{NotChecked, Unknown, "something could not be checked, and why"},
}

func caCode(id ca.ID) Code { return Code("ca-" + string(id)) }

func codeRank(code Code) int {
	return slices.IndexFunc(codes, func(c CodeInfo) bool { return c.Code == code })
}

func severityOf(code Code) Severity { return codes[codeRank(code)].Severity }
