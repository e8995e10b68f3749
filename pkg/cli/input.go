package cli

import (
	"errors"
	"fmt"
	"io"
	"maps"
	"os"
	"path/filepath"
	"slices"
	"strings"

	"github.com/spf13/pflag"

	"github.com/s3-tls-injector/s3-tls-injector/pkg/api/v1alpha1"
	"github.com/s3-tls-injector/s3-tls-injector/pkg/ca"
	"github.com/s3-tls-injector/s3-tls-injector/pkg/inject"
	"github.com/s3-tls-injector/s3-tls-injector/pkg/manifest"
	"github.com/s3-tls-injector/s3-tls-injector/pkg/settings"
)

// input holds the flags that say what is decided about: manifests, their
// namespaces, policies, the CA.
type input struct {
	files            []string
	recursive        bool
	policies         []string
	namespace        string
	namespaceLabels  []string
	namespaceNotes   []string
	exemptNamespaces []string
	caFile           string
}

func (i *input) addFlags(flags *pflag.FlagSet) {
	flags.StringArrayVarP(&i.files, "filename", "f", nil, "file or folder of manifests, or - for standard input (repeatable)")
	flags.BoolVarP(&i.recursive, "recursive", "R", false, "read folders in folders too")
	flags.StringArrayVar(&i.policies, "policy", nil, "file with InjectionPolicy objects (repeatable)")
	flags.StringVarP(&i.namespace, "namespace", "n", "default", "namespace of manifests that name none")
	flags.StringArrayVar(&i.namespaceLabels, "namespace-label", nil, "label of the namespaces, KEY=VALUE (repeatable)")
	flags.StringArrayVar(&i.namespaceNotes, "namespace-annotation", nil, "annotation of the namespaces, KEY=VALUE (repeatable)")
	flags.StringArrayVar(&i.exemptNamespaces, "exempt-namespace", nil, "namespace that is never injected, beside the built-in ones (repeatable)")
	flags.StringVar(&i.caFile, "ca", "", "CA file to judge; inject writes its SHA-256 to s3-tls/ca-sha256")
}

// item is a pod template with the answer for it.
type item struct {
	*manifest.Template
	// namespace is that of the document, or of -n.
	namespace inject.Namespace
	result    inject.Result
	// policies say how each of them stands to the pod.
	policies []string
	// live says that it is an object of a cluster.
	live bool
	// sha256 is that of the CA that is there now; empty where it is not known.
	sha256 string
}

// answers holds everything that was read and decided.
type answers struct {
	documents []*manifest.Document
	items     []item
	// notes are warnings that belong to no template.
	notes []string
}

// decide reads the input and decides about each pod template in it.
func (i *input) decide(streams Streams) (*answers, error) {
	if len(i.files) == 0 {
		return nil, errors.New("nothing to read; name a file with -f FILE, a folder with -f DIR, or standard input with -f -")
	}
	documents, err := i.readManifests(i.files, streams.In)
	if err != nil {
		return nil, err
	}
	return i.decideAbout(documents, nil, streams)
}

// decideAbout decides about each pod template in the documents. Policies are in them and in others
// beside them.
func (i *input) decideAbout(documents, beside []*manifest.Document, streams Streams) (*answers, error) {
	policies, _, err := i.readPolicies(slices.Concat(beside, documents))
	if err != nil {
		return nil, err
	}
	a := &answers{documents: documents}
	lookUpCA, err := i.judgeCA(streams)
	if err != nil {
		return nil, err
	}
	namespaces, err := i.readNamespaces(documents)
	if err != nil {
		return nil, err
	}
	exempt := slices.Concat(v1alpha1.ExemptNamespaces(), i.exemptNamespaces)
	for _, d := range documents {
		templates, err := d.Templates()
		if err != nil {
			return nil, err
		}
		if len(templates) == 0 {
			for _, warning := range d.DuplicateKeys() {
				a.notes = append(a.notes, fmt.Sprintf("%s#%d: warning: %s", d.File, d.Number, warning))
			}
		}
		for _, t := range templates {
			namespace := namespaces.of(t.Namespace)
			in := inject.Input{
				Pod:              t.Pod,
				Namespace:        namespace,
				Policies:         policies,
				ExemptNamespaces: exempt,
				ClaimTemplates:   t.ClaimTemplates,
				CA:               lookUpCA,
			}
			a.items = append(a.items, item{Template: t, namespace: namespace, result: inject.Decide(in), policies: inject.ExplainPolicies(in)})
		}
	}
	a.tellCA(lookUpCA)
	return a, nil
}

// tellCA warns of a bad CA where no pod is given it: those that are have the warnings.
func (a *answers) tellCA(lookUp lookUpCA) {
	if lookUp == nil || slices.ContainsFunc(a.items, func(it item) bool { return it.result.Decision == inject.Injected }) {
		return
	}
	judgement, _ := lookUp(settings.CA{})
	for _, problem := range judgement.Problems {
		a.notes = append(a.notes, judgement.Place+": warning: "+problem.Text)
	}
}

// readManifests reads files, folders and standard input, in the order given.
func (i *input) readManifests(names []string, in io.Reader) ([]*manifest.Document, error) {
	var documents []*manifest.Document
	for _, name := range names {
		files, err := i.expand(name)
		if err != nil {
			return nil, err
		}
		for _, file := range files {
			data, err := readFile(file, in)
			if err != nil {
				return nil, err
			}
			parsed, err := manifest.Parse(file, data)
			if err != nil {
				return nil, err
			}
			documents = append(documents, parsed...)
		}
	}
	return documents, nil
}

