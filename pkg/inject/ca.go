package inject

import (
	"github.com/s3-tls-injector/s3-tls-injector/pkg/ca"
	"github.com/s3-tls-injector/s3-tls-injector/pkg/settings"
)

// mostProblems is how many problems of one CA a pod's answer tells.
const mostProblems = 5

// judged is what is known of the pod's CA. Its zero value knows nothing, and nothing
// follows from it.
type judged struct{ ca.Judgement }

func judge(in *Input, with *settings.Settings) judged {
	if in.CA == nil {
		return judged{}
	}
	judgement, known := in.CA(with.CA)
	if !known {
		return judged{}
	}
	return judged{judgement}
}

// unusable tells whether the CA is known to be of no use now.
func (j judged) unusable() bool { return j.Verdict != "" && !j.Verdict.Trusted() }

func reasonOf(verdict ca.Verdict) Reason {
	switch verdict { //nolint:exhaustive // every other one that refuses is invalid
	case ca.Missing:
		return MissingCA
	case ca.Expired:
		return ExpiredCA
	default:
		return InvalidCA
	}
}

// messages are what is wrong, the first few of much.
func (j judged) messages() []Message {
	var messages []Message
	for i, problem := range j.Problems {
		if i == mostProblems {
			return append(messages, j.message(moreProblems(len(j.Problems)-i)))
		}
		messages = append(messages, j.message(problem.Text))
	}
	return messages
}

func (j judged) message(text string) Message {
	return Message{Path: j.Place, Text: text, CA: j.Verdict}
}

// required are the mistakes of a pod whose policy requires the CA.
func (j judged) required(policy string) []Message {
	return append(j.messages(), Message{Text: requiresCA(policy), CA: j.Verdict})
}
