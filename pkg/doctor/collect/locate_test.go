package collect

import (
	"strings"
	"testing"

	corev1 "k8s.io/api/core/v1"

	"github.com/s3-tls-injector/s3-tls-injector/pkg/inject"
)

// Where the configuration of a container is, by its flags, mounts and variables.
func TestSourcesOf(t *testing.T) {
	secret := func(items ...corev1.KeyToPath) corev1.Volume {
		return corev1.Volume{Name: "v", VolumeSource: corev1.VolumeSource{Secret: &corev1.SecretVolumeSource{SecretName: "s", Items: items}}}
	}
	configMap := corev1.Volume{Name: "v", VolumeSource: corev1.VolumeSource{ConfigMap: &corev1.ConfigMapVolumeSource{LocalObjectReference: corev1.LocalObjectReference{Name: "c"}}}}
	projected := corev1.Volume{Name: "v", VolumeSource: corev1.VolumeSource{Projected: &corev1.ProjectedVolumeSource{Sources: []corev1.VolumeProjection{
		{ConfigMap: &corev1.ConfigMapProjection{LocalObjectReference: corev1.LocalObjectReference{Name: "c"}, Items: []corev1.KeyToPath{{Key: "other", Path: "other"}}}},
		{Secret: &corev1.SecretProjection{LocalObjectReference: corev1.LocalObjectReference{Name: "s"}, Items: []corev1.KeyToPath{{Key: "key", Path: "conf/a.yaml"}}}},
	}}}}
	for name, tt := range map[string]struct {
		volume corev1.Volume
		mounts []corev1.VolumeMount
		env    []corev1.EnvVar
		args   []string
		want   string
	}{
		"a folder":                    {secret(), []corev1.VolumeMount{{Name: "v", MountPath: "/etc/thanos/"}}, nil, []string{"store", "--objstore.config-file=/etc/thanos/objstore.yml"}, "Secret s[objstore.yml]"},
		"a subPath":                   {configMap, []corev1.VolumeMount{{Name: "v", MountPath: "/conf/tempo.yaml", SubPath: "tempo.yaml"}}, nil, []string{"-config.file=/conf/tempo.yaml"}, "ConfigMap c[tempo.yaml]"},
		"an item":                     {secret(corev1.KeyToPath{Key: "key", Path: "a.yaml"}), []corev1.VolumeMount{{Name: "v", MountPath: "/conf"}}, nil, []string{"-config.file", "/conf/a.yaml"}, "Secret s[key]"},
		"no such item":                {secret(corev1.KeyToPath{Key: "key", Path: "a.yaml"}), []corev1.VolumeMount{{Name: "v", MountPath: "/conf"}}, nil, []string{"-config.file=/conf/b.yaml"}, "--config.file: /conf/b.yaml is in no Secret or ConfigMap of the pod"},
		"projected":                   {projected, []corev1.VolumeMount{{Name: "v", MountPath: "/x"}}, nil, []string{"-config.file=/x/conf/a.yaml"}, "Secret s[key]"},
		"the longest mount":           {secret(), []corev1.VolumeMount{{Name: "data", MountPath: "/conf"}, {Name: "v", MountPath: "/conf/secret"}}, nil, []string{"-config.file=/conf/secret/a.yaml"}, "Secret s[a.yaml]"},
		"the first of several":        {configMap, []corev1.VolumeMount{{Name: "v", MountPath: "/etc/loki"}}, nil, []string{"-config.file=/etc/loki/a.yaml,/etc/loki/b.yaml"}, "ConfigMap c[a.yaml]"},
		"not mounted":                 {secret(), nil, nil, []string{"-config.file=/etc/tempo.yaml"}, "--config.file: /etc/tempo.yaml is in no Secret or ConfigMap of the pod"},
		"text":                        {secret(), nil, nil, []string{"store", "--objstore.config=type: S3"}, "--objstore.config: type: S3"},
		"a variable of a Secret":      {secret(), nil, []corev1.EnvVar{{Name: "O", ValueFrom: &corev1.EnvVarSource{SecretKeyRef: &corev1.SecretKeySelector{LocalObjectReference: corev1.LocalObjectReference{Name: "o"}, Key: "k"}}}}, []string{"store", "--objstore.config=$(O)"}, "Secret o[k]"},
		"a variable":                  {secret(), nil, []corev1.EnvVar{{Name: "O", Value: "type: S3"}}, []string{"store", "--objstore.config=$(O)"}, "--objstore.config: type: S3"},
		"a variable without a source": {secret(), nil, nil, []string{"store", "--objstore.config=$(O)"}, "--objstore.config: the variable O that it names has no value that can be read"},
		"a variable of a shell":       {secret(), nil, []corev1.EnvVar{{Name: "O", Value: "type: S3"}}, []string{"store", `--objstore.config="${O}"`}, "--objstore.config: type: S3"},
		"what a shell makes":          {secret(), nil, nil, []string{"store", `--objstore.config="$(printf 'secret_key: planted')"`}, "--objstore.config: a shell makes it when the container starts"},
		"a file that is none":         {secret(), nil, nil, []string{"store", "--objstore.config-file=$(echo planted)"}, "--objstore.config-file: the file is in no Secret or ConfigMap of the pod"},
		"a variable within a path":    {secret(), []corev1.VolumeMount{{Name: "v", MountPath: "/conf"}}, []corev1.EnvVar{{Name: "DIR", Value: "/conf"}}, []string{"store", "--objstore.config-file=$(DIR)/o.yml"}, "Secret s[o.yml]"},
		"the kubelet's own folder":    {secret(), []corev1.VolumeMount{{Name: "v", MountPath: "/conf"}}, nil, []string{"store", "--objstore.config-file=/conf/..data/o.yml"}, "Secret s[o.yml]"},
		"nothing":                     {secret(), nil, nil, []string{"query"}, ""},
	} {
		pod := inject.Pod{Spec: inject.Spec{Volumes: []corev1.Volume{tt.volume}, Containers: []inject.Container{{Name: "c", Args: tt.args, VolumeMounts: tt.mounts, Env: tt.env}}}}
		var told []string
		for _, s := range sourcesOf(&pod, &pod.Spec.Containers[0]) {
			text := s.place()
			if s.text+s.why != "" {
				text += ": " + s.text + s.why
			}
			told = append(told, text)
		}
		if got := strings.Join(told, "\n"); got != tt.want {
			t.Errorf("%s: %q, want %q", name, got, tt.want)
		}
	}
}

