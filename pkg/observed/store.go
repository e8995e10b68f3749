// Package observed follows objects of a cluster, and keeps what a function makes of
// each: never an object itself. So a Secret is forgotten as soon as it is judged, and
// pods that do not matter cost nothing.
package observed

import (
	"fmt"
	"iter"
	"maps"
	"sync"

	"k8s.io/apimachinery/pkg/api/meta"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/client-go/tools/cache"
)

// State is what a store can say.
type State int

// The states.
const (
	// Starting: nothing is known yet.
	Starting State = iota
	// Denied: the API server does not allow it, so that nothing is known.
	Denied
	// Synced: all objects are known.
	Synced
)

// Store keeps the values of the objects that were observed.
type Store[T any] struct {
	reduce func(object any) (value T, keep bool)

	mu      sync.RWMutex
	values  map[types.NamespacedName]T
	state   State
	changed chan struct{}
}

// NewStore returns a store of what reduce makes of objects; those that it does not
// keep are not known.
func NewStore[T any](reduce func(object any) (value T, keep bool)) *Store[T] {
	return &Store[T]{reduce: reduce, values: map[types.NamespacedName]T{}, changed: make(chan struct{})}
}

// Get returns the value of an object; ok is false where there is none.
func (s *Store[T]) Get(key types.NamespacedName) (value T, ok bool) {
	s.mu.RLock()
	defer s.mu.RUnlock()
	value, ok = s.values[key]
	return value, ok
}

// All returns the values, as they are now.
func (s *Store[T]) All() iter.Seq2[types.NamespacedName, T] {
	s.mu.RLock()
	defer s.mu.RUnlock()
	return maps.All(maps.Clone(s.values))
}

// State tells how much the store can say.
func (s *Store[T]) State() State {
	s.mu.RLock()
	defer s.mu.RUnlock()
	return s.state
}

// Changed returns a channel that is closed at the next change.
func (s *Store[T]) Changed() <-chan struct{} {
	s.mu.RLock()
	defer s.mu.RUnlock()
	return s.changed
}

func (s *Store[T]) change(do func()) {
	s.mu.Lock()
	defer s.mu.Unlock()
	do()
	close(s.changed)
	s.changed = make(chan struct{})
}

// deny forgets everything: what is not allowed any more is not known any more.
func (s *Store[T]) deny() {
	if s.State() != Denied {
		s.change(func() { s.state, s.values = Denied, map[types.NamespacedName]T{} })
	}
}

// reduced is an object that is forgotten already.
type reduced[T any] struct {
	key   types.NamespacedName
	value T
	keep  bool
}

func (s *Store[T]) take(object any) (reduced[T], error) {
	if r, ok := object.(reduced[T]); ok {
		return r, nil
	}
	accessor, err := meta.Accessor(object)
	if err != nil {
		return reduced[T]{}, fmt.Errorf("observe a %T: %w", object, err)
	}
	value, keep := s.reduce(object)
	return reduced[T]{types.NamespacedName{Namespace: accessor.GetNamespace(), Name: accessor.GetName()}, value, keep}, nil
}

// Add implements cache.ReflectorStore.
func (s *Store[T]) Add(object any) error { return s.Update(object) }

// Update implements cache.ReflectorStore.
func (s *Store[T]) Update(object any) error {
	r, err := s.take(object)
	if err != nil {
		return err
	}
	if _, known := s.Get(r.key); !known && !r.keep {
		return nil
	}
	s.change(func() {
		if r.keep {
			s.values[r.key] = r.value
		} else {
			delete(s.values, r.key)
		}
	})
	return nil
}

// Delete implements cache.ReflectorStore.
func (s *Store[T]) Delete(object any) error {
	accessor, err := meta.Accessor(object)
	if err != nil {
		return fmt.Errorf("observe a %T: %w", object, err)
	}
	key := types.NamespacedName{Namespace: accessor.GetNamespace(), Name: accessor.GetName()}
	if _, known := s.Get(key); known {
		s.change(func() { delete(s.values, key) })
	}
	return nil
}

// Replace implements cache.ReflectorStore.
func (s *Store[T]) Replace(objects []any, _ string) error {
	values := make(map[types.NamespacedName]T, len(objects))
	for _, object := range objects {
		r, err := s.take(object)
		if err != nil {
			return err
		}
		if r.keep {
			values[r.key] = r.value
		}
	}
	s.change(func() { s.state, s.values = Synced, values })
	return nil
}

// Resync implements cache.ReflectorStore.
func (s *Store[T]) Resync() error { return nil }

// Transformer implements cache.TransformingStore: the first list is reduced object
// by object as it comes.
func (s *Store[T]) Transformer() cache.TransformFunc {
	return func(object any) (any, error) { return s.take(object) }
}
