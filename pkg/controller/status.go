package controller

import (
	"context"
	"errors"
	"fmt"
	"strings"

	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/api/equality"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	"k8s.io/apimachinery/pkg/api/meta"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"sigs.k8s.io/controller-runtime/pkg/client"
)

// Conditions of a policy, and their reasons.
const (
	conditionReady   = "Ready"
	conditionCAValid = "CAValid"

	reasonActive       = "Active"
	reasonOverlapped   = "Overlapped"
	reasonInvalidSpec  = "InvalidSpec"
	reasonNoCABundle   = "NoCABundle"
	reasonNotInstalled = "NotInstalled"
	reasonNotApplied   = "NotApplied"
	reasonCrowded      = "Crowded"

	reasonValid       = "Valid"
	reasonExpiresSoon = "ExpiresSoon"
	reasonExpired     = "Expired"
	reasonInvalid     = "Invalid"
	reasonMissing     = "Missing"
	reasonNotAllowed  = "NotAllowed"
	reasonNotRead     = "NotRead"
	reasonNotChecked  = "NotChecked"
)

// notReadyError is why no policy can be ready.
type notReadyError struct{ reason, text string }

func (e *notReadyError) Error() string { return e.text }

// ready returns the Ready condition of a policy. err is why the entries are
// not written.
func (v *verdict) ready(err error) metav1.Condition {
	condition := metav1.Condition{Type: conditionReady, Status: metav1.ConditionFalse, ObservedGeneration: v.policy.Generation}
	var known *notReadyError
	switch {
	case v.mistakes != nil:
		condition.Reason, condition.Message = reasonInvalidSpec, strings.ReplaceAll(v.mistakes.Error(), "\n", "; ")
	case errors.As(err, &known):
		condition.Reason, condition.Message = known.reason, known.text
	case err != nil:
		condition.Reason, condition.Message = reasonNotApplied, err.Error()
	case v.crowded:
		condition.Reason = reasonCrowded
		condition.Message = "the webhook configuration is full; policies that differ from each other in the values of one label, clients or containers alone share an entry"
	case len(v.behind) > 0:
		condition.Status, condition.Reason = metav1.ConditionTrue, reasonOverlapped
		condition.Message = fmt.Sprintf("the API server calls the injector; where %s too selects a pod, that one counts", quoted(v.behind))
	default:
		condition.Status, condition.Reason = metav1.ConditionTrue, reasonActive
		condition.Message = "the API server calls the injector for the pods that the policy selects"
	}
	return condition
}

// shortened cuts a message to what an event takes.
func shortened(message string) string {
	const most = 1000
	if len(message) <= most {
		return message
	}
	return strings.ToValidUTF8(message[:most], "") + "…"
}

// quoted lists names, the first few of many.
func quoted(names []string) string {
	const most = 5
	more := ""
	if len(names) > most {
		more = fmt.Sprintf(" or one of %d others", len(names)-most)
		names = names[:most]
	}
	return `"` + strings.Join(names, `" or "`) + `"` + more
}

// writeStatus writes what is known of a policy where that has changed, and tells
// each change of a reason as an event.
func (c *Policies) writeStatus(ctx context.Context, v *verdict, err error) error {
	policy := v.policy.DeepCopy()
	caValid := metav1.Condition{Status: metav1.ConditionUnknown, Reason: reasonNotChecked, Message: "the policy has mistakes"}
	policy.Status.CANotAfter = nil
	if v.mistakes == nil {
		caValid, policy.Status.CANotAfter = c.CAs.condition(ctx, policy)
	}
	caValid.Type, caValid.ObservedGeneration = conditionCAValid, policy.Generation
	var news []metav1.Condition
	for _, condition := range []metav1.Condition{v.ready(err), caValid} {
		before := meta.FindStatusCondition(policy.Status.Conditions, condition.Type)
		condition.Message = shortened(condition.Message)
		if before == nil || before.Reason != condition.Reason || before.Status != condition.Status {
			news = append(news, condition)
		}
		meta.SetStatusCondition(&policy.Status.Conditions, condition)
	}
	policy.Status.ObservedGeneration = policy.Generation
	if equality.Semantic.DeepEqual(policy.Status, v.policy.Status) {
		return nil
	}
	if err := c.Client.Status().Patch(ctx, policy, client.MergeFrom(v.policy)); err != nil {
		if apierrors.IsNotFound(err) {
			return nil // it is deleted
		}
		return fmt.Errorf("write status of policy %q: %w", policy.Name, err)
	}
	for _, condition := range news {
		kind := corev1.EventTypeNormal
		if condition.Status == metav1.ConditionFalse {
			kind = corev1.EventTypeWarning
		}
		c.Events.Eventf(policy, nil, kind, condition.Reason, "Judge"+condition.Type, "%s", condition.Message)
	}
	return nil
}