// The CAs that a container trusts beside those of its image.
func TestTrusted(t *testing.T) {
	volume := func(name, secret string) corev1.Volume {
		return corev1.Volume{Name: name, VolumeSource: corev1.VolumeSource{Secret: &corev1.SecretVolumeSource{SecretName: secret, Items: []corev1.KeyToPath{{Key: "ca.crt", Path: "s3-ca.crt"}}}}}
	}
	volumes := []corev1.Volume{volume("a", "first"), volume("b", "second"), {Name: "host", VolumeSource: corev1.VolumeSource{HostPath: &corev1.HostPathVolumeSource{Path: "/x"}}}}
	mount := func(name, at string) corev1.VolumeMount {
		m := corev1.VolumeMount{Name: name, MountPath: at}
		if name != "host" {
			m.SubPath = "s3-ca.crt"
		}
		return m
	}
	env := func(name, value string) corev1.EnvVar { return corev1.EnvVar{Name: name, Value: value} }
	for name, tt := range map[string]struct {
		mounts []corev1.VolumeMount
		env    []corev1.EnvVar
		want   string
	}{
		"nothing":                       {nil, nil, ""},
		"in the folder":                 {[]corev1.VolumeMount{mount("a", "/etc/ssl/certs/s3-ca.crt")}, []corev1.EnvVar{env("SSL_CERT_FILE", "/etc/ssl/certs/s3-ca.crt")}, "first"},
		"in the folder, another file":   {[]corev1.VolumeMount{mount("a", "/etc/ssl/certs/s3-ca.crt"), mount("b", "/tls/ca.crt")}, []corev1.EnvVar{env("SSL_CERT_FILE", "/tls/ca.crt")}, "second first"},
		"another folder":                {[]corev1.VolumeMount{mount("a", "/etc/ssl/certs/s3-ca.crt"), mount("b", "/tls/ca.crt")}, []corev1.EnvVar{env("SSL_CERT_DIR", "/tls:/more")}, "second"},
		"elsewhere, and nobody told":    {[]corev1.VolumeMount{mount("a", "/tls/ca.crt")}, nil, ""},
		"over the roots":                {[]corev1.VolumeMount{mount("a", "/etc/ssl/cert.pem")}, nil, "first"},
		"a whole folder":                {[]corev1.VolumeMount{mount("host", "/etc/ssl")}, nil, "unseen"},
		"a file of the image":           {nil, []corev1.EnvVar{env("SSL_CERT_FILE", "/company.pem")}, "unseen"},
		"the roots of the image":        {nil, []corev1.EnvVar{env("SSL_CERT_FILE", "/etc/ssl/certs/ca-certificates.crt")}, ""},
		"a variable from somewhere":     {nil, []corev1.EnvVar{{Name: "SSL_CERT_FILE", ValueFrom: &corev1.EnvVarSource{}}}, "unseen"},
		"a file of a host in the place": {[]corev1.VolumeMount{mount("host", "/etc/ssl/certs/ca-certificates.crt")}, nil, "unseen"},
	} {
		pod := inject.Pod{Spec: inject.Spec{Volumes: volumes, Containers: []inject.Container{{Name: "c", VolumeMounts: tt.mounts, Env: tt.env}}}}
		cas, unseen := trusted(&pod, &pod.Spec.Containers[0])
		var got []string
		for _, of := range cas {
			got = append(got, of.Name)
		}
		if unseen {
			got = []string{"unseen"}
		}
		if text := strings.Join(got, " "); text != tt.want {
			t.Errorf("%s: %q, want %q", name, text, tt.want)
		}
	}
}
