package controller

import (
	"encoding/json"
	"fmt"
	"strings"

	"k8s.io/apimachinery/pkg/util/resourceversion"

	"github.com/s3-tls-injector/s3-tls-injector/pkg/entry"
)

// written is what the entries were made of, and the version in their paths. It is one
// version for all of them: a pod that two entries match is then decided about twice
// with the same policies.
type written struct {
	content string
	version string
}

// update notes the entries. The version stays as it is where nothing about them has
// changed, so that a policy's status does not change them. After a restore of the
// cluster's store, versions are smaller than before, and that of before would
// never come.
func (w *written) update(entries []entry.Policy, version string) {
	content := contentOf(entries)
	if content == w.content {
		if order, err := resourceversion.CompareResourceVersion(w.version, version); err == nil && order <= 0 {
			return
		}
	}
	w.content, w.version = content, version
}

// contentOf renders the entries' filters and the generations of their policies.
func contentOf(entries []entry.Policy) string {
	var content strings.Builder
	for i := range entries {
		for _, p := range entries[i].Policies {
			fmt.Fprintf(&content, "%s/%s/%d ", p.Name, p.UID, p.Generation)
		}
		filter, err := json.Marshal(entries[i].Webhook)
		if err != nil {
			panic(err) // an entry can always be encoded
		}
		content.Write(filter)
	}
	return content.String()
}
