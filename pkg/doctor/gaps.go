package doctor

import (
	"fmt"
	"maps"
	"slices"
)

// EntriesSubject is what a gap says of the webhook entries.
const EntriesSubject = "the webhook entries"

// unseen tells whether something could not be seen.
func (s *Snapshot) unseen(what string) bool {
	return slices.ContainsFunc(s.Gaps, func(g Gap) bool { return g.What == what })
}

// PoliciesSubject is what a gap says of the policies, and LabelsSubject of a namespace.
const (
	PoliciesSubject = "the policies"
	LabelsSubject   = "its labels"
)

// unreadRules tells whether something that opts pods of a namespace in could not be read.
func (s *Snapshot) unreadRules(namespace string) bool {
	return s.unseen(PoliciesSubject) || slices.ContainsFunc(s.Gaps, func(g Gap) bool {
		return g.What == LabelsSubject && g.Target.Object == "Namespace/"+namespace
	})
}

func checkGaps(s *Snapshot) []Finding {
	var found []Finding
	for _, g := range s.Gaps {
		found = append(found, newFinding(NotChecked, g.Target, fmt.Sprintf("%s: %s", g.What, g.Why), g.Fix))
	}
	return found
}

// checkLogs tells what logs say.
func checkLogs(s *Snapshot) []Finding {
	var found []Finding
	for _, p := range s.Pods {
		for i := range p.Clients {
			c := &p.Clients[i]
			for _, kind := range slices.Sorted(maps.Keys(c.LogErrors)) {
				found = append(found, newFinding(LogErrors, p.target(), fmt.Sprintf("the log of %s says %q", c.Container, kind),
					fmt.Sprintf("kubectl -n %s logs %s -c %s --tail=50", p.Namespace, p.Name, c.Container)))
			}
		}
	}
	return found
}