func readFile(name string, in io.Reader) ([]byte, error) {
	if name == "-" {
		return io.ReadAll(in)
	}
	return os.ReadFile(name)
}

// expand returns the manifests of a folder by name, and anything else as it is.
func (i *input) expand(name string) ([]string, error) {
	if name == "-" {
		return []string{name}, nil
	}
	info, err := os.Stat(name)
	if err != nil {
		return nil, err
	}
	if !info.IsDir() {
		return []string{name}, nil
	}
	var files []string
	err = filepath.WalkDir(name, func(path string, entry os.DirEntry, err error) error {
		switch {
		case err != nil:
			return err
		case entry.IsDir() && path != name && !i.recursive:
			return filepath.SkipDir
		case !entry.IsDir() && slices.Contains([]string{".yaml", ".yml", ".json"}, filepath.Ext(path)):
			files = append(files, path)
		}
		return nil
	})
	if err == nil && len(files) == 0 {
		return nil, fmt.Errorf("%s: no .yaml, .yml or .json file in this folder", name)
	}
	return files, err
}

// readPolicies returns the policies of the --policy files and of the manifests,
// ready for decisions and as they were read.
func (i *input) readPolicies(documents []*manifest.Document) (policies []inject.Policy, read []*v1alpha1.InjectionPolicy, err error) {
	fromFiles, err := i.readManifests(i.policies, strings.NewReader(""))
	if err != nil {
		return nil, nil, err
	}
	origin := map[string]string{}
	add := func(d *manifest.Document) (int, error) {
		found, err := d.Policies()
		if err != nil {
			return 0, err
		}
		for _, p := range found {
			at := fmt.Sprintf("%s#%d", filepath.Clean(d.File), d.Number)
			if first, ok := origin[p.Name]; ok && first == at {
				continue // the file is in --policy and in -f
			} else if ok {
				return 0, fmt.Errorf("%s: policy %q is in %s already; give it a name of its own", at, p.Name, first)
			}
			origin[p.Name] = at
			policy, err := inject.NewPolicy(p)
			if err != nil {
				return 0, fmt.Errorf("%s: %w", at, err)
			}
			policies, read = append(policies, policy), append(read, p)
		}
		return len(found), nil
	}
	for _, d := range fromFiles {
		n, err := add(d)
		if err == nil && n == 0 && d.Number > 0 {
			err = fmt.Errorf("%s#%d: no %s of %s; --policy takes nothing else", d.File, d.Number, v1alpha1.PolicyKind, v1alpha1.APIVersion)
		}
		if err != nil {
			return nil, nil, err
		}
	}
	for _, d := range documents {
		if _, err := add(d); err != nil {
			return nil, nil, err
		}
	}
	return policies, read, nil
}

// namespaces are the Namespace documents of the input, with the flags laid over them.
type namespaces struct {
	known       map[string]inject.Namespace
	fallback    string
	labels      map[string]string
	annotations map[string]string
}

func (i *input) readNamespaces(documents []*manifest.Document) (*namespaces, error) {
	n := &namespaces{known: map[string]inject.Namespace{}, fallback: i.namespace}
	var err error
	if n.labels, err = keyValues("--namespace-label", i.namespaceLabels); err != nil {
		return nil, err
	}
	if n.annotations, err = keyValues("--namespace-annotation", i.namespaceNotes); err != nil {
		return nil, err
	}
	for _, d := range documents {
		found, err := d.Namespaces()
		if err != nil {
			return nil, err
		}
		for _, namespace := range found {
			n.known[namespace.Name] = namespace
		}
	}
	return n, nil
}

func (n *namespaces) of(name string) inject.Namespace {
	if name == "" {
		name = n.fallback
	}
	namespace := inject.Namespace{Name: name, Labels: map[string]string{}, Annotations: map[string]string{}}
	overlay(namespace.Labels, n.known[name].Labels, n.labels, map[string]string{"kubernetes.io/metadata.name": name})
	overlay(namespace.Annotations, n.known[name].Annotations, n.annotations)
	return namespace
}

func overlay(under map[string]string, over ...map[string]string) {
	for _, values := range over {
		maps.Copy(under, values)
	}
}

// keyValues reads the KEY=VALUE arguments of a flag. A value may hold commas.
func keyValues(flag string, args []string) (map[string]string, error) {
	values := map[string]string{}
	for _, arg := range args {
		key, value, found := strings.Cut(arg, "=")
		if !found || key == "" {
			return nil, fmt.Errorf("%s %q: write it as KEY=VALUE", flag, arg)
		}
		values[key] = value
	}
	return values, nil
}

// lookUpCA is how the core is told of a CA.
type lookUpCA func(settings.CA) (ca.Judgement, bool)

// judgeCA reads and judges the CA file, where there is one. It stands for the CA of
// every pod, whatever it names.
func (i *input) judgeCA(streams Streams) (lookUpCA, error) {
	if i.caFile == "" {
		return nil, nil
	}
	data, err := os.ReadFile(i.caFile)
	if err != nil {
		return nil, fmt.Errorf("--ca: %w", err)
	}
	judgement := ca.Parse(data).Judge(i.caFile, streams.Now())
	return func(settings.CA) (ca.Judgement, bool) { return judgement, true }, nil
}
