// Package monitoring holds the alerts and the dashboard against promtool, and against
// the metrics that the server has.
package monitoring

import (
	"encoding/json"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"

	"github.com/grafana/grafana-foundation-sdk/go/cog/plugins"
	grafana "github.com/grafana/grafana-foundation-sdk/go/dashboard"
	monitoringv1 "github.com/prometheus-operator/prometheus-operator/pkg/apis/monitoring/v1"
	"github.com/prometheus/client_golang/prometheus"
	"sigs.k8s.io/yaml"

	"github.com/s3-tls-injector/s3-tls-injector/pkg/cawatch"
	"github.com/s3-tls-injector/s3-tls-injector/pkg/rotation"
	"github.com/s3-tls-injector/s3-tls-injector/webhook"
)

const folder = "../../deploy/monitoring"

// promtool runs promtool in a folder.
func promtool(t *testing.T, dir string, args ...string) {
	t.Helper()
	assets := os.Getenv("S3_TLS_ASSETS")
	if assets == "" {
		t.Fatal("S3_TLS_ASSETS is not set; run make test, or set it to what hack/assets.sh api monitoring prints")
	}
	cmd := exec.CommandContext(t.Context(), filepath.Join(assets, "promtool"), args...)
	cmd.Dir = dir
	out, err := cmd.CombinedOutput()
	if err != nil {
		t.Fatalf("promtool %s: %v\n%s", strings.Join(args, " "), err, out)
	}
}

type ruleGroups struct {
	Groups []struct {
		Name  string           `json:"name"`
		Rules []map[string]any `json:"rules"`
	} `json:"groups"`
}

func readRules(t *testing.T) ruleGroups {
	t.Helper()
	var object struct {
		Spec ruleGroups `json:"spec"`
	}
	readYAML(t, "prometheusrule.yaml", &object)
	if len(object.Spec.Groups) == 0 {
		t.Fatal("prometheusrule.yaml holds no rules")
	}
	return object.Spec
}

func readYAML(t *testing.T, name string, into any) {
	t.Helper()
	data, err := os.ReadFile(filepath.Join(folder, name))
	if err != nil {
		t.Fatal(err)
	}
	if err := yaml.Unmarshal(data, into); err != nil {
		t.Fatal(err)
	}
}

func writeYAML(t *testing.T, path string, value any) {
	t.Helper()
	data, err := yaml.Marshal(value)
	if err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(path, data, 0o600); err != nil {
		t.Fatal(err)
	}
}

func TestAlerts(t *testing.T) {
	dir := t.TempDir()
	writeYAML(t, filepath.Join(dir, "rules.yaml"), readRules(t))
	promtool(t, dir, "check", "rules", "--lint=all", "--lint-fatal", "rules.yaml")
	for _, name := range ruleTests(t) {
		tests, err := os.ReadFile(filepath.Join(folder, name))
		if err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(filepath.Join(dir, name), tests, 0o600); err != nil {
			t.Fatal(err)
		}
		promtool(t, dir, "test", "rules", name)
	}
}

// ruleTests returns the files of promtool's tests.
func ruleTests(t *testing.T) []string {
	t.Helper()
	files, err := filepath.Glob(filepath.Join(folder, "*_test.yaml"))
	if err != nil || len(files) == 0 {
		t.Fatalf("%v, %v", files, err)
	}
	for i := range files {
		files[i] = filepath.Base(files[i])
	}
	return files
}

// prometheus-operator knows every field.
func TestObjectsAreWhatTheirTypesRead(t *testing.T) {
	for name, object := range map[string]any{"prometheusrule.yaml": &monitoringv1.PrometheusRule{}, "podmonitor.yaml": &monitoringv1.PodMonitor{}} {
		data, err := os.ReadFile(filepath.Join(folder, name))
		if err != nil {
			t.Fatal(err)
		}
		if err := yaml.UnmarshalStrict(data, object); err != nil {
			t.Errorf("%s: %v", name, err)
		}
	}
}

// Each alert is seen to fire, and not to fire, in a test.
func TestEachAlertIsTested(t *testing.T) {
	fires, silent := map[string]bool{}, map[string]bool{}
	for _, file := range ruleTests(t) {
		var tests struct {
			Tests []struct {
				Alerts []struct {
					Name     string           `json:"alertname"`
					Expected []map[string]any `json:"exp_alerts"`
				} `json:"alert_rule_test"`
			} `json:"tests"`
		}
		readYAML(t, file, &tests)
		for _, test := range tests.Tests {
			for _, a := range test.Alerts {
				if len(a.Expected) > 0 {
					fires[a.Name] = true
				} else {
					silent[a.Name] = true
				}
			}
		}
	}
	for _, group := range readRules(t).Groups {
		for _, rule := range group.Rules {
			if name := fmt.Sprint(rule["alert"]); !fires[name] || !silent[name] {
				t.Errorf("%s: tested to fire %v, not to fire %v", name, fires[name], silent[name])
			}
		}
	}
}

