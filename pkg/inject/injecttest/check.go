package injecttest

import (
	"encoding/json"
	"errors"
	"fmt"
	"reflect"

	"gomodules.xyz/jsonpatch/v2"
	jsonpatchv4 "gopkg.in/evanphx/json-patch.v4"

	"github.com/s3-tls-injector/s3-tls-injector/pkg/api/v1alpha1"
	"github.com/s3-tls-injector/s3-tls-injector/pkg/inject"
)

// Decide decodes a case's pod as a front end does, and decides about it.
func (c Case) Decide(pod []byte) (inject.Result, error) {
	in := inject.Input{Namespace: c.Namespace, ExemptNamespaces: v1alpha1.ExemptNamespaces()}
	for _, p := range c.Policies {
		policy, err := inject.NewPolicy(p)
		if err != nil {
			return inject.Result{}, err
		}
		in.Policies = append(in.Policies, policy)
	}
	if err := json.Unmarshal(pod, &in.Pod); err != nil {
		return inject.Result{}, err
	}
	return inject.Decide(in), nil
}

// Check decides about the case and returns the result and the pod after it, or
// an error that names the property that does not hold: the patch applies, only
// adds, is complete in one run, and leaves every field as it was.
func (c Case) Check() (inject.Result, []byte, error) {
	result, err := c.Decide(c.Pod)
	if err != nil {
		return result, nil, err
	}
	if (result.Decision == inject.Injected) != (len(result.Patch) > 0) {
		return result, nil, fmt.Errorf("decision %s with %d operations", result.Decision, len(result.Patch))
	}
	if (result.Decision == inject.Injected) != (result.Reason == "") {
		return result, nil, fmt.Errorf("decision %s with reason %q", result.Decision, result.Reason)
	}
	after, err := Apply(c.Pod, result.Patch)
	if err != nil {
		return result, nil, err
	}
	if err := isKept(c.Pod, after); err != nil {
		return result, nil, err
	}
	if result.Decision != inject.Injected {
		return result, after, nil
	}
	second, err := c.Decide(after)
	if err != nil {
		return result, nil, err
	}
	if second.Reason != inject.AlreadyInjected || len(second.Patch) > 0 || len(second.Warnings) > 0 {
		return result, nil, fmt.Errorf("second run: %s %s, patch %v, warnings %v", second.Decision, second.Reason, second.Patch, second.Warnings)
	}
	return result, after, nil
}

// Apply applies operations that must all be "add".
func Apply(document []byte, ops []jsonpatch.Operation) ([]byte, error) {
	if len(ops) == 0 {
		return document, nil
	}
	for _, op := range ops {
		if op.Operation != "add" {
			return nil, fmt.Errorf("operation %q at %s", op.Operation, op.Path)
		}
	}
	encoded, err := json.Marshal(ops)
	if err != nil {
		return nil, err
	}
	patch, err := jsonpatchv4.DecodePatch(encoded)
	if err != nil {
		return nil, err
	}
	after, err := patch.Apply(document)
	if err != nil {
		return nil, fmt.Errorf("apply %s: %w", encoded, err)
	}
	return after, nil
}

// isKept tells whether all of before is in after, unchanged and in its place.
func isKept(before, after []byte) error {
	var b, a any
	if err := errors.Join(json.Unmarshal(before, &b), json.Unmarshal(after, &a)); err != nil {
		return err
	}
	return kept("", b, a)
}

func kept(path string, before, after any) error {
	switch b := before.(type) {
	case map[string]any:
		a, ok := after.(map[string]any)
		if !ok {
			return fmt.Errorf("%s is no object any more", path)
		}
		for key, value := range b {
			if err := kept(path+"/"+key, value, a[key]); err != nil {
				return err
			}
		}
	case []any:
		a, ok := after.([]any)
		if !ok || len(a) < len(b) {
			return fmt.Errorf("%s has lost elements", path)
		}
		for i, value := range b {
			if err := kept(fmt.Sprintf("%s/%d", path, i), value, a[i]); err != nil {
				return err
			}
		}
	case nil: // a list that is null is as good as missing
	default:
		if !reflect.DeepEqual(before, after) {
			return fmt.Errorf("%s was %v, is %v", path, before, after)
		}
	}
	return nil
}