var named = regexp.MustCompile(`s3_tls_[a-z_]+`)

// metrics returns the names of the server's metrics.
func metrics() []string {
	descs := make(chan *prometheus.Desc, 100)
	registry := prometheus.NewRegistry()
	webhook.NewMetrics(collectors{registry, descs})
	rotation.NewMetrics(collectors{registry, descs})
	(&cawatch.Collector{}).Describe(descs)
	close(descs)
	var names []string
	for desc := range descs {
		names = append(names, named.FindString(desc.String()))
	}
	return names
}

// collectors takes the descriptions of what is registered.
type collectors struct {
	*prometheus.Registry

	descs chan *prometheus.Desc
}

func (c collectors) MustRegister(all ...prometheus.Collector) {
	for _, collector := range all {
		collector.Describe(c.descs)
	}
}

func checkMetrics(t *testing.T, what, expression string) {
	t.Helper()
	known := metrics()
	for _, name := range named.FindAllString(expression, -1) {
		if !slices.Contains(known, strings.TrimSuffix(name, "_bucket")) {
			t.Errorf("%s asks for %s; the server has %v", what, name, known)
		}
	}
}

func TestAlertsAskForMetricsThatAreThere(t *testing.T) {
	for _, group := range readRules(t).Groups {
		for _, rule := range group.Rules {
			checkMetrics(t, fmt.Sprint(rule["alert"]), fmt.Sprint(rule["expr"]))
		}
	}
}

// The dashboard loads as it is: Grafana's own types read it whole, it chooses its data source itself, and each query is
// PromQL about metrics that are there.
func TestDashboard(t *testing.T) {
	data, err := os.ReadFile(filepath.Join(folder, "dashboard.json"))
	if err != nil {
		t.Fatal(err)
	}
	plugins.RegisterDefaultPlugins()
	var schema grafana.Dashboard //nolint:staticcheck // the schema of the file, which every version of Grafana loads
	for _, err := range []error{schema.UnmarshalJSONStrict(data), schema.Validate()} {
		if err != nil && err.Error() != "" { // an empty list of errors is not nil
			t.Errorf("it is not what Grafana's schema says:\n%v", err)
		}
	}
	var dashboard struct {
		UID        string           `json:"uid"`
		Title      string           `json:"title"`
		Inputs     []map[string]any `json:"__inputs"`
		Templating struct {
			List []struct {
				Name, Type, Query any
			} `json:"list"`
		} `json:"templating"`
		Panels []struct {
			ID         int    `json:"id"`
			Title      string `json:"title"`
			Type       string `json:"type"`
			GridPos    struct{ X, Y, W, H int }
			Datasource struct{ UID string }
			Targets    []struct {
				Expr       string
				Datasource struct{ UID string }
			} `json:"targets"`
		} `json:"panels"`
	}
	if err := json.Unmarshal(data, &dashboard); err != nil {
		t.Fatal(err)
	}
	if dashboard.UID == "" || dashboard.Title == "" || len(dashboard.Inputs) > 0 || dashboard.Templating.List[0].Type != "datasource" {
		t.Errorf("the dashboard has to be edited before it loads: %+v", dashboard.Templating)
	}
	var rules []map[string]any
	ids := map[int]bool{}
	variables := strings.NewReplacer("$__rate_interval", "5m", "$namespace", ".*")
	for _, panel := range dashboard.Panels {
		if ids[panel.ID] {
			t.Errorf("two panels have the id %d", panel.ID)
		}
		ids[panel.ID] = true
		if p := panel.GridPos; p.X+p.W > 24 || p.W == 0 || p.H == 0 {
			t.Errorf("panel %q is at %+v", panel.Title, p)
		}
		if panel.Type != "row" && (len(panel.Targets) == 0 || panel.Datasource.UID != "${datasource}") {
			t.Errorf("panel %q asks %q for %d queries", panel.Title, panel.Datasource.UID, len(panel.Targets))
		}
		for _, target := range panel.Targets {
			checkMetrics(t, panel.Title, target.Expr)
			rules = append(rules, map[string]any{"record": fmt.Sprintf("panel:%d:%d", panel.ID, len(rules)), "expr": variables.Replace(target.Expr)})
		}
	}
	dir := t.TempDir()
	writeYAML(t, filepath.Join(dir, "queries.yaml"), map[string]any{"groups": []any{map[string]any{"name": "dashboard", "rules": rules}}})
	promtool(t, dir, "check", "rules", "queries.yaml")
}
